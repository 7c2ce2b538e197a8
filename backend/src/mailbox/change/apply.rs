//! Applying a change: the one code for live changes and for replay.
//!
//! Nothing here trusts the log: a change that does not fit is an error, never a panic, so that a damaged account
//! quarantines itself alone.

use std::sync::Arc;

use thiserror::Error;

use super::{Added, Change, Transfer};
use crate::mailbox::account::{Account, Mailbox, Usage};
use crate::mailbox::flags::FlagChange;
use crate::mailbox::message::Message;
use crate::mailbox::name::MailboxName;
use crate::mailbox::uid::{EmailId, MailboxId, ModSeq, UidValidity};
use crate::mailbox::uid_set::UidSet;
use crate::store::BodyRef;

/// Why a change does not fit the account. On replay: the log is damaged, and the account to be quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// A mailbox it names is not there.
    #[error("change mailbox {0}, which is not there")]
    Mailbox(MailboxId),
    /// A mailbox of this name is not there, or is there already.
    #[error("change the names of mailboxes")]
    Name,
    /// A number does not rise.
    #[error("use a number again")]
    Number,
    /// A message it names is not there.
    #[error("change messages that are not there")]
    Messages,
    /// The record has no body, or one of another length.
    #[error("add a message without its body")]
    Body,
}

impl Account {
    /// Applies a change; `body` is where the body of its record lies.
    ///
    /// # Errors
    /// If the change does not fit. The account is then half changed and no longer to be used.
    pub fn apply(&mut self, change: &Change, body: Option<BodyRef>) -> Result<(), ApplyError> {
        match change {
            Change::Added(added) => self.apply_added(added, body.ok_or(ApplyError::Body)?),
            Change::Copied(transfer) => self.apply_transfer(transfer).map(drop),
            Change::Moved(transfer) => self.apply_move(transfer),
            Change::Flagged { mailbox, uids, change, modseq } => self.apply_flags(*mailbox, uids, change, *modseq),
            Change::Expunged { mailbox, uids, modseq } => self.apply_expunge(*mailbox, uids, *modseq),
            Change::Created { id, name, uid_validity, special_use, modseq } => {
                let mailbox = Mailbox::new(*id, name.clone(), *uid_validity, *modseq);
                self.apply_create(Mailbox { special_use: *special_use, ..mailbox })
            }
            Change::Renamed { from, to, modseq } => self.apply_rename(from, to, *modseq),
            Change::Deleted { id, modseq } => self.apply_delete(*id, *modseq),
            Change::Subscribed { name, on } => {
                let _ = if *on { self.subscriptions.insert(name.clone()) } else { self.subscriptions.remove(name) };
                Ok(())
            }
            Change::RecentTaken { mailbox } => {
                let mailbox = self.mailbox_mut(*mailbox)?;
                mailbox.recent_from = mailbox.uid_next;
                Ok(())
            }
            Change::Renumbered { mailbox, uid_validity, modseq } => {
                self.apply_renumber(*mailbox, *uid_validity, *modseq)
            }
        }
    }

    fn apply_added(&mut self, added: &Added, body: BodyRef) -> Result<(), ApplyError> {
        if body.len() != u64::from(added.size) + u64::from(added.summary_len) {
            return Err(ApplyError::Body);
        }
        self.advance(added.modseq)?;
        let message = Message {
            uid: added.uid,
            size: added.size,
            modseq: added.modseq,
            flags: added.flags.clone(),
            internal_date: added.internal_date,
            saved: added.saved,
            email_id: added.email_id,
            body,
            summary_len: added.summary_len,
        };
        self.push_messages(added.mailbox, [message])?;
        if let Some(delivery) = added.delivery {
            self.deliveries.remember(delivery, added.saved);
        }
        Ok(())
    }

    fn apply_move(&mut self, transfer: &Transfer) -> Result<(), ApplyError> {
        self.apply_transfer(transfer)?;
        self.remove_messages(transfer.from, &transfer.uids, transfer.modseq)
    }

    /// Puts copies into the new mailbox.
    fn apply_transfer(&mut self, transfer: &Transfer) -> Result<(), ApplyError> {
        self.advance(transfer.modseq)?;
        let mut uid = Some(transfer.first);
        let mut copies = Vec::new();
        for (_, message) in self.check_present(transfer.from, &transfer.uids)?.select(&transfer.uids) {
            let this = uid.ok_or(ApplyError::Number)?;
            uid = this.next();
            copies.push(Message { uid: this, modseq: transfer.modseq, saved: transfer.saved, ..message.clone() });
        }
        for copy in &copies {
            *self.copies.entry(copy.email_id).or_insert(1) += 1;
        }
        self.push_messages(transfer.to, copies)
    }

    fn apply_flags(
        &mut self,
        mailbox: MailboxId,
        uids: &UidSet,
        change: &FlagChange,
        modseq: ModSeq,
    ) -> Result<(), ApplyError> {
        self.advance(modseq)?;
        self.check_present(mailbox, uids)?;
        self.mailbox_mut(mailbox)?.reflag(uids, change, modseq);
        Ok(())
    }

