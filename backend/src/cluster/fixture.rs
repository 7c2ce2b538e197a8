//! Short names for the unit tests of the machines.

use std::time::Duration;

use laniakea_directory::{AccountId, MemberName};

use super::{Incarnation, Moment, OwnableId, Peer};

/// Milliseconds after the beginning.
pub fn at(milliseconds: u64) -> Moment {
    Moment::new(Duration::from_millis(milliseconds))
}

/// An incarnation of a member with a one-letter name.
pub fn incarnation(member: &str, number: u64) -> Incarnation {
    Incarnation { member: MemberName::new(member), number }
}

/// The same with addresses; its slot is the letter's place in the alphabet.
pub fn peer(member: &str, number: u64) -> Peer {
    let slot = member.bytes().next().unwrap() - b'a';
    Peer {
        incarnation: incarnation(member, number),
        slot,
        control: format!("127.0.0.1:{}", 1000 + u16::from(slot)).parse().unwrap(),
        handoff: format!("127.0.0.1:{}", 2000 + u16::from(slot)).parse().unwrap(),
    }
}

/// An account by number.
pub fn account(number: u128) -> OwnableId {
    OwnableId::Account(AccountId(uuid::Uuid::from_u128(number)))
}
