//! Requests about messages.

use std::collections::{BTreeMap, BTreeSet};

use super::{Limit, Refusal, Reply, Work};
use crate::mailbox::account::{KEYWORDS_MAX, MESSAGES_MAX, Mailbox};
use crate::mailbox::change::{Added, Change, Transfer};
use crate::mailbox::date::InternalDate;
use crate::mailbox::flags::{FlagChange, Flags, Keyword};
use crate::mailbox::message::{Message, NewMessage};
use crate::mailbox::name::MailboxName;
use crate::mailbox::uid::{DeliveryId, EmailId, MailboxId, ModSeq, Uid};
use crate::mailbox::uid_set::{UidRange, UidSet};
use crate::sabotage::{self, Sabotage};

/// Adds messages, all or none.
pub(super) fn append(work: &mut Work<'_, '_>, to: &MailboxName, messages: Vec<NewMessage>) -> Result<Reply, Refusal> {
    let mailbox = work.account.mailbox(to).ok_or(Refusal::TryCreate)?;
    let id = mailbox.id;
    check_keywords(mailbox, messages.iter().map(|message| &message.flags))?;
    work.check_quota(messages.iter().map(|message| message.body.size()))?;
    let first = work.reserve(id, messages.len())?;
    for (index, message) in messages.iter().enumerate() {
        work.add(id, index, message, None)?;
    }
    let uids = consecutive(first, messages.len());
    Ok(Reply::Appended { uid_validity: work.mailbox(id)?.uid_validity, uids })
}

/// Adds a message unless this delivery was taken before.
pub(super) fn deliver(
    work: &mut Work<'_, '_>,
    id: Option<DeliveryId>,
    to: &MailboxName,
    message: NewMessage,
) -> Result<Reply, Refusal> {
    if id.is_some_and(|id| work.account.deliveries.contains(&id)) && !sabotage::on(Sabotage::ForgetDeliveries) {
        return Ok(Reply::Delivered { duplicate: true });
    }
    let mailbox = work.account.mailbox(to).or_else(|| work.account.mailbox(&MailboxName::inbox()));
    let mailbox = mailbox.ok_or(Refusal::NoSuchMailbox)?;
    let to = mailbox.id;
    check_keywords(mailbox, [&message.flags])?;
    work.check_quota([message.body.size()])?;
    work.reserve(to, 1)?;
    work.add(to, 0, &message, id)?;
    Ok(Reply::Delivered { duplicate: false })
}

/// Changes flags.
pub(super) fn store(
    work: &mut Work<'_, '_>,
    id: MailboxId,
    uids: &UidSet,
    change: FlagChange,
    unchanged_since: Option<ModSeq>,
) -> Result<Reply, Refusal> {
    let mailbox = work.mailbox(id)?;
    check_keywords(mailbox, change.sets())?;
    let (mut modified, mut changed) = (UidSet::new(), UidSet::new());
    for (_, message) in mailbox.select(uids) {
        if unchanged_since.is_some_and(|since| message.modseq > since) {
            modified.insert(message.uid);
        } else if change.apply_to(&message.flags) != message.flags {
            changed.insert(message.uid);
        }
    }
    if !changed.is_empty() {
        let modseq = work.next_modseq();
        work.commit(&Change::Flagged { mailbox: id, uids: changed.clone(), change, modseq });
    }
    Ok(Reply::Stored { modified, changed })
}

/// Removes messages: those marked `\Deleted`.
pub(super) fn expunge(work: &mut Work<'_, '_>, id: MailboxId, uids: &UidSet) -> Result<Reply, Refusal> {
    let mailbox = work.mailbox(id)?;
    if mailbox.tally().deleted == 0 {
        return Ok(Reply::Expunged { uids: UidSet::new() });
    }
    let deleted = mailbox.select(uids).filter(|(_, message)| message.flags.is_deleted());
    let deleted: Vec<Message> = deleted.map(|(_, message)| message.clone()).collect();
    Ok(work.remove(id, &deleted))
}

/// Removes messages whatever their flags.
pub(super) fn remove(work: &mut Work<'_, '_>, id: MailboxId, uids: &UidSet) -> Result<Reply, Refusal> {
    let removed: Vec<Message> = work.mailbox(id)?.select(uids).map(|(_, message)| message.clone()).collect();
    Ok(work.remove(id, &removed))
}

/// Puts messages into another mailbox as well.
pub(super) fn copy(
    work: &mut Work<'_, '_>,
    from: MailboxId,
    uids: &UidSet,
    to: &MailboxName,
) -> Result<Reply, Refusal> {
    let sizes: Vec<u32> = work.mailbox(from)?.select(uids).map(|(_, message)| message.size).collect();
    work.check_quota(sizes)?;
    transfer(work, from, uids, to, Change::Copied)
}

/// Puts messages into another mailbox instead.
pub(super) fn move_(
    work: &mut Work<'_, '_>,
    from: MailboxId,
    uids: &UidSet,
    to: &MailboxName,
) -> Result<Reply, Refusal> {
    transfer(work, from, uids, to, Change::Moved)
}

