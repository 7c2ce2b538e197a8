//! An account as a value: its mailboxes, their names, and the counters that name new ones.

mod deliveries;
mod difference;
mod edit;
mod history;
mod mailbox;
mod tally;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

pub(in crate::mailbox) use self::deliveries::Deliveries;
pub use self::deliveries::{DELIVERIES_MAX, DELIVERY_SECONDS_KEPT};
pub use self::difference::Changes;
pub use self::history::HISTORY_MAX;
pub(in crate::mailbox) use self::history::{Entry, History};
pub use self::mailbox::{Mailbox, SpecialUse};
pub use self::tally::Tally;
use crate::mailbox::name::MailboxName;
use crate::mailbox::uid::{EmailId, MailboxId, ModSeq, UidValidity};
use crate::store::BodyRef;

/// Most mailboxes of an account.
pub const MAILBOXES_MAX: usize = 10_000;
/// Most names an account may be subscribed to, with or without a mailbox.
pub const SUBSCRIPTIONS_MAX: usize = 20_000;
/// Most keywords in use in one mailbox.
pub const KEYWORDS_MAX: usize = 128;
/// Most messages in one mailbox: sequence numbers and UIDs have room for many times as many.
pub const MESSAGES_MAX: usize = 10_000_000;

/// Everything an account holds, bodies excepted. Copies are free and share what is equal.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// How many bytes of messages may be kept. Told by the directory when the account is opened; not stored.
    pub quota: Option<u64>,
    pub(super) mailboxes: OrdMap<MailboxId, Arc<Mailbox>>,
    pub(super) names: OrdMap<MailboxName, MailboxId>,
    pub(super) subscriptions: OrdSet<MailboxName>,
    pub(super) deliveries: Deliveries,
    /// How many messages share a content, where it is more than one.
    pub(super) copies: OrdMap<EmailId, u32>,
    pub(super) usage: Usage,
    pub(super) highest_modseq: ModSeq,
    pub(super) next_mailbox: MailboxId,
    /// `None` once all have been given out.
    pub(super) next_uid_validity: Option<UidValidity>,
}

/// What an account's messages come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Their sizes; copies count as much as the first.
    pub bytes: u64,
    /// Their number.
    pub messages: u64,
}

/// The mailboxes every account begins with; INBOX is before them.
const FIRST_MAILBOXES: [(&str, SpecialUse); 5] = [
    ("Sent", SpecialUse::Sent),
    ("Drafts", SpecialUse::Drafts),
    ("Trash", SpecialUse::Trash),
    ("Junk", SpecialUse::Junk),
    ("Archive", SpecialUse::Archive),
];

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

impl Account {
    /// A new account: INBOX, Sent, Drafts, Trash, Junk and Archive, all subscribed. Always the same value, so that
    /// nothing need be written before the first change.
    pub fn new() -> Self {
        let mut account = Self::bare();
        account.insert_first(MailboxName::inbox(), None);
        for (name, special_use) in FIRST_MAILBOXES {
            if let Ok(name) = MailboxName::parse(name) {
                account.insert_first(name, Some(special_use));
            }
        }
        account
    }

    /// An account without a mailbox, to be filled at once.
    pub(super) fn bare() -> Self {
        Self {
            quota: None,
            mailboxes: OrdMap::new(),
            names: OrdMap::new(),
            subscriptions: OrdSet::new(),
            deliveries: Deliveries::default(),
            copies: OrdMap::new(),
            usage: Usage::default(),
            highest_modseq: ModSeq(1),
            next_mailbox: MailboxId(1),
            next_uid_validity: Some(UidValidity::MIN),
        }
    }

    fn insert_first(&mut self, name: MailboxName, special_use: Option<SpecialUse>) {
        if let Some(uid_validity) = self.next_uid_validity {
            let mut mailbox = Mailbox::new(self.next_mailbox, name.clone(), uid_validity, self.highest_modseq);
            mailbox.special_use = special_use;
            self.insert_mailbox(mailbox);
            self.subscriptions.insert(name);
        }
    }

    /// Adds a mailbox and moves the counters past its numbers.
    pub(super) fn insert_mailbox(&mut self, mailbox: Mailbox) {
        self.next_mailbox = self.next_mailbox.max(MailboxId(mailbox.id.0.saturating_add(1)));
        self.next_uid_validity = self.next_uid_validity.and_then(|next| match mailbox.uid_validity < next {
            true => Some(next),
            false => mailbox.uid_validity.next(),
        });
        self.names.insert(mailbox.name.clone(), mailbox.id);
        self.mailboxes.insert(mailbox.id, Arc::new(mailbox));
    }

    /// The mailbox of a name.
    pub fn mailbox(&self, name: &MailboxName) -> Option<&Arc<Mailbox>> {
        self.by_id(*self.names.get(name)?)
    }

    /// The mailbox with an id.
    pub fn by_id(&self, id: MailboxId) -> Option<&Arc<Mailbox>> {
        self.mailboxes.get(&id)
    }

    /// All mailboxes by name.
    pub fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.names.values().filter_map(|id| self.mailboxes.get(id))
    }

    /// How many mailboxes there are.
    pub fn mailbox_count(&self) -> usize {
        self.mailboxes.len()
    }

    /// The mailboxes below a name, at any depth.
    pub fn below<'a>(&'a self, name: &MailboxName) -> impl Iterator<Item = &'a Arc<Mailbox>> + use<'a> {
        let bound = name.below_bound();
        let names = self.names.range(bound.clone()..);
        let below = names.take_while(move |(name, _)| name.as_str().starts_with(bound.as_str()));
        below.filter_map(|(_, id)| self.mailboxes.get(id))
    }

    /// Whether there is a mailbox below the name.
    pub fn has_children(&self, name: &MailboxName) -> bool {
        self.below(name).next().is_some()
    }

    /// The mailbox for a use (RFC 6154).
    pub fn special(&self, special_use: SpecialUse) -> Option<&Arc<Mailbox>> {
        self.mailboxes.values().find(|mailbox| mailbox.special_use == Some(special_use))
    }

    /// Whether the account is subscribed to the name, which need not have a mailbox (RFC 9051 §6.3.7).
    pub fn is_subscribed(&self, name: &MailboxName) -> bool {
        self.subscriptions.contains(name)
    }

    /// All names the account is subscribed to, in order.
    pub fn subscriptions(&self) -> impl Iterator<Item = &MailboxName> {
        self.subscriptions.iter()
    }

    /// The bodies of all messages; one that was copied comes more than once.
    pub fn bodies(&self) -> impl Iterator<Item = BodyRef> + '_ {
        self.mailboxes.values().flat_map(|mailbox| mailbox.messages.iter().map(|message| message.body))
    }

    /// What the messages come to.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// When anything in the account last changed.
    pub fn highest_modseq(&self) -> ModSeq {
        self.highest_modseq
    }
}
