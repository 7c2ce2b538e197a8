//! What an examination found, and what follows from it.

use std::collections::BTreeMap;

use super::operation::{Operation, Side};

/// One thing a filesystem must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// F1 by `link`.
    OneLink,
    /// F1 by `O_EXCL`.
    OneCreate,
    /// F2.
    Sync,
    /// F3, in a file that was never seen before.
    FreshBytes,
    /// F3, in a file that has been read before.
    KnownBytes,
    /// F4.
    RemovedFolder,
    /// F5, what the reader did itself.
    OwnListing,
    /// F5, what the other side did.
    PeersListing,
    /// `stat` answers from a cache.
    StaleStat,
    /// `open` answers from a cache.
    StaleOpen,
    /// A name once missed stays missed.
    MissedName,
}

impl Check {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 11] = [
        Self::OneLink,
        Self::OneCreate,
        Self::Sync,
        Self::FreshBytes,
        Self::KnownBytes,
        Self::RemovedFolder,
        Self::OwnListing,
        Self::PeersListing,
        Self::StaleStat,
        Self::StaleOpen,
        Self::MissedName,
    ];

    /// The assumption it belongs to.
    #[must_use]
    pub const fn assumption(self) -> &'static str {
        match self {
            Self::OneLink | Self::OneCreate => "F1",
            Self::Sync => "F2",
            Self::FreshBytes | Self::KnownBytes => "F3",
            Self::RemovedFolder => "F4",
            Self::OwnListing | Self::PeersListing => "F5",
            Self::StaleStat | Self::StaleOpen | Self::MissedName => "caches",
        }
    }

    /// One word for scripts.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::OneLink => "one-link",
            Self::OneCreate => "one-create",
            Self::Sync => "sync",
            Self::FreshBytes => "fresh-bytes",
            Self::KnownBytes => "known-bytes",
            Self::RemovedFolder => "removed-folder",
            Self::OwnListing => "own-listing",
            Self::PeersListing => "peers-listing",
            Self::StaleStat => "stale-stat",
            Self::StaleOpen => "stale-open",
            Self::MissedName => "missed-name",
        }
    }

    /// What must hold.
    #[must_use]
    pub const fn promise(self) -> &'static str {
        match self {
            Self::OneLink => "of two who link one name, one has it",
            Self::OneCreate => "of two who create one name, one has it",
            Self::Sync => "files and folders can be synced",
            Self::FreshBytes => "synced bytes are read in a new file",
            Self::KnownBytes => "synced bytes are read in a file read before",
            Self::RemovedFolder => "nothing moves in a removed folder",
            Self::OwnListing => "a listing shows one's own changes",
            Self::PeersListing => "a listing shows the other's changes",
            Self::StaleStat => "stat shows the other's changes",
            Self::StaleOpen => "open finds nothing that was removed",
            Self::MissedName => "open finds what was missed before",
        }
    }
}

/// How often something was tried, and how often the answer was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Tried.
    pub tried: u32,
    /// Wrong.
    pub wrong: u32,
}

/// An operation that failed without saying anything about the assumptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// On which mount.
    pub side: Side,
    /// What was asked.
    pub operation: Operation,
    /// The error number; 0 if the answer made no sense.
    pub errno: i32,
}

/// What follows from the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was right.
    Sound,
    /// Something was wrong: a cluster on it would lose mail.
    Broken,
    /// Not enough was tried to say anything.
    Unfinished,
}

/// Everything an examination found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// By check and by the mount that answered.
    pub tallies: BTreeMap<(Check, Side), Tally>,
    /// Rounds that were played to their end.
    pub rounds: u16,
    /// Enough rounds for a verdict.
    pub is_enough: bool,
    /// Why it ended early.
    pub trouble: Option<Trouble>,
}

impl Findings {
    /// What follows.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.broken().next().is_some() {
            Verdict::Broken
        } else if self.is_enough && self.trouble.is_none() {
            Verdict::Sound
        } else {
            Verdict::Unfinished
        }
    }

    /// What was wrong, and on which mount.
    pub fn broken(&self) -> impl Iterator<Item = (Check, Side, Tally)> {
        self.tallies.iter().filter(|(_, tally)| tally.wrong > 0).map(|((check, side), tally)| (*check, *side, *tally))
    }

    /// One check on both mounts.
    #[must_use]
    pub fn of(&self, check: Check) -> Tally {
        [Side::Here, Side::There].iter().filter_map(|side| self.tallies.get(&(check, *side))).fold(
            Tally::default(),
            |sum, tally| Tally { tried: sum.tried + tally.tried, wrong: sum.wrong + tally.wrong },
        )
    }

    /// Counts one answer.
    pub(super) fn count(&mut self, check: Check, side: Side, is_right: bool) {
        let tally = self.tallies.entry((check, side)).or_default();
        tally.tried += 1;
        tally.wrong += u32::from(!is_right);
    }
}
