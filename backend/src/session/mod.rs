//! The protocols after the account is known: bytes and answers in, bytes and questions out.
//!
//! A session begins *authenticated*: greeting, STARTTLS and login belong to
//! `laniakea_router::session`, whose unread bytes are handed to the session's constructor.
//!
//! **Architecture invariant:** nothing here reads a clock, a socket, a file or a random number.
//! A driver feeds [`Input`]s, drains [`Session::poll`] after each of them, and carries out the
//! [`Output`]s; so the same session runs in a unit test, in the simulator and on a socket.
//!
//! **Architecture invariant:** a session never changes an account. It *asks* for changes
//! ([`Output::Ask`]); the account's one worker decides, makes them durable, publishes the new
//! value and only then answers.
//!
//! # What the driver promises
//!
//! 1. After every [`Session::handle`] it calls [`Session::poll`] until `None`, writing each
//!    [`Output::Write`] to the socket *before* polling much further (at most some 64 KiB are
//!    held back): a long answer is made slice by slice as the socket takes it.
//! 2. [`Input::State`] is given whenever a newer value of the account is published, skipping
//!    intermediate ones freely; and **always before the [`Input::Reply`]** whose change it
//!    contains, so that a session answering from its newest state sees its own change.
//! 3. Every [`Output::Ask`] is answered by one [`Input::Reply`] or [`Input::Failed`], every
//!    [`Output::Permit`] by [`Input::Permitted`] or [`Input::Failed`], and every
//!    [`Output::Read`] by one [`Input::Body`], in the order of the reads.
//! 4. It reads from the socket only while [`Session::wants_bytes`] says so. That is the
//!    back-pressure: a client that sends faster than its commands run fills no memory of ours.
//! 5. Before it flushes writes that show state of the account, it holds a read permit (the lease,
//!    or a tick); a session asks for a strict one itself, by [`Output::Permit`], where the
//!    protocol's promise is stronger: SELECT, EXAMINE, STATUS, and the POP3 maildrop.
//! 6. At [`Session::deadline`] it gives [`Input::Deadline`]; after [`Output::Close`] it flushes,
//!    closes and drops the session.

pub mod imap;
pub mod pop3;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::mailbox::{Account, Reply, Request};
use crate::store::BodyRef;

/// A protocol session as its driver sees it.
pub trait Session {
    /// Takes one thing that happened. Never blocks; the outcome is read by [`Session::poll`].
    fn handle(&mut self, now: Instant, input: Input<'_>);
    /// The next thing to do, or `None` until something more happens.
    fn poll(&mut self) -> Option<Output>;
    /// When to give [`Input::Deadline`], if nothing else happens before.
    fn deadline(&self) -> Option<Instant>;
    /// Whether bytes from the client would be of use now.
    fn wants_bytes(&self) -> bool;
}

/// What a driver tells a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes from the client, cut anywhere.
    Bytes(&'a [u8]),
    /// The client will send no more.
    Eof,
    /// A newer published value of the account.
    State(Arc<Account>),
    /// The answer to [`Output::Ask`].
    Reply(Reply),
    /// The bytes of the oldest unanswered [`Output::Read`].
    Body(BodyResult),
    /// The answer to [`Output::Permit`]: what was read before the question was current.
    Permitted,
    /// An ask or a permit failed, or (with nothing out) the session must end.
    Failed(Fault),
    /// The session's [`Session::deadline`] has passed.
    Deadline,
}

/// The bytes of a body, or why there are none.
pub type BodyResult = Result<Bytes, BodyFault>;

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// The bytes are gone: the message was expunged and its space reclaimed meanwhile.
    #[error("the message was expunged meanwhile")]
    Gone,
    /// The storage did not answer or answered wrongly; later may be better.
    #[error("the message cannot be read now")]
    Unavailable,
}

/// What a session asks of its driver.
#[derive(Debug)]
pub enum Output {
    /// Bytes for the client.
    Write(Bytes),
    /// A change of the account; answered by [`Input::Reply`].
    Ask(Request),
    /// `range` of the body record `body`; answered by [`Input::Body`].
    Read {
        /// Which body record.
        body: BodyRef,
        /// Which bytes of it; never beyond its length.
        range: Range<u64>,
    },
    /// A strict read permit: a tick begun after this moment; answered by [`Input::Permitted`].
    Permit,
    /// Flush and close. Nothing follows.
    Close,
}

/// Why something the session asked for did not happen, or why the session must end.
///
/// Each protocol has one table that turns these into replies; for IMAP see [`imap::fault_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Storage or controller do not answer in time; the same connection may try again.
    #[error("temporarily unavailable")]
    Unavailable,
    /// This member no longer serves the account (fenced, drained or handed over): reconnect.
    #[error("the account is served elsewhere now")]
    Departed,
    /// The member is being stopped.
    #[error("shutting down")]
    ShuttingDown,
    /// An administrator ended the session.
    #[error("ended by an administrator")]
    Kicked,
    /// The account's log is damaged and kept read-only until someone looks.
    #[error("the account is read-only for now")]
    ReadOnly,
    /// Our own mistake.
    #[error("internal error")]
    Internal,
}

impl Fault {
    /// Whether the session cannot go on after this fault.
    pub fn is_final(self) -> bool {
        match self {
            Fault::Departed | Fault::ShuttingDown | Fault::Kicked | Fault::Internal => true,
            Fault::Unavailable | Fault::ReadOnly => false,
        }
    }
}

/// What a session is told about its surroundings.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// The largest message a client may append.
    pub message_bytes_max: u64,
}

impl Default for SessionSettings {
    fn default() -> Self {
        SessionSettings { message_bytes_max: 50 * 1024 * 1024 }
    }
}
