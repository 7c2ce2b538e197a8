//! The maildrop: INBOX as it was when the client logged in, and which of its messages the client has deleted.
//!
//! What other sessions change meanwhile does not show (RFC 1939 §5: message numbers hold for the session).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::mailbox::{Account, Mailbox, MailboxId, MailboxName, Message, UidSet};

/// The messages of one session, by number from 1.
#[derive(Debug)]
pub struct Maildrop {
    inbox: Option<Arc<Mailbox>>,
    deleted: BTreeSet<u32>,
    /// The size of those.
    deleted_bytes: u64,
}

/// Why a message cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoMessage {
    /// Its number is too high, or zero.
    #[error("no such message")]
    Unknown,
    /// The client has deleted it.
    #[error("message is deleted")]
    Deleted,
}

impl Maildrop {
    /// Takes the messages that are there now.
    pub fn new(account: &Account) -> Self {
        let inbox = MailboxName::parse("INBOX").ok().and_then(|name| account.mailbox(&name).cloned());
        Self { inbox, deleted: BTreeSet::new(), deleted_bytes: 0 }
    }

    /// How many there are, deleted or not: the highest number.
    pub fn highest(&self) -> u32 {
        self.inbox.as_ref().map_or(0, |inbox| u32::try_from(inbox.len()).unwrap_or(u32::MAX))
    }

    /// How many there are that are not deleted, and how many bytes they have.
    pub fn size(&self) -> (u32, u64) {
        let bytes = self.inbox.as_ref().map_or(0, |inbox| inbox.tally().bytes);
        (self.highest() - self.deleted.len() as u32, bytes - self.deleted_bytes)
    }

    /// The message with this number.
    pub fn message(&self, number: u32) -> Result<&Message, NoMessage> {
        if self.deleted.contains(&number) {
            return Err(NoMessage::Deleted);
        }
        self.find(number).ok_or(NoMessage::Unknown)
    }

    /// What names the message for ever (RFC 1939 §7 UIDL): a UID never means another message within a validity.
    pub fn unique_id(&self, message: &Message) -> String {
        let validity = self.inbox.as_ref().map(|inbox| inbox.uid_validity.to_string()).unwrap_or_default();
        format!("{validity}.{}", message.uid)
    }

    /// Marks a message as deleted.
    pub fn delete(&mut self, number: u32) -> Result<(), NoMessage> {
        self.deleted_bytes += u64::from(self.message(number)?.size);
        self.deleted.insert(number);
        Ok(())
    }

    /// Unmarks all of them.
    pub fn reset(&mut self) {
        self.deleted.clear();
        self.deleted_bytes = 0;
    }

    /// What is to be removed in the end, and where; `None` if nothing is.
    pub fn doomed(&self) -> Option<(MailboxId, UidSet)> {
        let inbox = self.inbox.as_ref().filter(|_| !self.deleted.is_empty())?;
        let mut uids = UidSet::new();
        for message in self.deleted.iter().filter_map(|number| self.find(*number)) {
            uids.insert(message.uid);
        }
        Some((inbox.id, uids))
    }

    fn find(&self, number: u32) -> Option<&Message> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.inbox.as_ref()?.messages.get(index)
    }
}
