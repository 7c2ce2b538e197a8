//! What may be asked of an account, what it answers, and how a request becomes changes.

mod messages;
mod names;
mod plan;
#[cfg(test)]
mod request_test;

use thiserror::Error;

use self::messages::{append, copy, deliver, expunge, move_, remove, store, take_recent};
use self::names::{create, delete, rename, subscribe};
pub use self::plan::Plan;
use crate::mailbox::account::{Account, SpecialUse};
use crate::mailbox::date::Timestamp;
use crate::mailbox::flags::FlagChange;
use crate::mailbox::message::NewMessage;
use crate::mailbox::name::{MailboxName, NameError};
use crate::mailbox::uid::{DeliveryId, MailboxId, ModSeq, Uid, UidValidity};
use crate::mailbox::uid_set::UidSet;

/// Something an account is asked to change. Mailboxes are named where the client named them, and given by id where it
/// had selected them.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Add messages, all or none (RFC 9051 §6.3.12, RFC 3502).
    Append {
        /// Where to.
        mailbox: MailboxName,
        /// In the order of the UIDs they get.
        messages: Vec<NewMessage>,
    },
    /// Add a message from outside.
    Deliver {
        /// Names the delivery if it may be tried again.
        id: Option<DeliveryId>,
        /// Where to; INBOX if there is no such mailbox.
        mailbox: MailboxName,
        /// The message.
        message: NewMessage,
    },
    /// Change flags (RFC 9051 §6.4.6).
    Store {
        /// Where.
        mailbox: MailboxId,
        /// Of which messages; those that are gone are passed over.
        uids: UidSet,
        /// What to change.
        change: FlagChange,
        /// Spare messages that changed later than this (RFC 7162 §3.1.3).
        unchanged_since: Option<ModSeq>,
    },
    /// Remove messages that have `\Deleted` (RFC 9051 §6.4.3).
    Expunge {
        /// Where.
        mailbox: MailboxId,
        /// Only of these (UID EXPUNGE, RFC 9051 §6.4.9).
        uids: Option<UidSet>,
    },
    /// Remove messages whatever their flags (POP3's QUIT, RFC 1939 §6).
    Remove {
        /// Where.
        mailbox: MailboxId,
        /// Which.
        uids: UidSet,
    },
    /// Put messages into another mailbox as well (RFC 9051 §6.4.7). No body is copied.
    Copy {
        /// Where they are.
        from: MailboxId,
        /// Which; those that are gone are passed over.
        uids: UidSet,
        /// Where to.
        to: MailboxName,
    },
    /// Put messages into another mailbox instead (RFC 6851). No body is copied.
    Move {
        /// Where they are.
        from: MailboxId,
        /// Which; those that are gone are passed over.
        uids: UidSet,
        /// Where to.
        to: MailboxName,
    },
    /// Make a mailbox, and those above it that are missing (RFC 9051 §6.3.4).
    Create {
        /// Its name.
        name: MailboxName,
        /// What it is for (RFC 6154 §3).
        special_use: Option<SpecialUse>,
    },
    /// Rename a mailbox and those below it; INBOX keeps its name and loses its messages (RFC 9051 §6.3.6).
    Rename {
        /// Its name.
        from: MailboxName,
        /// Its new name.
        to: MailboxName,
    },
    /// Remove a mailbox and its messages (RFC 9051 §6.3.5). Not INBOX, and none with mailboxes below.
    Delete {
        /// Its name.
        name: MailboxName,
    },
    /// Subscribe to a name, or no longer (RFC 9051 §6.3.7 and §6.3.8). It need not have a mailbox.
    Subscribe {
        /// The name.
        name: MailboxName,
        /// Subscribed from now on, or not.
        on: bool,
    },
    /// Learn which messages are `\Recent`, and let them be so for nobody else (RFC 3501 §2.3.2).
    TakeRecent {
        /// Where.
        mailbox: MailboxId,
    },
}

impl Request {
    /// How many bytes of mail it adds.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        match self {
            Self::Append { messages, .. } => messages.iter().map(|message| message.body.bytes().len() as u64).sum(),
            Self::Deliver { message, .. } => message.body.bytes().len() as u64,
            Self::Store { .. }
            | Self::Expunge { .. }
            | Self::Remove { .. }
            | Self::Copy { .. }
            | Self::Move { .. }
            | Self::Create { .. }
            | Self::Rename { .. }
            | Self::Delete { .. }
            | Self::Subscribe { .. }
            | Self::TakeRecent { .. } => 0,
        }
    }
}

