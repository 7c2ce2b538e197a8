//! Mail on its way into accounts: what is carried, how it is marked, and what can become of it. Pure.
//!
//! A message is entered at the member that takes responsibility for it: there its `Received` field is added. Each of its
//! deliveries gets an id, from the router that it came through or else here. The id stays the same across every retry
//! between our own processes, through the queue as well, so that nothing is delivered twice (RFC 1047 cannot be helped
//! towards strangers, here it can).

mod hop;
mod outcome;
mod trace;

use bytes::Bytes;
use laniakea_router::{
    session::smtp::{Recipient, delivery_ids},
    wire::smtp::{MailParameters, Mailbox},
};
use serde::{Deserialize, Serialize};

use crate::mailbox::BodyRecord;

pub use hop::{HOPS_MAX, NextHop, group};
pub use outcome::{DeliveryOutcome, Outcome};
pub use trace::{RECEIVED_MAX, Trace, date, received_count, return_path};

/// One message and where its failures are reported; its content is complete but for `Return-Path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where failures are reported; none for `<>`.
    pub reverse_path: Option<Mailbox>,
    /// What MAIL said besides.
    pub parameters: MailParameters,
    /// Header and body, with CRLF line ends.
    pub content: Bytes,
}

/// One recipient of a message, and the name of its delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addressee {
    /// Whom, and what RCPT said besides.
    pub recipient: Recipient,
    /// The same for every attempt.
    pub delivery_id: u128,
}

/// What a worker is to put into an account's INBOX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// A delivery the account has seen before adds nothing and counts as delivered.
    pub id: u128,
    /// The message with its `Return-Path`.
    pub body: BodyRecord,
    /// Whether its sender waits for it.
    pub awaited: bool,
}

/// The recipients of one transaction with the names of their deliveries.
#[must_use]
pub fn name_deliveries(recipients: Vec<Recipient>, transaction: u128) -> Vec<Addressee> {
    let ids = delivery_ids(&recipients, transaction);
    recipients.into_iter().zip(ids).map(|(recipient, delivery_id)| Addressee { recipient, delivery_id }).collect()
}
