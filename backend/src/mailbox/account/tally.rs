//! Sums over a mailbox's messages, kept up to date with every change so that STATUS costs nothing.

use imbl::OrdMap;

use crate::mailbox::flags::{Flags, Keyword};
use crate::mailbox::message::Message;

/// Sums over a mailbox's messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// Messages with `\Deleted`.
    pub deleted: u32,
    /// Sizes of all messages.
    pub bytes: u64,
    /// Sizes of messages with `\Deleted`.
    pub deleted_bytes: u64,
    /// How many messages have each keyword.
    keywords: OrdMap<Keyword, u32>,
}

impl Tally {
    /// The keywords in use.
    pub fn keywords(&self) -> impl Iterator<Item = &Keyword> {
        self.keywords.keys()
    }

    /// How many keywords are in use.
    pub fn keyword_count(&self) -> usize {
        self.keywords.len()
    }

    /// Whether a message has the keyword.
    pub fn has_keyword(&self, keyword: &Keyword) -> bool {
        self.keywords.contains_key(keyword)
    }

    /// The flags with each keyword spelt, and held in memory, as the mailbox already has it.
    pub(in crate::mailbox) fn intern(&self, flags: &Flags) -> Flags {
        if flags.keywords().is_empty() {
            return flags.clone();
        }
        let known = |keyword: &Keyword| self.keywords.get_key_value(keyword).map(|(known, _)| known.clone());
        let keywords = flags.keywords().iter().map(|keyword| known(keyword).unwrap_or_else(|| keyword.clone()));
        Flags::from_parts(flags.system_bits(), keywords.collect())
    }

    /// Counts a message in.
    pub(in crate::mailbox) fn add(&mut self, message: &Message) {
        let size = u64::from(message.size);
        self.bytes += size;
        self.unseen += u32::from(!message.flags.is_seen());
        if message.flags.is_deleted() {
            self.deleted += 1;
            self.deleted_bytes += size;
        }
        for keyword in message.flags.keywords() {
            *self.keywords.entry(keyword.clone()).or_insert(0) += 1;
        }
    }

    /// Counts a message out that was counted in.
    pub(in crate::mailbox) fn remove(&mut self, message: &Message) {
        let size = u64::from(message.size);
        self.bytes -= size;
        self.unseen -= u32::from(!message.flags.is_seen());
        if message.flags.is_deleted() {
            self.deleted -= 1;
            self.deleted_bytes -= size;
        }
        for keyword in message.flags.keywords() {
            self.forget(keyword);
        }
    }

    fn forget(&mut self, keyword: &Keyword) {
        match self.keywords.get_mut(keyword) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(self.keywords.remove(keyword)),
        }
    }
}
