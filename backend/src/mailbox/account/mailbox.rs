//! One mailbox as a value: its messages in the order of their UIDs, and what has lately changed.

use std::ops::Range;

use imbl::Vector;
use serde::{Deserialize, Serialize};

use super::history::History;
use super::tally::Tally;
use crate::mailbox::message::Message;
use crate::mailbox::name::MailboxName;
use crate::mailbox::uid::{MailboxId, ModSeq, SeqNo, Uid, UidValidity};
use crate::mailbox::uid_set::{UidRange, UidSet};

/// A named set of messages. Cheap to clone; a clone never changes, so sequence numbers hold as long as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Mailbox {
    /// Names it through every rename.
    pub id: MailboxId,
    /// Its name now.
    pub name: MailboxName,
    /// For how long its UIDs hold.
    pub uid_validity: UidValidity,
    /// The UID of the next message.
    pub uid_next: Uid,
    /// When a message of it last changed, came or went (RFC 7162 §3.1.2.1).
    pub highest_modseq: ModSeq,
    /// What it is for (RFC 6154).
    pub special_use: Option<SpecialUse>,
    /// No session has yet been told of this UID and those above: they are `\Recent` for the next that selects.
    pub recent_from: Uid,
    /// The messages by rising UID.
    pub messages: Vector<Message>,
    /// Sums over the messages.
    pub(in crate::mailbox) tally: Tally,
    /// Which messages went, and when.
    pub(in crate::mailbox) expunged: History,
    /// Which messages changed flags, and when.
    pub(in crate::mailbox) flagged: History,
}

/// What a mailbox is for (RFC 6154 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SpecialUse {
    /// Mail kept for good.
    Archive,
    /// Mail being written.
    Drafts,
    /// Mail taken for unwanted.
    Junk,
    /// Copies of mail sent.
    Sent,
    /// Mail to be thrown away.
    Trash,
}

impl SpecialUse {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Archive, Self::Drafts, Self::Junk, Self::Sent, Self::Trash];

    /// The attribute as IMAP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }

    /// Reads an attribute of CREATE's `USE`; `None` for those no mailbox of ours can have.
    pub fn parse(attribute: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|special_use| special_use.as_str().eq_ignore_ascii_case(attribute))
    }
}

impl Mailbox {
    /// An empty mailbox.
    pub(in crate::mailbox) fn new(id: MailboxId, name: MailboxName, uid_validity: UidValidity, modseq: ModSeq) -> Self {
        Self {
            id,
            name,
            uid_validity,
            uid_next: Uid::MIN,
            highest_modseq: modseq,
            special_use: None,
            recent_from: Uid::MIN,
            messages: Vector::new(),
            tally: Tally::default(),
            expunged: History::beginning_at(ModSeq::default()),
            flagged: History::beginning_at(ModSeq::default()),
        }
    }

    /// How many messages there are (EXISTS).
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are no messages.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Sums over the messages, for STATUS and SELECT; kept, not counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The message at a position.
    pub fn at(&self, seq: SeqNo) -> Option<&Message> {
        self.messages.get(seq.index())
    }

    /// The message with a UID, and its position.
    pub fn find(&self, uid: Uid) -> Option<(SeqNo, &Message)> {
        let index = self.index_from(uid);
        let message = self.messages.get(index).filter(|message| message.uid == uid)?;
        Some((SeqNo::from_index(index), message))
    }

    /// The highest position; `None` if there are no messages.
    pub fn last(&self) -> Option<SeqNo> {
        self.len().checked_sub(1).map(SeqNo::from_index)
    }

    /// The messages whose UIDs are in the set, with their positions, in order. Costs what it finds, not what the set
    /// spans.
    pub fn select<'a>(&'a self, uids: &'a UidSet) -> impl Iterator<Item = (SeqNo, &'a Message)> {
        uids.ranges().iter().flat_map(|range| self.slice(self.indices_in(*range)))
    }

    /// The messages at the positions `indices`, counted from 0, with their sequence numbers.
    pub fn slice(&self, indices: Range<usize>) -> impl Iterator<Item = (SeqNo, &Message)> {
        let end = indices.end.min(self.len());
        let start = indices.start.min(end);
        let messages = self.messages.focus().narrow(start..end).into_iter();
        messages.enumerate().map(move |(index, message)| (SeqNo::from_index(start + index), message))
    }

    /// All messages with their positions, in order.
    pub fn iter(&self) -> impl Iterator<Item = (SeqNo, &Message)> {
        self.slice(0..self.len())
    }

    /// The first position whose message is not seen (RFC 3501 §7.1, UNSEEN). Walks the messages.
    pub fn first_unseen(&self) -> Option<SeqNo> {
        if self.tally.unseen == 0 {
            return None;
        }
        self.iter().find(|(_, message)| !message.flags.is_seen()).map(|(seq, _)| seq)
    }

    /// How many messages no session has been told of.
    pub fn recent(&self) -> usize {
        self.len() - self.index_from(self.recent_from)
    }

    /// The position, from 0, of the first message whose UID is not below `uid`.
    pub fn index_from(&self, uid: Uid) -> usize {
        self.messages.binary_search_by_key(&uid, |message| message.uid).unwrap_or_else(|index| index)
    }

    /// The positions, from 0, of the messages whose UIDs are in a range.
    pub fn indices_in(&self, range: UidRange) -> Range<usize> {
        let start = self.index_from(range.first);
        let end = range.last.next().map_or(self.len(), |after| self.index_from(after));
        start..end
    }
}