fn transfer(
    work: &mut Work<'_, '_>,
    from: MailboxId,
    uids: &UidSet,
    to: &MailboxName,
    change: fn(Transfer) -> Change,
) -> Result<Reply, Refusal> {
    let source = work.mailbox(from)?;
    let target = work.account.mailbox(to).ok_or(Refusal::TryCreate)?;
    let to = target.id;
    check_keywords(target, source.select(uids).map(|(_, message)| &message.flags))?;
    let positions: Vec<_> = source.select(uids).map(|(seq, _)| seq).collect();
    if positions.is_empty() {
        return Ok(Reply::Copied { uid_validity: target.uid_validity, from: UidSet::new(), to: UidSet::new() });
    }
    let first = work.reserve(to, positions.len())?;
    // Positions still hold if making room has numbered the messages anew; UIDs would not.
    let source = work.mailbox(from)?;
    let moved: UidSet = positions.iter().filter_map(|seq| source.at(*seq)).map(|message| message.uid).collect();
    let copied = consecutive(first, positions.len());
    let (modseq, saved) = (work.next_modseq(), work.now);
    work.commit(&change(Transfer { from, to, uids: moved.clone(), first, modseq, saved }));
    Ok(Reply::Copied { uid_validity: work.mailbox(to)?.uid_validity, from: moved, to: copied })
}

/// Says which messages are recent, once.
pub(super) fn take_recent(work: &mut Work<'_, '_>, id: MailboxId) -> Result<Reply, Refusal> {
    let mailbox = work.mailbox(id)?;
    let from = mailbox.recent_from;
    if from < mailbox.uid_next {
        work.commit(&Change::RecentTaken { mailbox: id });
    }
    Ok(Reply::TakenRecent { from })
}

impl Work<'_, '_> {
    /// The mailbox with an id.
    pub(super) fn mailbox(&self, id: MailboxId) -> Result<&Mailbox, Refusal> {
        self.account.by_id(id).map(AsRef::as_ref).ok_or(Refusal::NoSuchMailbox)
    }

    /// Places and applies a change without a body.
    pub(super) fn commit(&mut self, change: &Change) {
        self.plan.commit(self.account, change, None);
    }

    /// The mod-sequence of the next change.
    pub(super) fn next_modseq(&self) -> ModSeq {
        self.account.highest_modseq().next()
    }

    /// Notes the bodies that go with these messages: those that no message left has.
    pub(super) fn release(&mut self, messages: &[Message]) {
        let mut counts: BTreeMap<EmailId, u32> = BTreeMap::new();
        for message in messages {
            let count = counts.entry(message.email_id).or_insert(0);
            *count += 1;
            if *count == self.account.copies.get(&message.email_id).copied().unwrap_or(1) {
                self.plan.release(message.body);
            }
        }
    }

    fn remove(&mut self, id: MailboxId, messages: &[Message]) -> Reply {
        let uids: UidSet = messages.iter().map(|message| message.uid).collect();
        if !uids.is_empty() {
            self.release(messages);
            let modseq = self.next_modseq();
            self.commit(&Change::Expunged { mailbox: id, uids: uids.clone(), modseq });
        }
        Reply::Expunged { uids }
    }

    /// Adds the message that is the request's `index`-th, for which there is room.
    fn add(
        &mut self,
        id: MailboxId,
        index: usize,
        message: &NewMessage,
        delivery: Option<DeliveryId>,
    ) -> Result<(), Refusal> {
        let added = Added {
            mailbox: id,
            uid: self.mailbox(id)?.uid_next,
            modseq: self.next_modseq(),
            flags: message.flags.clone(),
            internal_date: message.internal_date.unwrap_or(InternalDate::utc(self.now)),
            saved: self.now,
            email_id: EmailId::new(self.random.wrapping_add(index as u128)),
            size: message.body.size(),
            summary_len: message.body.summary_len(),
            delivery,
        };
        self.plan.commit(self.account, &Change::Added(added), Some(message.body.bytes()));
        Ok(())
    }

    fn check_quota(&self, sizes: impl IntoIterator<Item = u32>) -> Result<(), Refusal> {
        let more: u64 = sizes.into_iter().map(u64::from).sum();
        let is_over = |quota| more > 0 && self.account.usage().bytes.saturating_add(more) > quota;
        if self.account.quota.is_some_and(is_over) { Err(Refusal::OverQuota) } else { Ok(()) }
    }

    /// Makes room for so many messages, and says which UID the first gets. UIDs that run out are given anew, under
    /// another validity (RFC 9051 §2.3.1.1).
    fn reserve(&mut self, id: MailboxId, count: usize) -> Result<Uid, Refusal> {
        let mailbox = self.mailbox(id)?;
        if mailbox.len() + count > MESSAGES_MAX {
            return Err(Refusal::LimitReached(Limit::Messages));
        }
        let uids_left = (Uid::MAX.get() - mailbox.uid_next.get()) as usize;
        if count > uids_left {
            let uid_validity = self.account.next_uid_validity.ok_or(Refusal::LimitReached(Limit::Messages))?;
            let modseq = self.next_modseq();
            self.commit(&Change::Renumbered { mailbox: id, uid_validity, modseq });
        }
        Ok(self.mailbox(id)?.uid_next)
    }
}

/// Checks that the mailbox has room for the keywords among the flags.
fn check_keywords<'a>(mailbox: &Mailbox, flags: impl IntoIterator<Item = &'a Flags>) -> Result<(), Refusal> {
    let keywords = flags.into_iter().flat_map(Flags::keywords);
    let new: BTreeSet<&Keyword> = keywords.filter(|keyword| !mailbox.tally().has_keyword(keyword)).collect();
    if !new.is_empty() && mailbox.tally().keyword_count() + new.len() > KEYWORDS_MAX {
        return Err(Refusal::LimitReached(Limit::Keywords));
    }
    Ok(())
}

/// The UIDs of `count` messages from `first` on.
fn consecutive(first: Uid, count: usize) -> UidSet {
    let last = u32::try_from(count).ok().and_then(|count| (first.get() - 1).checked_add(count)).and_then(Uid::new);
    last.filter(|_| count > 0).map(|last| UidRange::new(first, last)).into_iter().collect()
}
