//! What a client has been told of its selected mailbox, and how it is brought up to date.
//!
//! Sequence numbers are positions in a view and in nothing else. A view is a value of the mailbox
//! that was published once, plus *ghosts*: messages that are gone, which the client may not be told
//! yet because a command in progress counts in their presence (RFC 3501 §7.4.1).

use std::sync::Arc;

use imbl::Vector;

use crate::mailbox::{Mailbox, MailboxId, Message, ModSeq, SeqNo, Uid, UidRange, UidSet};
use crate::wire::imap::command::Numbering;
use crate::wire::imap::cursor::{Bad, Parsed};
use crate::wire::imap::response::message::Recency;
use crate::wire::imap::sequence::{Bound, SequenceSet};

/// What the client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `EXAMINE`.
    ReadOnly,
    /// `SELECT`.
    ReadWrite,
}

/// Whether expunges may be told now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// No: the client may be counting.
    Keep,
    /// Yes.
    MayChange,
}

/// The selected mailbox as the client knows it.
#[derive(Debug, Clone)]
pub struct View {
    /// What the client may do.
    pub access: Access,
    /// The newest value the client has been told of, but for ghosts.
    told: Arc<Mailbox>,
    /// The messages by sequence number: those of `told`, and ghosts.
    messages: Vector<Message>,
    ghosts: UidSet,
    /// Messages from here on are `\Recent` in this session.
    recent_from: Uid,
    /// What the last search saved (RFC 5182).
    saved: UidSet,
}

/// What happened since the client was last told; to be written in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Updates {
    /// Keywords came into use that the client has not seen in a FLAGS response.
    pub keywords: bool,
    /// Numbers to be told as EXPUNGE, highest first, so that each is right when it is read.
    pub expunged: Vec<SeqNo>,
    /// The UIDs of the same messages.
    pub vanished: UidSet,
    /// The new number of messages, if it rose.
    pub exists: Option<usize>,
    /// Messages whose flags are to be told, ascending.
    pub flagged: Vec<SeqNo>,
}

impl View {
    /// A view of `mailbox` in which messages from `recent_from` on are recent.
    pub fn new(mailbox: Arc<Mailbox>, access: Access, recent_from: Uid) -> View {
        let (ghosts, saved) = (UidSet::new(), UidSet::new());
        View { access, messages: mailbox.messages.clone(), told: mailbox, ghosts, recent_from, saved }
    }

    /// Which mailbox is selected.
    pub fn mailbox(&self) -> MailboxId {
        self.told.id
    }

    /// The value the client has been told of, ghosts left out.
    pub fn told(&self) -> &Arc<Mailbox> {
        &self.told
    }

    /// How many messages the client knows.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// How many of them are recent.
    pub fn recent(&self) -> usize {
        self.len() - self.index_from(self.recent_from)
    }

    /// The message with this number.
    pub fn at(&self, seq: SeqNo) -> Option<&Message> {
        self.messages.get(seq.index())
    }

    /// The number of the message with this UID.
    pub fn find(&self, uid: Uid) -> Option<SeqNo> {
        let index = self.index_from(uid);
        let is_it = self.messages.get(index).is_some_and(|message| message.uid == uid);
        is_it.then(|| SeqNo::from_index(index))
    }

    /// Whether the message is `\Recent` in this session.
    pub fn recency(&self, message: &Message) -> Recency {
        match message.uid >= self.recent_from {
            true => Recency::Recent,
            false => Recency::Old,
        }
    }

    /// The messages a set means, as ranges of sequence numbers, ascending.
    ///
    /// # Errors
    /// A sequence number without a message is the client's mistake (RFC 3501 §6.4.5 and elsewhere,
    /// "BAD"); a UID without one is not (§6.4.8).
    pub fn resolve(&self, set: &SequenceSet, numbering: Numbering) -> Parsed<Vec<SeqRange>> {
        match numbering {
            _ if set.saved => Ok(self.ranges_of(&self.saved)),
            Numbering::Sequence => self.resolve_numbers(set),
            Numbering::Uid => Ok(self.resolve_uids(set)),
        }
    }

