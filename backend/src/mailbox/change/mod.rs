//! Every way an account may change, as a value: what the log holds.
//!
//! A change says what happened, with every number chosen: applying it decides nothing, so that replay, whenever and
//! wherever, gives the account that was published.
#![doc = include_str!("../FORMAT.md")]

mod apply;
mod snapshot;
mod stored_message;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::apply::ApplyError;
pub use self::snapshot::SnapshotError;
use super::account::SpecialUse;
use super::date::{InternalDate, Timestamp};
use super::flags::{FlagChange, Flags};
use super::name::MailboxName;
use super::uid::{DeliveryId, EmailId, MailboxId, ModSeq, Uid, UidValidity};
use super::uid_set::UidSet;

/// The format of an encoded change. Variants are only ever added, at the end; anything else is a new version.
const CHANGE_VERSION: u8 = 1;

/// One change of an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// A message came; its body is in the same record of the log.
    Added(Added),
    /// Messages were put into another mailbox as well.
    Copied(Transfer),
    /// Messages were put into another mailbox instead.
    Moved(Transfer),
    /// Flags changed.
    Flagged {
        /// Where.
        mailbox: MailboxId,
        /// Of which messages; all of them are there.
        uids: UidSet,
        /// How.
        change: FlagChange,
        /// When.
        modseq: ModSeq,
    },
    /// Messages went.
    Expunged {
        /// Where.
        mailbox: MailboxId,
        /// Which; all of them are there.
        uids: UidSet,
        /// When.
        modseq: ModSeq,
    },
    /// A mailbox was made.
    Created {
        /// Its id, never used before.
        id: MailboxId,
        /// Its name.
        name: MailboxName,
        /// Its validity, never used before.
        uid_validity: UidValidity,
        /// What it is for.
        special_use: Option<SpecialUse>,
        /// When.
        modseq: ModSeq,
    },
    /// A mailbox and those below it were renamed.
    Renamed {
        /// Its name.
        from: MailboxName,
        /// Its new name.
        to: MailboxName,
        /// When.
        modseq: ModSeq,
    },
    /// A mailbox went, with its messages.
    Deleted {
        /// Which.
        id: MailboxId,
        /// When.
        modseq: ModSeq,
    },
    /// A name was subscribed to, or no longer.
    Subscribed {
        /// Which.
        name: MailboxName,
        /// Subscribed from now on, or not.
        on: bool,
    },
    /// A session was told of all messages so far.
    RecentTaken {
        /// Where.
        mailbox: MailboxId,
    },
    /// A mailbox ran out of UIDs: its messages are numbered anew from 1, under another validity.
    Renumbered {
        /// Which.
        mailbox: MailboxId,
        /// Its new validity, never used before.
        uid_validity: UidValidity,
        /// When.
        modseq: ModSeq,
    },
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Added {
    /// Where to.
    pub mailbox: MailboxId,
    /// Its UID.
    pub uid: Uid,
    /// When, among the account's changes.
    pub modseq: ModSeq,
    /// Its flags.
    pub flags: Flags,
    /// When it was received.
    pub internal_date: InternalDate,
    /// When it came into the mailbox.
    pub saved: Timestamp,
    /// Names its content.
    pub email_id: EmailId,
    /// Its length.
    pub size: u32,
    /// The length of the summary in front of it.
    pub summary_len: u32,
    /// The delivery that brought it, to be remembered.
    pub delivery: Option<DeliveryId>,
}

/// Messages that went from one mailbox into another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// Where from.
    pub from: MailboxId,
    /// Where to; it may be the same.
    pub to: MailboxId,
    /// Which; all of them are there.
    pub uids: UidSet,
    /// The UID of the first in its new mailbox; the others follow without a gap.
    pub first: Uid,
    /// When, among the account's changes.
    pub modseq: ModSeq,
    /// When they came into the new mailbox.
    pub saved: Timestamp,
}

/// Why bytes are no encoded change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("decode a change of an account")]
pub struct ChangeError;

impl Change {
    /// The change as the log keeps it.
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory cannot fail, and every type here can be written.
        postcard::to_extend(self, vec![CHANGE_VERSION]).unwrap_or_default()
    }

    /// Reads a change from the log.
    ///
    /// # Errors
    /// If the bytes are not exactly one change of a version we know.
    pub fn decode(bytes: &[u8]) -> Result<Self, ChangeError> {
        let Some((&CHANGE_VERSION, encoded)) = bytes.split_first() else {
            return Err(ChangeError);
        };
        match postcard::take_from_bytes(encoded) {
            Ok((change, [])) => Ok(change),
            Ok(_) | Err(_) => Err(ChangeError),
        }
    }
}
