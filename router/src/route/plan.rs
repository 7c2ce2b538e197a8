//! The members of a cluster in the order in which they are tried for one account.
//!
//! Rendezvous hashing: every router that knows the same members sends an account to the same one, so ownership settles
//! where routers send; and when a member comes or goes, only its own accounts move.

use std::{cmp::Reverse, net::SocketAddr};

use laniakea_directory::AccountId;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// One member as the directory names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its handoff address as written in the directory; what is hashed, so it must read the same for every router.
    pub name: String,
    /// Its handoff address.
    pub address: SocketAddr,
}

/// What is spread over the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteKey(u64);

impl RouteKey {
    /// Spreads by account, whatever name it was reached by.
    #[must_use]
    pub fn of_account(id: AccountId) -> Self {
        Self(xxh3_64(id.0.as_bytes()))
    }

    /// Spreads by a name that has no account.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()))
    }

    /// Returns how much this key wants `name`; higher is better.
    #[must_use]
    pub fn weight(self, name: &str) -> u64 {
        xxh3_64_with_seed(name.as_bytes(), self.0)
    }
}

/// Orders the addresses to try: the remembered owner, then the members by weight.
///
/// Members that `is_up` doubts are left out, unless nobody else is left: then a doubtful one is better than none.
#[must_use]
pub fn plan(
    key: RouteKey,
    members: &[Member],
    owner: Option<SocketAddr>,
    is_up: impl Fn(SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let mut order: Vec<&Member> = members.iter().collect();
    order.sort_by_cached_key(|member| Reverse(key.weight(&member.name)));
    let by_weight = order.into_iter().map(|member| member.address).filter(|address| Some(*address) != owner);
    let (up, doubtful): (Vec<_>, Vec<_>) = owner.into_iter().chain(by_weight).partition(|address| is_up(*address));
    if up.is_empty() { doubtful } else { up }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u16) -> Vec<Member> {
        let member = |port| Member { name: format!("m{port}:1"), address: ([127, 0, 0, 1], port).into() };
        (1..=count).map(member).collect()
    }

    fn first(key: RouteKey, members: &[Member]) -> SocketAddr {
        plan(key, members, None, |_| true)[0]
    }

    #[test]
    fn accounts_spread_evenly() {
        let members = members(4);
        let mut counts = [0_u32; 5];
        for number in 0..4000 {
            counts[usize::from(first(RouteKey::of_name(&format!("user{number}")), &members).port())] += 1;
        }
        assert!(counts[1..].iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_new_member_takes_only_what_becomes_its_own() {
        let (three, four) = (members(3), members(4));
        for number in 0..1000 {
            let key = RouteKey::of_name(&format!("user{number}"));
            let now = first(key, &four);
            assert!(now.port() == 4 || now == first(key, &three));
        }
    }

    #[test]
    fn the_order_of_the_directory_does_not_matter() {
        let key = RouteKey::of_name("eve");
        let mut turned = members(5);
        turned.reverse();
        assert_eq!(plan(key, &members(5), None, |_| true), plan(key, &turned, None, |_| true));
    }

    #[test]
    fn the_owner_comes_first_even_if_the_directory_does_not_list_it() {
        let owner = "127.0.0.1:9".parse().unwrap();
        let order = plan(RouteKey::of_name("eve"), &members(3), Some(owner), |_| true);
        assert_eq!((order[0], order.len()), (owner, 4));
        let listed = members(3)[1].address;
        let order = plan(RouteKey::of_name("eve"), &members(3), Some(listed), |_| true);
        assert_eq!((order[0], order.len()), (listed, 3));
    }

    #[test]
    fn doubtful_members_are_tried_only_when_all_are_doubtful() {
        let key = RouteKey::of_name("eve");
        let down = first(key, &members(3));
        assert!(!plan(key, &members(3), Some(down), |address| address != down).contains(&down));
        assert_eq!(plan(key, &members(3), None, |_| false).len(), 3);
    }
}