    fn resolve_numbers(&self, set: &SequenceSet) -> Parsed<Vec<SeqRange>> {
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let too_high = |bound: &Bound| matches!(bound, Bound::Number(number) if *number > count);
        // `4:*` asks for what there is, however little: clients send it to empty mailboxes too.
        let is_wrong = |(start, end): &(Bound, Bound)| {
            let open = *start == Bound::Last || *end == Bound::Last;
            !open && (too_high(start) || too_high(end))
        };
        if set.ranges.iter().any(is_wrong) {
            return Err(Bad("no such message number"));
        }
        let resolved = set.resolve((count > 0).then_some(count));
        Ok(resolved
            .into_iter()
            .filter_map(|(first, last)| {
                let (first, last) = (SeqNo::new(first)?, SeqNo::new(last.min(count))?);
                (first <= last).then_some(SeqRange { first, last })
            })
            .collect())
    }

    fn resolve_uids(&self, set: &SequenceSet) -> Vec<SeqRange> {
        self.ranges_of(&self.meant(set))
    }

    /// The UIDs a set names, whether there are such messages or not.
    pub fn meant(&self, set: &SequenceSet) -> UidSet {
        let last = self.messages.last().map(|message| message.uid.get());
        let range = |(first, last)| Some(UidRange { first: Uid::new(first)?, last: Uid::new(last)? });
        set.resolve(last).into_iter().filter_map(range).collect()
    }

    /// Where the messages with these UIDs are.
    fn ranges_of(&self, uids: &UidSet) -> Vec<SeqRange> {
        let ranges = uids.ranges().iter().map(|range| {
            let end = range.last.next().map_or(self.len(), |after| self.index_from(after));
            (self.index_from(range.first), end)
        });
        ranges
            .filter(|(start, end)| start < end)
            .map(|(start, end)| SeqRange { first: SeqNo::from_index(start), last: SeqNo::from_index(end - 1) })
            .collect()
    }

    /// Keeps what a search found, for `$`.
    pub fn save(&mut self, uids: UidSet) {
        self.saved = uids;
    }

    /// The UIDs of the messages in these ranges.
    pub fn uids(&self, ranges: &[SeqRange]) -> UidSet {
        ranges
            .iter()
            .flat_map(|range| range.numbers())
            .filter_map(|seq| self.at(seq))
            .map(|message| message.uid)
            .collect()
    }

    /// All UIDs up to the last one the client knows.
    pub fn known_uids(&self) -> UidSet {
        let last = self.messages.last().map(|message| message.uid);
        last.map(|last| UidRange { first: Uid::MIN, last }).into_iter().collect()
    }

    /// Those of `uids` that are gone since `modseq`, as far as the client may know of it.
    pub fn vanished_since(&self, modseq: ModSeq, uids: &UidSet) -> UidSet {
        // RFC 7162 §3.2.10.1: what is still counted must not be told as gone earlier.
        without(&common(&self.told.vanished_since(modseq), uids), &self.ghosts)
    }

    /// Whether messages are gone that the client has not been told of.
    pub fn has_ghosts(&self) -> bool {
        !self.ghosts.is_empty()
    }

    /// Takes a newer value of the mailbox into account and says what to tell of it.
    pub fn update(&mut self, newer: &Arc<Mailbox>, numbers: Numbers) -> Updates {
        let changes = newer.changes_since(&self.told);
        let gone: Vec<Uid> = changes.expunged.iter().map(|(_, uid)| *uid).collect();
        let flagged: Vec<Uid> =
            changes.flagged.iter().filter_map(|seq| newer.at(*seq)).map(|message| message.uid).collect();
        for uid in gone {
            self.ghosts.insert(uid);
        }
        let mut updates = Updates::default();
        if numbers == Numbers::MayChange {
            updates.expunged = self.ghost_numbers();
            updates.vanished = std::mem::take(&mut self.ghosts);
        }
        self.take_messages(newer, &changes.flagged, changes.added);
        let known = self.told.tally();
        updates.keywords = newer.tally().keywords().any(|keyword| !known.has_keyword(keyword));
        self.told = Arc::clone(newer);
        updates.exists = (changes.added > 0).then_some(self.len());
        updates.flagged = flagged.into_iter().filter_map(|uid| self.find(uid)).collect();
        updates
    }

