//! What members tell one another, and its codec.
//!
//! A link is dialled by one member and accepted by the other. On it the dialling member speaks *as a member* and the
//! accepting one answers *as a fellow* and, if it is that, as the controller. So between two members there are two links,
//! each with one direction of asking, and what is said on a link arrives in order or not at all. Everything about
//! ownership carries its term; what belongs to another term is ignored.

use std::{collections::BTreeSet, net::SocketAddr};

use serde::{Deserialize, Serialize};

use laniakea_directory::MemberName;

use super::{Epoch, Incarnation, Moment, OwnableId, Slots, TermRecord};

/// The version of the protocol; a peer of another version is refused at the handshake.
pub const PROTOCOL_VERSION: u8 = 2;

/// Most ownables in one message: keeps every message far below the frame's limit, whatever the names in it.
pub const BATCH_MAX: usize = 2048;

/// A message on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Dialler: are you there?
    Ping(Ping),
    /// Acceptor: the answer to one ping.
    Pong(Pong),
    /// Either: there is this term. Sent when it is won, and to whoever seems not to know.
    News(TermRecord),
    /// Dialler to the controller: all that I own; in parts.
    Register(Registration),
    /// Controller: you are registered in `term`; claims are answered from now on.
    Registered {
        /// The controller's term.
        term: u64,
    },
    /// Dialler to the controller: I want these.
    Claims {
        /// The term of the registration.
        term: u64,
        /// What is wanted; one answer for each.
        wanted: Vec<OwnableId>,
    },
    /// Controller: answers to claims, in no particular order.
    Answers {
        /// The controller's term.
        term: u64,
        /// What was wanted, and who owns it now.
        answers: Vec<(OwnableId, Answer)>,
    },
    /// Dialler to the controller: I no longer own these.
    Releases {
        /// The term of the registration.
        term: u64,
        /// What is given back, under which epoch it was owned.
        released: Vec<(OwnableId, Epoch)>,
    },
    /// Controller: give these back soon.
    Recalls {
        /// The controller's term.
        term: u64,
        /// What is wanted back.
        recalled: Vec<(OwnableId, Epoch)>,
    },
    /// Dialler to every fellow: I have removed my live directory and own nothing.
    Left,
    /// Dialler to the controller: I am about to leave; give me nothing new, I give back all I have.
    Leaving {
        /// The term of the registration.
        term: u64,
    },
    /// Dialler to the controller: drain a member, or end that.
    Drain {
        /// The term of the registration.
        term: u64,
        /// Chosen by the asker, repeated in the answer.
        request: u64,
        /// Whom.
        member: MemberName,
        /// Begin or end.
        on: bool,
    },
    /// Controller: what became of a [`Message::Drain`] is recorded.
    Drained {
        /// Which question this answers.
        request: u64,
        /// Everybody who is being drained, as recorded.
        drained: BTreeSet<MemberName>,
    },
    /// Controller to everybody registered: who gets nothing new.
    Roster {
        /// The controller's term.
        term: u64,
        /// Who.
        roster: Roster,
    },
    /// Dialler to the controller: who owns what?
    ListOwners {
        /// Chosen by the asker, repeated in the answer.
        request: u64,
    },
    /// Controller: a part of the answer.
    Owners {
        /// Which question this answers.
        request: u64,
        /// Some of what is owned.
        owned: Vec<(OwnableId, MemberName, Epoch)>,
        /// Whether this is the last part.
        last: bool,
    },
}

/// A sign of life that wants one back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// When it was sent, on the sender's clock; comes back as it is.
    pub sent: Moment,
    /// How the sender is.
    pub health: Health,
}

/// The answer to a [`Ping`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The ping's own time.
    pub sent: Moment,
    /// How the answerer is.
    pub health: Health,
    /// The asker may extend its read lease on this answer. False once the answerer means to fence it.
    pub lease: bool,
    /// From the controller to a member it has registered in its term: everybody registered.
    pub registered: Option<Slots>,
}

/// How a member is, told with every sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The highest term it adopted.
    pub term: Option<TermRecord>,
    /// Who answers its pings.
    pub sees: Slots,
    /// Age of its last successful tick, in milliseconds.
    pub storage_age_ms: u32,
}

/// One part of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The term the member adopted.
    pub term: u64,
    /// Whether this is the first part: it replaces all told before.
    pub first: bool,
    /// Whether this is the last part.
    pub last: bool,
    /// Whether the member is about to leave.
    pub leaving: bool,
    /// Some of what it owns.
    pub owned: Vec<(OwnableId, Epoch)>,
}

/// The controller's answer to one claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is yours, under this epoch.
    Granted(Epoch),
    /// It has an owner.
    Owned {
        /// Who.
        member: MemberName,
        /// Where it takes connections.
        handoff: SocketAddr,
        /// Under which epoch.
        epoch: Epoch,
    },
    /// You are being drained, or leave, and get nothing new.
    Draining,
}

/// Who gets nothing new, as the controller tells everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Members that somebody asked to drain.
    pub drained: BTreeSet<MemberName>,
    /// Runs that are about to leave.
    pub leaving: BTreeSet<Incarnation>,
}

/// Bytes that are no message of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this protocol")]
pub struct NotAMessage;

impl Message {
    /// Appends the message's bytes.
    pub fn encode(&self, into: &mut Vec<u8>) {
        // Writing to memory cannot fail, and no type here refuses to be written.
        let _ = postcard::to_io(self, into);
    }

    /// Reads one message, which must be all of `bytes`.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAMessage> {
        let (message, rest) = postcard::take_from_bytes(bytes).map_err(|_| NotAMessage)?;
        if rest.is_empty() { Ok(message) } else { Err(NotAMessage) }
    }
}

/// Reads anything without harm; run on seeds by the tests and by fuzzers.
pub fn fuzz_message(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(Message::decode(&again).as_ref(), Ok(&message), "a message reads as it was written");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_batch_of_the_longest_names_fits_a_frame() {
        let answer = Answer::Owned {
            member: MemberName::new(&"m".repeat(255)),
            handoff: "[2001:db8::1]:65535".parse().unwrap(),
            epoch: Epoch { term: u64::MAX, number: u64::MAX },
        };
        let wanted = OwnableId::Account(laniakea_directory::AccountId(uuid::Uuid::max()));
        let message = Message::Answers { term: u64::MAX, answers: vec![(wanted, answer); BATCH_MAX] };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        assert_eq!(Message::decode(&bytes), Ok(message));
        bytes.push(0);
        assert_eq!(Message::decode(&bytes), Err(NotAMessage));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz_message(&bytes);
        }
    }
}