    fn apply_expunge(&mut self, mailbox: MailboxId, uids: &UidSet, modseq: ModSeq) -> Result<(), ApplyError> {
        self.advance(modseq)?;
        self.check_present(mailbox, uids)?;
        self.remove_messages(mailbox, uids, modseq)
    }

    fn apply_create(&mut self, mailbox: Mailbox) -> Result<(), ApplyError> {
        self.advance(mailbox.highest_modseq)?;
        self.check_new_validity(mailbox.uid_validity)?;
        if mailbox.id < self.next_mailbox {
            return Err(ApplyError::Number);
        }
        if self.names.contains_key(&mailbox.name) {
            return Err(ApplyError::Name);
        }
        self.insert_mailbox(mailbox);
        Ok(())
    }

    fn apply_rename(&mut self, from: &MailboxName, to: &MailboxName, modseq: ModSeq) -> Result<(), ApplyError> {
        self.advance(modseq)?;
        let first = self.mailbox(from).ok_or(ApplyError::Name)?;
        let renamed: Vec<_> = [first].into_iter().chain(self.below(from)).map(|mailbox| mailbox.id).collect();
        for id in renamed {
            let mailbox = self.mailbox_mut(id)?;
            let new = mailbox.name.renamed(from, to).map_err(|_| ApplyError::Name)?;
            let old = std::mem::replace(&mut mailbox.name, new.clone());
            self.names.remove(&old);
            if self.names.insert(new, id).is_some() {
                return Err(ApplyError::Name);
            }
        }
        Ok(())
    }

    fn apply_delete(&mut self, id: MailboxId, modseq: ModSeq) -> Result<(), ApplyError> {
        self.advance(modseq)?;
        self.remove_messages(id, &UidSet::all(), modseq)?;
        let mailbox = self.mailboxes.remove(&id).ok_or(ApplyError::Mailbox(id))?;
        self.names.remove(&mailbox.name);
        Ok(())
    }

    fn apply_renumber(&mut self, id: MailboxId, validity: UidValidity, modseq: ModSeq) -> Result<(), ApplyError> {
        self.advance(modseq)?;
        self.check_new_validity(validity)?;
        self.next_uid_validity = validity.next();
        self.mailbox_mut(id)?.renumber(validity, modseq);
        Ok(())
    }

    /// Takes a mod-sequence, which must be higher than all before.
    fn advance(&mut self, modseq: ModSeq) -> Result<(), ApplyError> {
        if modseq <= self.highest_modseq || modseq > ModSeq::MAX {
            return Err(ApplyError::Number);
        }
        self.highest_modseq = modseq;
        Ok(())
    }

    fn check_new_validity(&self, validity: UidValidity) -> Result<(), ApplyError> {
        match self.next_uid_validity {
            Some(next) if validity >= next => Ok(()),
            Some(_) | None => Err(ApplyError::Number),
        }
    }

    fn mailbox_mut(&mut self, id: MailboxId) -> Result<&mut Mailbox, ApplyError> {
        self.mailboxes.get_mut(&id).map(Arc::make_mut).ok_or(ApplyError::Mailbox(id))
    }

    /// Checks that all messages with these UIDs are there.
    fn check_present(&self, id: MailboxId, uids: &UidSet) -> Result<&Mailbox, ApplyError> {
        let mailbox = self.by_id(id).ok_or(ApplyError::Mailbox(id))?;
        let present: usize = uids.ranges().iter().map(|range| mailbox.indices_in(*range).len()).sum();
        if present as u64 == uids.len() { Ok(mailbox) } else { Err(ApplyError::Messages) }
    }

    fn push_messages(&mut self, id: MailboxId, messages: impl IntoIterator<Item = Message>) -> Result<(), ApplyError> {
        let mut added = Usage::default();
        let mailbox = self.mailbox_mut(id)?;
        for message in messages {
            added.bytes += u64::from(message.size);
            added.messages += 1;
            if !mailbox.push(message) {
                return Err(ApplyError::Number);
            }
        }
        self.usage.bytes += added.bytes;
        self.usage.messages += added.messages;
        Ok(())
    }

    fn remove_messages(&mut self, id: MailboxId, uids: &UidSet, modseq: ModSeq) -> Result<(), ApplyError> {
        let removed = self.mailbox_mut(id)?.remove(uids, modseq);
        for message in removed {
            self.usage.bytes -= u64::from(message.size);
            self.usage.messages -= 1;
            self.forget_copy(message.email_id);
        }
        Ok(())
    }

    /// Counts down how many messages share a content.
    fn forget_copy(&mut self, id: EmailId) {
        match self.copies.get_mut(&id) {
            Some(count) if *count > 2 => *count -= 1,
            Some(_) | None => drop(self.copies.remove(&id)),
        }
    }
}
