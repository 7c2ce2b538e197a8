//! The server side of SMTP and of LMTP, as one machine (RFC 5321, RFC 2033).
//!
//! Routers and members run it, at ports for other sites as well as on handed-over connections. It decides what each
//! command means and when it is allowed; who the recipients are and what becomes of the message is for the driver to
//! say, at three points: [`Output::Resolve`] for each recipient, [`Output::Begin`] before content is asked for, and
//! [`Output::End`] when all of it was passed on. Commands may be pipelined (RFC 2920): they wait in here until the
//! answer to the one before them is known.
//!
//! **Invariants.** No line is read while an answer is out. A positive reply to content is only ever one the driver
//! gave. Every recipient accepted gets its reply in order, in LMTP; SMTP has one for all. Bytes that came before TLS
//! are never taken for bytes from inside (CVE-2011-0411).

mod budget;
mod machine;
#[cfg(test)]
mod machine_test;
pub(crate) mod pace;
mod replies;

use std::{borrow::Cow, collections::HashMap};

use laniakea_directory::Address;
use serde::{Deserialize, Serialize};

use crate::{
    handoff::TlsFacts,
    wire::{
        claims::Claims,
        line::Drained,
        smtp::{MailParameters, Mailbox, RcptParameters, Reply},
    },
};

pub use machine::SmtpSession;

/// Which of the two protocols is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// RFC 5321: one reply to the content.
    Smtp,
    /// RFC 2033: one reply per recipient.
    Lmtp,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Anybody.
    Client,
    /// A router or a fellow member: it may name deliveries (`XDELIVERYID`) and pays no error budget, as its client did.
    Router,
}

/// What a session is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which protocol.
    pub dialect: Dialect,
    /// Who is at the other end.
    pub peer: Peer,
    /// The name in the greeting.
    pub host: String,
    /// The domain of `<Postmaster>`.
    pub domain: String,
    /// Largest message.
    pub message_bytes_max: u64,
    /// Recipients of one transaction at most.
    pub recipients_max: usize,
    /// Whether STARTTLS can be offered.
    pub starttls: bool,
    /// Whether the connection is inside TLS already.
    pub tls: bool,
    /// Whether the other end is a proxy that is believed what it says of its client (XCLIENT).
    pub believes_claims: bool,
    /// The account that has logged in to submit mail, on a connection that was greeted before.
    pub submitter: Option<Submitter>,
}

/// An account that submits mail (RFC 6409).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitter {
    /// What its client called itself.
    pub hello: Hello,
    /// Its own addresses: it may send in no other name.
    pub addresses: Vec<Address>,
}

impl Submitter {
    /// Whether mail may be sent in this name. The empty one is for reports.
    fn may_send_as(&self, reverse_path: Option<&Mailbox>) -> bool {
        let Some(path) = reverse_path else { return true };
        let Ok(address) = Address::parse(path.as_str()) else { return false };
        self.addresses.contains(&address) || self.addresses.contains(&address.base())
    }
}

/// What EHLO promises everybody, in submission too.
pub(super) fn capabilities(message_bytes_max: u64) -> Vec<Cow<'static, str>> {
    vec![
        "PIPELINING".into(),
        format!("SIZE {message_bytes_max}").into(),
        "8BITMIME".into(),
        "SMTPUTF8".into(),
        "ENHANCEDSTATUSCODES".into(),
    ]
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The client sent bytes.
    Bytes(&'a [u8]),
    /// The answer to [`Output::Resolve`]: the address to deliver to, or why not.
    Resolved(Result<Mailbox, Reply>),
    /// The answer to [`Output::Begin`]: whether the content may come.
    Ready(Result<(), Reply>),
    /// The answer to [`Output::End`]: one reply, or one for each recipient, in order.
    Done(Vec<Reply>),
    /// The handshake after [`Output::StartTls`] is done.
    TlsDone(TlsFacts),
    /// The client will send no more.
    Eof,
    /// The deadline has passed.
    Tick,
    /// The process is to stop: close between two transactions.
    Shutdown,
}

/// What the driver is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes.
    Write(Vec<u8>),
    /// Say whether this recipient is accepted: [`Input::Resolved`].
    Resolve(Recipient),
    /// The envelope is complete; say whether content may come: [`Input::Ready`].
    Begin(Box<Envelope>),
    /// Some content, without stuffed dots.
    Content(Vec<u8>),
    /// All the content was passed on: take responsibility and say so, [`Input::Done`].
    End,
    /// Forget the message: its content is unacceptable, or the client is gone.
    Abort,
    /// Begin TLS, then [`Input::TlsDone`].
    StartTls(Drained),
    /// Close once everything before is sent.
    Close,
}

/// What the client called itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The name it gave.
    pub name: String,
    /// Whether it said EHLO or LHLO, not HELO.
    pub extended: bool,
}

/// One transaction, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What the client called itself.
    pub hello: Hello,
    /// What a proxy that is believed said of its client.
    pub claims: Claims,
    /// Where failures are reported; none for `<>`.
    pub reverse_path: Option<Mailbox>,
    /// What MAIL said besides.
    pub parameters: MailParameters,
    /// Whom the message is for, in the order of the RCPT commands.
    pub recipients: Vec<Recipient>,
}

/// One recipient of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Its address.
    pub address: Mailbox,
    /// What RCPT said besides.
    pub parameters: RcptParameters,
}

/// Names the deliveries of one transaction, in the order of its recipients: what was named before keeps its name, the same
/// address twice is one delivery. Under its name a delivery may be tried again anywhere; its account takes it once.
#[must_use]
pub fn delivery_ids(recipients: &[Recipient], transaction: u128) -> Vec<u128> {
    let mut first_of = HashMap::new();
    let name = |(place, recipient): (usize, &Recipient)| {
        let given = recipient.parameters.delivery_id;
        let fresh = given.unwrap_or(transaction.wrapping_add(place as u128));
        let known = *first_of.entry(recipient.address.as_str().to_lowercase()).or_insert(fresh);
        given.unwrap_or(known)
    };
    recipients.iter().enumerate().map(name).collect()
}

impl Settings {
    /// What EHLO or LHLO answers after the first line (RFC 5321 §4.1.1.1).
    fn capabilities(&self, tls: bool) -> Vec<Cow<'static, str>> {
        let mut all = capabilities(self.message_bytes_max);
        if self.starttls && !tls {
            all.push("STARTTLS".into());
        }
        if self.believes_claims {
            all.push("XCLIENT ADDR PORT DESTADDR DESTPORT NAME HELO PROTO LOGIN SESSION TTL".into());
        }
        match self.peer {
            Peer::Client => {}
            Peer::Router => all.push("XDELIVERYID".into()),
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_given_twice_is_one_delivery() {
        let recipient = |address: &str, delivery_id| Recipient {
            address: Mailbox::parse(address).unwrap(),
            parameters: RcptParameters { delivery_id, ..Default::default() },
        };
        let recipients =
            [recipient("a@b", None), recipient("c@b", None), recipient("A@B", None), recipient("d@b", Some(7))];
        assert_eq!(delivery_ids(&recipients, 100), [100, 101, 100, 7]);
    }
}
