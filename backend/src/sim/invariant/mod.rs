//! What must be true all the time: one module per invariant, and what they remember together.
//!
//! The world tells [`Witness`] what it sees: grants, openings, states that are shown, answers. A violation is a panic that
//! names its invariant.

mod i01_acknowledged;
mod i02_writer;
mod i03_epochs;
mod i04_validated;
mod i05_numbers;
pub mod i06_rollback;
mod i07_sealed;
mod i08_term;
pub mod i09_presence;
mod i10_limits;
mod i11_queue;
mod i12_isolation;
mod i13_owners;
mod i14_liveness;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use self::{
    i02_writer::Writers,
    i03_epochs::Epochs,
    i04_validated::Validations,
    i07_sealed::Sealed,
    i08_term::Terms,
    i10_limits::Watched,
    i11_queue::{Mails, bounce_of, is_refused},
    i13_owners::Owners,
    i14_liveness::{Answers, patience},
};

use crate::{
    cluster::OwnableId,
    mailbox::{Account, MailboxName},
};

/// Remembers what is needed to tell right from wrong.
#[derive(Debug, Default)]
pub struct Witness {
    pub writers: Writers,
    pub epochs: Epochs,
    pub validations: Validations,
    pub terms: Terms,
    pub ledgers: BTreeMap<OwnableId, Ledger>,
    pub mails: Mails,
    pub sealed: Sealed,
    pub owners: Owners,
    pub answers: Answers,
    /// A file of this one was damaged on purpose.
    pub damaged: Option<OwnableId>,
    pub seen: Seen,
}

/// What clients were told of one account.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Messages, by the number each carries, whose delivery was acknowledged.
    pub delivered: BTreeSet<u64>,
    /// Somebody asked to remove them.
    pub doomed: BTreeSet<u64>,
    /// That was acknowledged.
    pub removed: BTreeSet<u64>,
    /// A digest of what was shown, by its mod-sequence.
    pub shown: BTreeMap<u64, u64>,
    /// Which message got which UID, of those that were shown.
    pub uids: BTreeMap<u32, u64>,
}

/// Counts of what a run has shown, so that a simulation that does nothing is noticed.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// How long clusters have been simulated.
    pub simulated: Duration,
    pub grants: u64,
    pub takeovers: u64,
    pub acknowledged: u64,
    pub reads: u64,
    pub accepted: u64,
    pub settled: u64,
    pub terms: u64,
    pub fences: u64,
    pub leases: u64,
    pub quarantined: u64,
    pub faults: BTreeMap<&'static str, u64>,
}

impl Seen {
    /// How many hours clusters have been simulated.
    pub fn hours(&self) -> f64 {
        self.simulated.as_secs_f64() / 3600.0
    }

    /// How many faults there were, of all kinds.
    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in [
            (&mut self.grants, other.grants),
            (&mut self.takeovers, other.takeovers),
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.reads, other.reads),
            (&mut self.accepted, other.accepted),
            (&mut self.settled, other.settled),
            (&mut self.terms, other.terms),
            (&mut self.fences, other.fences),
            (&mut self.leases, other.leases),
            (&mut self.quarantined, other.quarantined),
        ] {
            *sum += count;
        }
        self.simulated += other.simulated;
        for (fault, count) in &other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
    }
}

/// What an invariant looks at in an account: a message is known by the number in its date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    pub modseq: u64,
    pub digest: u64,
    /// Number, UID and mod-sequence of each message in INBOX.
    pub messages: Vec<(u64, u32, u64)>,
    pub uid_next: u32,
}

impl Glance {
    pub fn of(account: &Account) -> Self {
        let inbox = account.mailbox(&MailboxName::inbox()).expect("there is always an INBOX");
        let mut text = Vec::new();
        let mut messages = Vec::new();
        for (_, message) in inbox.iter() {
            let number = u64::try_from(message.internal_date.at.0).unwrap_or_default();
            messages.push((number, message.uid.get(), message.modseq.0));
            text.extend(number.to_le_bytes());
            text.extend(message.uid.get().to_le_bytes());
            text.push(u8::from(message.flags.is_seen()));
        }
        let digest = xxhash_rust::xxh3::xxh3_64(&text);
        Self { modseq: account.highest_modseq().0, digest, messages, uid_next: inbox.uid_next.get() }
    }
}

impl Witness {
    pub fn ledger(&mut self, ownable: OwnableId) -> &mut Ledger {
        self.ledgers.entry(ownable).or_default()
    }

    /// A state that clients may see from now on.
    pub fn on_shown(&mut self, ownable: OwnableId, account: &Account) {
        let glance = Glance::of(account);
        let ledger = self.ledgers.entry(ownable).or_default();
        i05_numbers::check(ownable, ledger, &glance);
        i06_rollback::on_shown(ownable, ledger, &glance);
    }

    /// What was read back when an account was opened: everything that was promised is in it.
    pub fn on_recovered(&mut self, ownable: OwnableId, account: &Account) {
        let glance = Glance::of(account);
        let ledger = self.ledgers.entry(ownable).or_default();
        i01_acknowledged::check(ownable, ledger, &glance);
        i05_numbers::check(ownable, ledger, &glance);
        i06_rollback::on_recovered(ownable, ledger, &glance);
    }
}