    /// The numbers of the ghosts, highest first.
    fn ghost_numbers(&self) -> Vec<SeqNo> {
        let mut numbers: Vec<SeqNo> = self
            .ghosts
            .ranges()
            .iter()
            .flat_map(|range| {
                let end = range.last.next().map_or(self.len(), |after| self.index_from(after));
                (self.index_from(range.first)..end).map(SeqNo::from_index)
            })
            .collect();
        numbers.reverse();
        numbers
    }

    /// Makes `messages` those of `newer` and the ghosts.
    fn take_messages(&mut self, newer: &Mailbox, flagged: &[SeqNo], added: usize) {
        if self.ghosts.is_empty() {
            self.messages = newer.messages.clone();
            return;
        }
        for message in flagged.iter().filter_map(|seq| newer.at(*seq)) {
            if let Some(seq) = self.find(message.uid) {
                self.messages.set(seq.index(), message.clone());
            }
        }
        for (_, message) in newer.slice(newer.len() - added..newer.len()) {
            self.messages.push_back(message.clone());
        }
    }

    fn index_from(&self, uid: Uid) -> usize {
        self.messages.binary_search_by_key(&uid, |message| message.uid).unwrap_or_else(|index| index)
    }
}

/// Neighbouring messages of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqRange {
    /// The lowest number.
    pub first: SeqNo,
    /// The highest number.
    pub last: SeqNo,
}

impl SeqRange {
    /// The numbers, ascending.
    pub fn numbers(self) -> impl Iterator<Item = SeqNo> {
        (self.first.get()..=self.last.get()).filter_map(SeqNo::new)
    }
}

/// What both sets hold.
fn common(one: &UidSet, other: &UidSet) -> UidSet {
    let (mut ones, mut others) = (one.ranges().iter().peekable(), other.ranges().iter().peekable());
    let mut found = Vec::new();
    while let (Some(left), Some(right)) = (ones.peek(), others.peek()) {
        let (first, last) = (left.first.max(right.first), left.last.min(right.last));
        if first <= last {
            found.push(UidRange { first, last });
        }
        if left.last < right.last {
            ones.next();
        } else {
            others.next();
        }
    }
    found.into_iter().collect()
}

/// What the first set holds and the second does not.
fn without(one: &UidSet, other: &UidSet) -> UidSet {
    let mut first = Some(Uid::MIN);
    let mut gaps = Vec::new();
    for range in other.ranges() {
        let last = Uid::new(range.first.get() - 1);
        gaps.extend(first.zip(last).filter(|(first, last)| first <= last));
        first = range.last.next();
    }
    gaps.extend(first.map(|first| (first, Uid::MAX)));
    common(one, &gaps.into_iter().map(|(first, last)| UidRange { first, last }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[u32]) -> UidSet {
        numbers.iter().filter_map(|number| Uid::new(*number)).collect()
    }

    #[test]
    fn sets_are_cut_and_subtracted() {
        let (one, other) = (set(&[1, 2, 3, 7, 8, 12]), set(&[2, 3, 4, 8, 9, 12, 20]));
        assert_eq!(common(&one, &other), set(&[2, 3, 8, 12]));
        assert_eq!(without(&one, &other), set(&[1, 7]));
        assert_eq!(without(&one, &UidSet::new()), one);
        assert!(without(&one, &UidSet::all()).is_empty());
        assert_eq!(common(&UidSet::all(), &one), one);
    }
}
