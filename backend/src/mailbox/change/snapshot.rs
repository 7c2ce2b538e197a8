//! The whole account as bytes: where recovery begins.
//!
//! First comes what is not a message, then the messages of each mailbox one after the other, so that opening an account
//! reads them straight into its index. Sums that cost nothing to count on the way are not stored.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::stored_message::{StoredMessage, take_message};
use crate::mailbox::account::{Account, Deliveries, Entry, History, Mailbox, SpecialUse};
use crate::mailbox::date::Timestamp;
use crate::mailbox::flags::Keyword;
use crate::mailbox::name::MailboxName;
use crate::mailbox::uid::{DeliveryId, EmailId, MailboxId, ModSeq, Uid, UidValidity};
use crate::store::BodyRef;

/// The format of a snapshot. Any change of the types below is a new version.
const SNAPSHOT_VERSION: u8 = 1;

/// Why bytes are no snapshot of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("decode the snapshot of an account")]
pub struct SnapshotError;

#[derive(Serialize, Deserialize)]
struct StoredAccount {
    mailboxes: Vec<StoredMailbox>,
    subscriptions: Vec<MailboxName>,
    deliveries: Vec<(DeliveryId, Timestamp)>,
    copies: Vec<(EmailId, u32)>,
    highest_modseq: ModSeq,
    next_mailbox: MailboxId,
    next_uid_validity: Option<UidValidity>,
}

#[derive(Serialize, Deserialize)]
struct StoredMailbox {
    id: MailboxId,
    name: MailboxName,
    uid_validity: UidValidity,
    uid_next: Uid,
    highest_modseq: ModSeq,
    special_use: Option<SpecialUse>,
    recent_from: Uid,
    keywords: Vec<String>,
    message_count: u32,
    expunged: StoredHistory,
    flagged: StoredHistory,
}

#[derive(Serialize, Deserialize)]
struct StoredHistory {
    floor: ModSeq,
    entries: Vec<Entry>,
}

impl Account {
    /// The account as a snapshot keeps it; `place` tells where each body is.
    pub fn encode_snapshot(&self, place: &dyn Fn(BodyRef) -> BodyRef) -> Vec<u8> {
        let stored = StoredAccount {
            mailboxes: self.mailboxes.values().map(|mailbox| store_mailbox(mailbox)).collect(),
            subscriptions: self.subscriptions.iter().cloned().collect(),
            deliveries: self.deliveries.iter().collect(),
            copies: self.copies.iter().map(|(id, count)| (*id, *count)).collect(),
            highest_modseq: self.highest_modseq,
            next_mailbox: self.next_mailbox,
            next_uid_validity: self.next_uid_validity,
        };
        // Writing to memory cannot fail, and every type here can be written.
        let mut bytes = postcard::to_extend(&stored, vec![SNAPSHOT_VERSION]).unwrap_or_default();
        for mailbox in self.mailboxes.values() {
            let keywords: Vec<&Keyword> = mailbox.tally.keywords().collect();
            for message in &mailbox.messages {
                bytes = postcard::to_extend(&StoredMessage::new(message, &keywords, place), bytes).unwrap_or_default();
            }
        }
        bytes
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// If the bytes are not exactly one account of a version we know, consistent in itself.
    pub fn decode_snapshot(bytes: &[u8]) -> Result<Account, SnapshotError> {
        let Some((&SNAPSHOT_VERSION, encoded)) = bytes.split_first() else {
            return Err(SnapshotError);
        };
        let (stored, messages) = postcard::take_from_bytes(encoded).map_err(|_| SnapshotError)?;
        restore_account(stored, messages).ok_or(SnapshotError)
    }
}

fn restore_account(stored: StoredAccount, mut messages: &[u8]) -> Option<Account> {
    let mut account = Account::bare();
    account.highest_modseq = stored.highest_modseq;
    for mailbox in stored.mailboxes {
        let mailbox = restore_mailbox(mailbox, &mut messages)?;
        if account.by_id(mailbox.id).is_some() || account.mailbox(&mailbox.name).is_some() {
            return None;
        }
        account.recount(&mailbox)?;
        account.insert_mailbox(mailbox);
    }
    account.subscriptions = stored.subscriptions.into_iter().collect();
    account.deliveries = stored.deliveries.into_iter().collect::<Deliveries>();
    account.next_mailbox = account.next_mailbox.max(stored.next_mailbox);
    account.next_uid_validity = account.next_uid_validity.and_then(|next| Some(next.max(stored.next_uid_validity?)));
    account.copies = stored.copies.into_iter().collect();
    let is_complete = messages.is_empty() && account.mailbox(&MailboxName::inbox()).is_some();
    is_complete.then_some(account)
}

impl Account {
    /// Counts a mailbox's messages in. `None` if it is newer than the account.
    fn recount(&mut self, mailbox: &Mailbox) -> Option<()> {
        self.usage.bytes = self.usage.bytes.checked_add(mailbox.tally().bytes)?;
        self.usage.messages += mailbox.len() as u64;
        (mailbox.highest_modseq <= self.highest_modseq).then_some(())
    }
}

fn store_mailbox(mailbox: &Mailbox) -> StoredMailbox {
    let keywords: Vec<&Keyword> = mailbox.tally.keywords().collect();
    StoredMailbox {
        id: mailbox.id,
        name: mailbox.name.clone(),
        uid_validity: mailbox.uid_validity,
        uid_next: mailbox.uid_next,
        highest_modseq: mailbox.highest_modseq,
        special_use: mailbox.special_use,
        recent_from: mailbox.recent_from,
        message_count: u32::try_from(mailbox.len()).unwrap_or(u32::MAX),
        keywords: keywords.into_iter().map(|keyword| keyword.as_str().to_owned()).collect(),
        expunged: store_history(&mailbox.expunged),
        flagged: store_history(&mailbox.flagged),
    }
}

fn restore_mailbox(stored: StoredMailbox, messages: &mut &[u8]) -> Option<Mailbox> {
    let keywords = stored.keywords.iter().map(|word| Keyword::parse(word).ok()).collect::<Option<Vec<_>>>()?;
    let mut mailbox = Mailbox::new(stored.id, stored.name, stored.uid_validity, stored.highest_modseq);
    for _ in 0..stored.message_count {
        if !mailbox.push(take_message(messages, &keywords)?) {
            return None;
        }
    }
    if stored.uid_next < mailbox.uid_next {
        return None;
    }
    mailbox.uid_next = stored.uid_next;
    mailbox.highest_modseq = stored.highest_modseq;
    mailbox.special_use = stored.special_use;
    mailbox.recent_from = stored.recent_from;
    mailbox.expunged = History::restore(stored.expunged.floor, stored.expunged.entries);
    mailbox.flagged = History::restore(stored.flagged.floor, stored.flagged.entries);
    Some(mailbox)
}

fn store_history(history: &History) -> StoredHistory {
    StoredHistory { floor: history.floor(), entries: history.entries().copied().collect() }
}