/// What an account answers. Not to be told to anybody before the changes are durable and validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is so.
    Done,
    /// The messages were added (APPENDUID, RFC 4315).
    Appended {
        /// The validity of the mailbox.
        uid_validity: UidValidity,
        /// Their UIDs.
        uids: UidSet,
    },
    /// The message was delivered.
    Delivered {
        /// It had been delivered before; nothing was added.
        duplicate: bool,
    },
    /// Flags were changed.
    Stored {
        /// Messages spared since they had changed later (MODIFIED, RFC 7162 §3.1.3).
        modified: UidSet,
        /// Messages whose flags are other than before.
        changed: UidSet,
    },
    /// Messages were removed.
    Expunged {
        /// Which.
        uids: UidSet,
    },
    /// Messages were copied or moved (COPYUID, RFC 4315). Both sets are empty if there was nothing to copy.
    Copied {
        /// The validity of the mailbox they came into.
        uid_validity: UidValidity,
        /// Which.
        from: UidSet,
        /// Their new UIDs, in the same order.
        to: UidSet,
    },
    /// The mailbox was made.
    Created {
        /// It.
        id: MailboxId,
    },
    /// The messages from this UID on are recent for whoever asked.
    TakenRecent {
        /// The lowest.
        from: Uid,
    },
    /// Nothing was changed.
    Refused(Refusal),
}

/// Why an account does not do what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such mailbox.
    #[error("no such mailbox")]
    NoSuchMailbox,
    /// There is no such mailbox, and making it would help (TRYCREATE, RFC 9051 §7.1).
    #[error("no such mailbox; create it first")]
    TryCreate,
    /// There is such a mailbox already.
    #[error("the mailbox exists")]
    AlreadyExists,
    /// The name has mailboxes below it (HASCHILDREN, RFC 9051 §7.1).
    #[error("the mailbox has mailboxes below it")]
    HasChildren,
    /// INBOX always exists.
    #[error("INBOX cannot be deleted")]
    CannotDeleteInbox,
    /// A mailbox cannot come below itself.
    #[error("a mailbox cannot be moved below itself")]
    BelowItself,
    /// The name, or one that would follow from it, cannot be a mailbox's.
    #[error(transparent)]
    NameInvalid(#[from] NameError),
    /// Another mailbox has that use (USEATTR, RFC 6154 §3).
    #[error("another mailbox has this special use")]
    UseTaken,
    /// The account would hold more bytes than it may (OVERQUOTA, RFC 9208).
    #[error("the account is over its quota")]
    OverQuota,
    /// Something would be beyond its limit (LIMIT, RFC 9051 §7.1).
    #[error("too many {0}")]
    LimitReached(Limit),
}

/// What there can be too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// See [`MAILBOXES_MAX`](super::account::MAILBOXES_MAX).
    Mailboxes,
    /// See [`SUBSCRIPTIONS_MAX`](super::account::SUBSCRIPTIONS_MAX).
    Subscriptions,
    /// See [`KEYWORDS_MAX`](super::account::KEYWORDS_MAX).
    Keywords,
    /// See [`MESSAGES_MAX`](super::account::MESSAGES_MAX).
    Messages,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mailboxes => "mailboxes",
            Self::Subscriptions => "subscriptions",
            Self::Keywords => "keywords in the mailbox",
            Self::Messages => "messages in the mailbox",
        })
    }
}

/// Carries out a request on the worker's own copy of the account: every change is put into the plan and applied.
///
/// `now` dates what comes in; `random` names it. A refused request changes nothing.
///
/// # Panics
/// If a planned change does not apply, which is a bug of ours: see [`Plan`].
pub fn perform(account: &mut Account, request: Request, now: Timestamp, random: u128, plan: &mut Plan<'_>) -> Reply {
    let mut work = Work { account, plan, now, random };
    let outcome = match request {
        Request::Append { mailbox, messages } => append(&mut work, &mailbox, messages),
        Request::Deliver { id, mailbox, message } => deliver(&mut work, id, &mailbox, message),
        Request::Store { mailbox, uids, change, unchanged_since } => {
            store(&mut work, mailbox, &uids, change, unchanged_since)
        }
        Request::Expunge { mailbox, uids } => expunge(&mut work, mailbox, &uids.unwrap_or(UidSet::all())),
        Request::Remove { mailbox, uids } => remove(&mut work, mailbox, &uids),
        Request::Copy { from, uids, to } => copy(&mut work, from, &uids, &to),
        Request::Move { from, uids, to } => move_(&mut work, from, &uids, &to),
        Request::Create { name, special_use } => create(&mut work, &name, special_use),
        Request::Rename { from, to } => rename(&mut work, &from, &to),
        Request::Delete { name } => delete(&mut work, &name),
        Request::Subscribe { name, on } => subscribe(&mut work, name, on),
        Request::TakeRecent { mailbox } => take_recent(&mut work, mailbox),
    };
    outcome.unwrap_or_else(Reply::Refused)
}

/// What carrying out a request needs at hand.
struct Work<'a, 'p> {
    account: &'a mut Account,
    plan: &'a mut Plan<'p>,
    now: Timestamp,
    random: u128,
}
