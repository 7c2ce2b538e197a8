//! Requests about mailboxes and their names. They keep one rule: whatever is above a mailbox is a mailbox.

use super::{Limit, Refusal, Reply, Work};
use crate::mailbox::account::{MAILBOXES_MAX, SUBSCRIPTIONS_MAX, SpecialUse};
use crate::mailbox::change::{Change, Transfer};
use crate::mailbox::message::Message;
use crate::mailbox::name::MailboxName;
use crate::mailbox::uid::{MailboxId, Uid, UidValidity};

/// Makes a mailbox, and those above it that are missing.
pub(super) fn create(
    work: &mut Work<'_, '_>,
    name: &MailboxName,
    special_use: Option<SpecialUse>,
) -> Result<Reply, Refusal> {
    if work.account.mailbox(name).is_some() {
        return Err(Refusal::AlreadyExists);
    }
    if special_use.is_some_and(|special_use| work.account.special(special_use).is_some()) {
        return Err(Refusal::UseTaken);
    }
    let id = work.create_all(name, special_use)?;
    Ok(Reply::Created { id })
}

/// Renames a mailbox and those below it.
pub(super) fn rename(work: &mut Work<'_, '_>, from: &MailboxName, to: &MailboxName) -> Result<Reply, Refusal> {
    work.account.mailbox(from).ok_or(Refusal::NoSuchMailbox)?;
    if work.account.mailbox(to).is_some() {
        return Err(Refusal::AlreadyExists);
    }
    if from.is_inbox() {
        return rename_inbox(work, to);
    }
    if to.is_below(from) {
        return Err(Refusal::BelowItself);
    }
    for below in work.account.below(from) {
        below.name.renamed(from, to)?;
    }
    if let Some(parent) = to.parent().filter(|parent| work.account.mailbox(parent).is_none()) {
        work.create_all(&parent, None)?;
    }
    let modseq = work.next_modseq();
    work.commit(&Change::Renamed { from: from.clone(), to: to.clone(), modseq });
    Ok(Reply::Done)
}

/// Moves all of INBOX into a new mailbox; INBOX and what is below it stay (RFC 9051 §6.3.6).
fn rename_inbox(work: &mut Work<'_, '_>, to: &MailboxName) -> Result<Reply, Refusal> {
    let to = work.create_all(to, None)?;
    let inbox = work.account.mailbox(&MailboxName::inbox()).ok_or(Refusal::NoSuchMailbox)?;
    let (from, uids) = (inbox.id, inbox.messages.iter().map(|message| message.uid).collect());
    if !inbox.is_empty() {
        let (modseq, saved) = (work.next_modseq(), work.now);
        work.commit(&Change::Moved(Transfer { from, to, uids, first: Uid::MIN, modseq, saved }));
    }
    Ok(Reply::Done)
}

/// Removes a mailbox. One with others below is kept (HASCHILDREN, RFC 9051 §6.3.5), so that no name is left hanging.
pub(super) fn delete(work: &mut Work<'_, '_>, name: &MailboxName) -> Result<Reply, Refusal> {
    if name.is_inbox() {
        return Err(Refusal::CannotDeleteInbox);
    }
    let mailbox = work.account.mailbox(name).ok_or(Refusal::NoSuchMailbox)?;
    if work.account.has_children(name) {
        return Err(Refusal::HasChildren);
    }
    let id = mailbox.id;
    let messages: Vec<Message> = mailbox.messages.iter().cloned().collect();
    work.release(&messages);
    let modseq = work.next_modseq();
    work.commit(&Change::Deleted { id, modseq });
    Ok(Reply::Done)
}

/// Subscribes to a name, or no longer.
pub(super) fn subscribe(work: &mut Work<'_, '_>, name: MailboxName, on: bool) -> Result<Reply, Refusal> {
    if work.account.is_subscribed(&name) == on {
        return Ok(Reply::Done);
    }
    if on && work.account.subscriptions.len() >= SUBSCRIPTIONS_MAX {
        return Err(Refusal::LimitReached(Limit::Subscriptions));
    }
    work.commit(&Change::Subscribed { name, on });
    Ok(Reply::Done)
}

impl Work<'_, '_> {
    /// Makes a mailbox that is missing, after those above it that are missing, and says which it is.
    fn create_all(&mut self, name: &MailboxName, special_use: Option<SpecialUse>) -> Result<MailboxId, Refusal> {
        let is_missing = |name: &MailboxName| self.account.mailbox(name).is_none();
        let missing: Vec<MailboxName> = name.ancestors().filter(is_missing).collect();
        self.check_room(missing.len() + 1)?;
        for above in missing.iter().rev() {
            self.create_one(above, None)?;
        }
        self.create_one(name, special_use)
    }

    fn check_room(&self, count: usize) -> Result<(), Refusal> {
        let validities_left = self.account.next_uid_validity.map_or(0, |next| UidValidity::MAX.get() - next.get());
        let has_room = self.account.mailbox_count() + count <= MAILBOXES_MAX && count <= validities_left as usize;
        if has_room { Ok(()) } else { Err(Refusal::LimitReached(Limit::Mailboxes)) }
    }

    fn create_one(&mut self, name: &MailboxName, special_use: Option<SpecialUse>) -> Result<MailboxId, Refusal> {
        let id = self.account.next_mailbox;
        let uid_validity = self.account.next_uid_validity.ok_or(Refusal::LimitReached(Limit::Mailboxes))?;
        let modseq = self.next_modseq();
        self.commit(&Change::Created { id, name: name.clone(), uid_validity, special_use, modseq });
        Ok(id)
    }
}
