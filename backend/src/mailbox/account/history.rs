//! What lately happened to a mailbox's messages, as far back as a limit allows.

use std::cmp::Ordering;

use imbl::Vector;
use serde::{Deserialize, Serialize};

use crate::mailbox::uid::ModSeq;
use crate::mailbox::uid_set::{UidRange, UidSet};

/// Most entries kept per mailbox. A client that was away for longer is told of everything instead of the changes.
pub const HISTORY_MAX: usize = 10_000;

/// Which UIDs something happened to, by rising mod-sequence. Complete above `floor`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::mailbox) struct History {
    entries: Vector<Entry>,
    floor: ModSeq,
}

/// Something happened to these UIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::mailbox) struct Entry {
    /// When.
    pub modseq: ModSeq,
    /// To which.
    pub uids: UidRange,
}

impl History {
    /// A history that begins at `floor`: nothing is known of what was before.
    pub(in crate::mailbox) fn beginning_at(floor: ModSeq) -> Self {
        Self { entries: Vector::new(), floor }
    }

    /// A history from what was stored of it.
    pub(in crate::mailbox) fn restore(floor: ModSeq, entries: impl IntoIterator<Item = Entry>) -> Self {
        Self { entries: entries.into_iter().collect(), floor }
    }

    /// The mod-sequence above which the history is complete.
    pub(in crate::mailbox) fn floor(&self) -> ModSeq {
        self.floor
    }

    /// All that is known.
    pub(in crate::mailbox) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Adds what happened last.
    pub(in crate::mailbox) fn push(&mut self, modseq: ModSeq, uids: &UidSet) {
        if uids.ranges().len() > HISTORY_MAX {
            *self = Self::beginning_at(modseq);
            return;
        }
        for &uids in uids.ranges() {
            self.entries.push_back(Entry { modseq, uids });
        }
        while self.entries.len() > HISTORY_MAX {
            if let Some(oldest) = self.entries.pop_front() {
                self.floor = oldest.modseq;
            }
        }
    }

    /// What happened after `modseq`; `None` if that is not known in full.
    pub(in crate::mailbox) fn since(&self, modseq: ModSeq) -> Option<impl Iterator<Item = UidRange>> {
        if modseq < self.floor {
            return None;
        }
        let later = |entry: &Entry| if entry.modseq <= modseq { Ordering::Less } else { Ordering::Greater };
        let start = self.entries.binary_search_by(later).unwrap_or_else(|index| index);
        let entries = self.entries.focus().narrow(start..self.entries.len());
        Some(entries.into_iter().map(|entry| entry.uids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::uid::Uid;

    fn one(number: u32) -> UidSet {
        UidSet::from(Uid::new(number).unwrap())
    }

    #[test]
    fn a_history_tells_what_came_after() {
        let mut history = History::default();
        for number in 1..=5 {
            history.push(ModSeq(u64::from(number) * 10), &one(number));
        }
        let since = |modseq| history.since(ModSeq(modseq)).unwrap().map(|uids| uids.first.get()).collect::<Vec<_>>();
        assert_eq!(since(0), [1, 2, 3, 4, 5]);
        assert_eq!(since(30), [4, 5]);
        assert_eq!(since(35), [4, 5]);
        assert!(since(50).is_empty());
    }

    #[test]
    fn what_was_forgotten_is_not_told_as_nothing() {
        let mut history = History::default();
        for number in 1..=HISTORY_MAX as u32 + 2 {
            history.push(ModSeq(u64::from(number)), &one(number));
        }
        assert!(history.since(ModSeq(1)).is_none());
        assert_eq!(history.since(ModSeq(2)).unwrap().count(), HISTORY_MAX);
    }

    #[test]
    fn a_change_of_too_many_ranges_begins_anew() {
        let mut history = History::default();
        let every_other = (0..=HISTORY_MAX as u32).filter_map(|n| Uid::new(2 * n + 1)).collect();
        history.push(ModSeq(9), &every_other);
        assert!(history.since(ModSeq(8)).is_none());
        assert_eq!(history.since(ModSeq(9)).unwrap().count(), 0);
    }
}
