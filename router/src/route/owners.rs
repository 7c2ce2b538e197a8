//! Owners that routers have been told of by `MOVED`, for accounts that are not where the plan would send them.
//!
//! Bounded: two generations, of which the older is forgotten when the younger is full. An account that is used is carried
//! over to the younger one.

use std::{collections::HashMap, net::SocketAddr};

use laniakea_directory::AccountId;

/// Accounts remembered per generation; about 60 bytes each.
const GENERATION_MAX: usize = 65_536;

/// Remembers owners.
#[derive(Debug)]
pub struct Owners {
    young: HashMap<AccountId, SocketAddr>,
    old: HashMap<AccountId, SocketAddr>,
    generation_max: usize,
}

impl Default for Owners {
    fn default() -> Self {
        Self::new(GENERATION_MAX)
    }
}

impl Owners {
    /// Makes a table that remembers at least `generation_max` accounts and at most twice as many.
    #[must_use]
    pub fn new(generation_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_max }
    }

    /// Returns the account's owner, if one is remembered.
    pub fn owner(&mut self, account: AccountId) -> Option<SocketAddr> {
        if let Some(owner) = self.young.get(&account) {
            return Some(*owner);
        }
        let owner = self.old.remove(&account)?;
        self.remember(account, owner);
        Some(owner)
    }

    /// Remembers an owner until told otherwise.
    pub fn remember(&mut self, account: AccountId, owner: SocketAddr) {
        if self.young.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(account, owner);
    }

    /// Forgets an account's owner.
    pub fn forget(&mut self, account: AccountId) {
        self.young.remove(&account);
        self.old.remove(&account);
    }

    /// Forgets an owner that cannot be reached, for every account.
    pub fn forget_member(&mut self, owner: SocketAddr) {
        self.young.retain(|_, remembered| *remembered != owner);
        self.old.retain(|_, remembered| *remembered != owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u128) -> AccountId {
        AccountId(uuid::Uuid::from_u128(number))
    }

    fn member(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn an_owner_is_remembered_until_told_otherwise() {
        let mut owners = Owners::new(8);
        owners.remember(account(1), member(1));
        owners.remember(account(1), member(2));
        assert_eq!(owners.owner(account(1)), Some(member(2)));
        owners.forget(account(1));
        assert_eq!(owners.owner(account(1)), None);
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut owners = Owners::new(8);
        for number in 0..100 {
            owners.remember(account(number), member(1));
            assert_eq!(owners.owner(account(0)), Some(member(1)));
        }
        assert!(owners.young.len() + owners.old.len() <= 16);
        assert_eq!(owners.owner(account(50)), None);
    }

    #[test]
    fn accounts_are_told_apart_by_all_their_bits() {
        let mut owners = Owners::new(1000);
        for bit in 0..128_u16 {
            owners.remember(account(1 << bit), member(bit));
        }
        assert!((0..128_u16).all(|bit| owners.owner(account(1 << bit)) == Some(member(bit))));
    }

    #[test]
    fn a_dead_member_is_forgotten_for_every_account() {
        let mut owners = Owners::new(2);
        for number in 0..4 {
            owners.remember(account(number), member(u16::try_from(number % 2).unwrap()));
        }
        owners.forget_member(member(0));
        assert_eq!(owners.owner(account(2)), None);
        assert_eq!(owners.owner(account(3)), Some(member(1)));
    }
}
