//! Mail on its way into accounts: what is carried, how it is marked, and what can become of it. Pure.
//!
//! A message is entered once, at the member that takes responsibility for it: there its `Received` field is added and
//! each of its deliveries gets an id. The id stays the same across every retry between our own processes, through the
//! queue as well, so that nothing is delivered twice (RFC 1047 cannot be helped towards strangers, here it can).

mod hop;
mod outcome;
mod trace;

use bytes::Bytes;
use laniakea_router::{
    session::smtp::Recipient,
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

/// Names the deliveries of one transaction: what a fellow process named already keeps its name, the same address twice
/// is one delivery.
#[must_use]
pub fn name_deliveries(recipients: Vec<Recipient>, transaction: u128) -> Vec<Addressee> {
    let mut addressees: Vec<Addressee> = Vec::with_capacity(recipients.len());
    let mut first_of = std::collections::HashMap::new();
    for (place, recipient) in recipients.into_iter().enumerate() {
        let fresh = transaction.wrapping_add(place as u128);
        let given = recipient.parameters.delivery_id;
        let known = *first_of.entry(recipient.address.as_str().to_lowercase()).or_insert(given.unwrap_or(fresh));
        addressees.push(Addressee { recipient, delivery_id: given.unwrap_or(known) });
    }
    addressees
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_given_twice_is_one_delivery() {
        let recipient = |address: &str, delivery_id| Recipient {
            address: Mailbox::parse(address).unwrap(),
            parameters: laniakea_router::wire::smtp::RcptParameters { delivery_id, ..Default::default() },
        };
        let recipients =
            vec![recipient("a@b", None), recipient("c@b", None), recipient("A@B", None), recipient("d@b", Some(7))];
        let ids: Vec<u128> = name_deliveries(recipients, 100).iter().map(|addressee| addressee.delivery_id).collect();
        assert_eq!(ids, [100, 101, 100, 7]);
    }
}
