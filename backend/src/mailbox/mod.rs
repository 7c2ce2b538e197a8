//! What mail means: accounts, mailboxes, messages, and every way they may change.
//!
//! **Architecture invariant:** pure. No protocol, no IO, no clock, no randomness: times and random numbers are passed in,
//! bodies are named by [`BodyRef`](crate::store::BodyRef). The same requests on the same account give the same account.
//!
//! **Architecture invariant:** an [`Account`] is a value. Copies are free and share what is equal; one worker changes its
//! copy, everybody else looks at published ones. What a session must tell its client is the difference between two
//! values of a [`Mailbox`] ([`Mailbox::changes_since`]).
//!
//! **Architecture invariant:** an account changes by [`Change`]s alone. [`perform`] turns a [`Request`] into changes and
//! applies them; replaying the log applies the same changes through the same code ([`Account::apply`]).

pub mod account;
pub mod change;
pub mod date;
pub mod flags;
pub mod message;
pub mod mime;
pub mod name;
pub mod request;
pub mod search;
pub mod uid;
pub mod uid_set;

pub use self::account::{Account, Changes, Mailbox, SpecialUse};
pub use self::change::{ApplyError, Change, ChangeError};
pub use self::date::{InternalDate, Timestamp};
pub use self::flags::{Flag, FlagChange, FlagError, Flags, Keyword, SystemFlag};
pub use self::message::{BodyRecord, Message, NewMessage};
pub use self::name::{ListPattern, MailboxName, NameError};
pub use self::request::{Plan, Refusal, Reply, Request, perform};
pub use self::uid::{DeliveryId, EmailId, MailboxId, ModSeq, SeqNo, Uid, UidValidity};
pub use self::uid_set::{UidRange, UidSet};
