//! The protocols until the account is known, as machines.
//!
//! Greeting, capabilities, STARTTLS and login exist once, here, for routers and members alike. A session decides; its
//! driver owns the socket, the clock and the directory. After each [`Session::handle`] the driver takes everything
//! [`Session::poll`] has to say. After [`Output::Login`] the session reads no further line until [`Input::Login`]
//! (lock step); once a login is accepted, [`Session::into_forward`] gives up the bytes nobody has read.
//!
//! **Architecture invariant:** no socket, no file, no clock, no randomness: the time comes in with each call.

mod conduct;
mod fault;
pub mod foreign;
pub mod imap;
mod login;
pub mod pop3;
pub mod sasl;
pub mod smtp;
pub mod submission;
mod suspicion;
mod throttle;

use std::{net::IpAddr, time::Instant};

use laniakea_config::Mechanism;
use laniakea_directory::{LoginName, Secret};
use zeroize::Zeroizing;

pub use conduct::{LOGIN_WITHIN, Settings};
pub use fault::Fault;
pub use imap::ImapLogin;
pub use login::{Dialect, Login};
pub use pop3::Pop3Login;
pub use submission::SubmissionLogin;
pub use suspicion::Suspicion;
pub use throttle::wait_after;

pub use crate::handoff::{Moved, TlsFacts};
use crate::wire::{
    claims::Claims,
    line::Drained,
    sasl::{Proof, encode, encode_plain},
};

/// One connection's protocol until the account is known.
pub trait Session {
    /// Tells the session what happened.
    fn handle(&mut self, now: Instant, input: Input<'_>);

    /// Takes the next thing to do; to be called until there is none.
    fn poll(&mut self) -> Option<Output>;

    /// Returns when to send [`Input::Tick`].
    fn deadline(&self) -> Option<Instant>;

    /// Whether a login was accepted: the session is over, the connection goes on.
    fn is_logged_in(&self) -> bool;

    /// Ends a session whose login was accepted; `None` if none was.
    fn into_forward(self) -> Option<Forward>;
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The client sent bytes.
    Bytes(&'a [u8]),
    /// The TLS handshake that [`Output::StartTls`] asked for is done.
    TlsDone(TlsFacts),
    /// The answer to [`Output::Login`].
    Login(LoginOutcome),
    /// The client will send no more.
    Eof,
    /// The deadline has passed.
    Tick,
    /// The process stops: the session ends as soon as no login is under way.
    Stop,
}

/// What the driver is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes.
    Write(Vec<u8>),
    /// Begin TLS, then send [`Input::TlsDone`]; the proof says that nothing was read too early.
    StartTls(Drained),
    /// Try to log in, then send [`Input::Login`].
    Login(LoginRequest),
    /// What the client says to [`LoginOutcome::Challenge`]; send [`Input::Login`] again.
    Answer(Secret),
    /// The client does not answer the challenge. Give the login up, then send [`Input::Login`] with any refusal.
    Abandon,
    /// Close the connection once everything before is sent.
    Close,
}

/// Who wants to log in, and their proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRequest {
    /// The client's IMAP tag; empty for protocols without tags.
    pub tag: String,
    /// Who the client says it is.
    pub login: LoginName,
    /// Whom it wants to act as, if it says so (RFC 4616 §2).
    pub authzid: Option<String>,
    /// The password, or the beginning of an exchange.
    pub proof: Proof,
    /// What a proxy said of its client; whether it is believed is the driver's business.
    pub claims: Claims,
    /// What the client called itself, in submission.
    pub hello: Option<smtp::Hello>,
}

impl LoginRequest {
    /// The mechanism by which the login is passed on, and its first message, in base64.
    #[must_use]
    pub fn initial(&self) -> (Mechanism, Zeroizing<String>) {
        match &self.proof {
            Proof::Password(secret) => {
                (Mechanism::Plain, encode_plain(self.authzid.as_deref(), self.login.as_str(), secret))
            }
            Proof::Exchange { mechanism, message } => (*mechanism, encode(message.expose())),
        }
    }

    /// Whether it can be tried again elsewhere without asking the client for anything.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        matches!(self.proof, Proof::Password(_))
    }
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginOutcome {
    /// The account is open here.
    Accepted {
        /// The capabilities from now on, if the reply is to list them (IMAP: RFC 9051 §7.1 CAPABILITY).
        capabilities: Option<String>,
        /// Text for people.
        text: String,
    },
    /// Whoever checks the login asks the client for more.
    Challenge(Vec<u8>),
    /// The login failed.
    Refused(Fault),
    /// Another member has the account; said to routers only.
    Moved(Moved),
    /// Accepted elsewhere: the lines with which the member accepted, to be passed on as they are.
    Relay(Vec<u8>),
}

/// How far a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// Plain, and TLS is not on offer.
    Plain,
    /// Plain; TLS is on offer, and passwords may be sent without it.
    Offered,
    /// Plain; TLS is on offer, and no password may be sent before it.
    Required,
    /// Inside TLS, ours or a balancer's.
    Active(TlsFacts),
}

impl Protection {
    /// Decides what a client must do: a password crosses no network in the clear (RFC 8314 §3).
    #[must_use]
    pub fn for_client(client: IpAddr, tls: Option<TlsFacts>) -> Self {
        match tls {
            Some(facts) => Self::Active(facts),
            None if client.is_loopback() => Self::Offered,
            None => Self::Required,
        }
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Anybody: failed logins are slowed down.
    Client,
    /// A router or a fellow member: it has slowed its client down itself, and understands `MOVED`.
    Router,
}

/// What is left of a connection after login.
#[derive(Debug, PartialEq, Eq)]
pub struct Forward {
    /// What the client sent and nobody has read.
    pub unread: Vec<u8>,
}

#[cfg(test)]
mod dialogue_test;
