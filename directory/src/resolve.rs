//! What becomes of mail for an address: an account, another address, nobody, or "ask again later". Pure.
//!
//! A [`Resolver`] is asked which address to look up next and told what was found, so the same rules run in a test, in a
//! router and in a member. It ends after [`STEPS_MAX`] look-ups at the latest.
//!
//! A fault of the directory (a forward that leads back to itself, an account without a home, an unknown status) always
//! ends in [`Resolution::Deferred`]: mail waits until a person has corrected it, and nothing bounces by mistake.

use std::sync::Arc;

use crate::{
    name::Address,
    record::{AccountRecord, Delivery, Status},
};

/// How many forwards may follow one another; more than a few is a mistake.
pub const STEPS_MAX: usize = 8;

/// What is to be done with mail for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Deliver it to this account.
    Account(Arc<AccountRecord>),
    /// Send it to this address, which the directory does not know.
    Forward(Address),
    /// The directory positively has no such address: 550 5.1.1.
    Unknown,
    /// The account takes no mail any more: 550 5.2.1.
    Refused(Arc<AccountRecord>),
    /// Try later: 4xx.
    Deferred(Deferral),
}

/// Why mail has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deferral {
    /// The account is under maintenance.
    Maintenance(Arc<AccountRecord>),
    /// The account's status is a word we do not know.
    UnrecognisedStatus(Arc<AccountRecord>),
    /// The account names neither a home cluster nor another address.
    NoHome(Arc<AccountRecord>),
    /// The forwards never end.
    ForwardLoop(Address),
}

/// Follows one address to its end.
#[derive(Debug)]
pub struct Resolver {
    next: Address,
    seen: Vec<Address>,
}

/// What a [`Resolver`] wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Look this address up and say what was found.
    LookUp(Address),
    /// This is the answer.
    Done(Resolution),
}

impl Resolver {
    /// Starts at an address from `RCPT TO`.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { next: address, seen: Vec::new() }
    }

    /// Returns the address to look up first.
    #[must_use]
    pub fn first(&self) -> &Address {
        &self.next
    }

    /// Takes what the directory knows of the address asked for last, its `+detail` already tried without, and the
    /// catch-all of its domain.
    #[must_use]
    pub fn found(&mut self, account: Option<Arc<AccountRecord>>) -> Step {
        match account {
            Some(account) => self.on_account(account),
            None if self.seen.is_empty() => Step::Done(Resolution::Unknown),
            // A forward leads out of the directory.
            None => Step::Done(Resolution::Forward(self.next.clone())),
        }
    }

    fn on_account(&mut self, account: Arc<AccountRecord>) -> Step {
        if let Some(end) = end_by_status(&account) {
            return Step::Done(end);
        }
        match &account.forward {
            // Many sites write the account's own address there; it means "stay".
            Some(target) if !is_own(&account, target) => self.on_forward(target.clone()),
            _ if account.mail_host.is_empty() => Step::Done(Resolution::Deferred(Deferral::NoHome(account))),
            _ => Step::Done(Resolution::Account(account)),
        }
    }

    fn on_forward(&mut self, target: Address) -> Step {
        let from = std::mem::replace(&mut self.next, target.clone());
        self.seen.push(from);
        if self.seen.contains(&target) || self.seen.len() >= STEPS_MAX {
            return Step::Done(Resolution::Deferred(Deferral::ForwardLoop(target)));
        }
        Step::LookUp(target)
    }
}

fn end_by_status(account: &Arc<AccountRecord>) -> Option<Resolution> {
    match account.status.delivery() {
        Delivery::Deliver => None,
        Delivery::Refuse => Some(Resolution::Refused(Arc::clone(account))),
        Delivery::Defer if matches!(account.status, Status::Unrecognised(_)) => {
            Some(Resolution::Deferred(Deferral::UnrecognisedStatus(Arc::clone(account))))
        }
        Delivery::Defer => Some(Resolution::Deferred(Deferral::Maintenance(Arc::clone(account)))),
    }
}

fn is_own(account: &AccountRecord, target: &Address) -> bool {
    account.addresses.contains(target) || account.addresses.contains(&target.base())
}

#[cfg(test)]
#[path = "resolve_test.rs"]
mod tests;
