//! One message in the queue and those of its recipients that still wait.

use laniakea_router::wire::smtp::{MailParameters, Mailbox};
use serde::{Deserialize, Serialize};

use super::schedule::is_due;
use crate::{deliver::Addressee, store::BodyRef};

/// Names an entry within its shard; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId(pub u64);

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What is known of a message when it is accepted; its content is the record's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEntry {
    /// Where failures are reported; none for a bounce.
    pub reverse_path: Option<Mailbox>,
    /// What MAIL said besides.
    pub parameters: MailParameters,
    /// Whom it is for.
    pub addressees: Vec<Addressee>,
    /// When it was accepted, in milliseconds since 1970.
    pub arrived_ms: u64,
    /// When it is given up, if it was tried often enough by then.
    pub expires_ms: u64,
}

/// One message in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub id: EntryId,
    /// Where failures are reported; none for a bounce.
    pub reverse_path: Option<Mailbox>,
    /// What MAIL said besides.
    pub parameters: MailParameters,
    /// The recipients that still wait.
    pub pending: Vec<Pending>,
    /// When it was accepted.
    pub arrived_ms: u64,
    /// When it is given up.
    pub expires_ms: u64,
    /// Its content.
    pub body: BodyRef,
}

/// A recipient that still waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its place among the recipients the entry was accepted with.
    pub place: u32,
    /// Who it is.
    pub addressee: Addressee,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, in milliseconds since 1970.
    pub next_ms: u64,
    /// What the last attempt met with.
    pub last: Option<String>,
}

impl Entry {
    /// The entry as it is when just accepted: everybody is due.
    #[must_use]
    pub fn accepted(id: EntryId, new: NewEntry, body: BodyRef) -> Self {
        let pend = |(place, addressee): (u32, Addressee)| Pending {
            place,
            addressee,
            attempts: 0,
            next_ms: new.arrived_ms,
            last: None,
        };
        Self {
            id,
            pending: (0..).zip(new.addressees).map(pend).collect(),
            reverse_path: new.reverse_path,
            parameters: new.parameters,
            arrived_ms: new.arrived_ms,
            expires_ms: new.expires_ms,
            body,
        }
    }

    /// When its first recipient is due; `None` when none is left.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.pending.iter().map(|pending| pending.next_ms).min()
    }

    /// The recipients that are due.
    pub fn due(&self, now_ms: u64) -> impl Iterator<Item = &Pending> {
        self.pending.iter().filter(move |pending| is_due(pending.next_ms, now_ms))
    }
}
