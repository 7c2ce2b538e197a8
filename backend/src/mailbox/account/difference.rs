//! What happened between two values of a mailbox: all a session needs to bring its client up to date.

use std::ops::Range;

use super::mailbox::Mailbox;
use crate::mailbox::uid::{ModSeq, SeqNo, Uid};
use crate::mailbox::uid_set::{UidRange, UidSet};

/// What happened between an older and a newer value of a mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Messages that went, by rising position *in the older value*. EXPUNGE is to be sent from the highest down, so
    /// that each number is right when it is sent.
    pub expunged: Vec<(SeqNo, Uid)>,
    /// How many messages came: the last ones of the newer value.
    pub added: usize,
    /// Messages that both have, with other flags: rising positions *in the newer value*.
    pub flagged: Vec<SeqNo>,
}

impl Changes {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.expunged.is_empty() && self.added == 0 && self.flagged.is_empty()
    }
}

impl Mailbox {
    /// What happened since `older`, an earlier value of this mailbox. Costs what happened; a walk over the messages
    /// only if that goes beyond the history. If the UIDs have been given anew, everything went and came.
    pub fn changes_since(&self, older: &Mailbox) -> Changes {
        if self.uid_validity != older.uid_validity {
            let expunged = older.iter().map(|(seq, message)| (seq, message.uid)).collect();
            return Changes { expunged, added: self.len(), flagged: Vec::new() };
        }
        if self.highest_modseq == older.highest_modseq {
            return Changes::default();
        }
        let first_added = self.index_from(older.uid_next);
        Changes {
            expunged: self.expunged_from(older),
            added: self.len() - first_added,
            flagged: self.flagged_since(older.highest_modseq, first_added),
        }
    }

    /// The messages that changed flags or came after `modseq` (RFC 7162 §3.1.4, CHANGEDSINCE), by rising position.
    /// Walks the messages.
    pub fn changed_since(&self, modseq: ModSeq) -> Vec<SeqNo> {
        if modseq >= self.highest_modseq {
            return Vec::new();
        }
        let changed = self.iter().filter(|(_, message)| message.modseq > modseq);
        changed.map(|(seq, _)| seq).collect()
    }

    /// UIDs that went after `modseq` (RFC 7162 §3.2.10, VANISHED); those that went earlier as well where that is not
    /// known any more.
    pub fn vanished_since(&self, modseq: ModSeq) -> UidSet {
        match self.expunged.since(modseq) {
            Some(ranges) => ranges.collect(),
            None => self.absent(),
        }
    }

    /// The UIDs given out that no message has.
    fn absent(&self) -> UidSet {
        let mut expected = Some(Uid::MIN);
        let gap_before = |uid: Uid| {
            let gap = expected.and_then(|first| gap(first, uid));
            expected = uid.next();
            gap
        };
        let present = self.messages.iter().map(|message| message.uid);
        present.chain([self.uid_next]).filter_map(gap_before).collect()
    }

    fn expunged_from(&self, older: &Mailbox) -> Vec<(SeqNo, Uid)> {
        let Some(ranges) = self.expunged.since(older.highest_modseq) else {
            return self.missing_from(older);
        };
        let gone = ranges.flat_map(|range| older.slice(older.indices_in(range)));
        let mut gone: Vec<_> = gone.map(|(seq, message)| (seq, message.uid)).collect();
        gone.sort_unstable();
        gone
    }

    /// The messages of `older` that this value no longer has, found by walking both.
    fn missing_from(&self, older: &Mailbox) -> Vec<(SeqNo, Uid)> {
        let mut present = self.messages.iter().map(|message| message.uid).peekable();
        let mut is_missing = |uid: Uid| {
            while present.next_if(|&other| other < uid).is_some() {}
            present.peek() != Some(&uid)
        };
        let all = older.iter().map(|(seq, message)| (seq, message.uid));
        all.filter(|&(_, uid)| is_missing(uid)).collect()
    }

    /// The positions of the messages before index `end` whose flags changed after `modseq`.
    fn flagged_since(&self, modseq: ModSeq, end: usize) -> Vec<SeqNo> {
        let changed = |indices: Range<usize>| {
            let messages = self.slice(indices.start..indices.end.min(end));
            messages.filter(|(_, message)| message.modseq > modseq).map(|(seq, _)| seq)
        };
        let Some(ranges) = self.flagged.since(modseq) else {
            return changed(0..end).collect();
        };
        let mut found: Vec<_> = ranges.flat_map(|range| changed(self.indices_in(range))).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The UIDs from `first` up to, but without, `end`.
fn gap(first: Uid, end: Uid) -> Option<UidRange> {
    let last = Uid::new(end.get() - 1)?;
    (first <= last).then(|| UidRange::new(first, last))
}
