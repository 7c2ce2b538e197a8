//! The members of a cluster in the order in which they are tried for one account.
//!
//! Rendezvous hashing: every router that knows the same members sends an account to the same one, so ownership settles
//! where routers send; and when a member comes or goes, only its own accounts move.

use std::{cmp::Reverse, net::SocketAddr};

use laniakea_directory::AccountId;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::Standing;

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

    /// Returns a number that says nothing of which members the key wants.
    fn lot(self) -> u8 {
        let [lot, ..] = xxh3_64(&self.0.to_le_bytes()).to_le_bytes();
        lot
    }

    /// Returns how much this key wants `name`; higher is better.
    #[must_use]
    pub fn weight(self, name: &str) -> u64 {
        xxh3_64_with_seed(name.as_bytes(), self.0)
    }
}

/// Orders the addresses to try: the remembered owner, then the members by weight.
///
/// A member that has just come back stands behind the others for a part of its accounts, always the same ones. Members that
/// are doubted are left out, unless nobody else is left: then a doubtful one is better than none.
#[must_use]
pub fn plan(
    key: RouteKey,
    members: &[Member],
    owner: Option<SocketAddr>,
    standing: impl Fn(SocketAddr) -> Standing,
) -> Vec<SocketAddr> {
    let mut order: Vec<&Member> = members.iter().collect();
    order.sort_by_cached_key(|member| Reverse(key.weight(&member.name)));
    let by_weight = order.into_iter().map(|member| member.address).filter(|address| Some(*address) != owner);
    let (mut first, mut spared, mut doubted) = (Vec::new(), Vec::new(), Vec::new());
    for address in owner.into_iter().chain(by_weight) {
        match standing(address) {
            Standing::Returning(part) if Some(address) != owner && key.lot() >= part => spared.push(address),
            Standing::Up | Standing::Returning(_) => first.push(address),
            Standing::Doubted => doubted.push(address),
        }
    }
    first.append(&mut spared);
    if first.is_empty() { doubted } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u16) -> Vec<Member> {
        let member = |port| Member { name: format!("m{port}:1"), address: ([127, 0, 0, 1], port).into() };
        (1..=count).map(member).collect()
    }

    fn first(key: RouteKey, members: &[Member]) -> SocketAddr {
        plan(key, members, None, |_| Standing::Up)[0]
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
        assert_eq!(plan(key, &members(5), None, |_| Standing::Up), plan(key, &turned, None, |_| Standing::Up));
    }

    #[test]
    fn the_owner_comes_first_even_if_the_directory_does_not_list_it() {
        let owner = "127.0.0.1:9".parse().unwrap();
        let order = plan(RouteKey::of_name("eve"), &members(3), Some(owner), |_| Standing::Up);
        assert_eq!((order[0], order.len()), (owner, 4));
        let listed = members(3)[1].address;
        let order = plan(RouteKey::of_name("eve"), &members(3), Some(listed), |_| Standing::Up);
        assert_eq!((order[0], order.len()), (listed, 3));
    }

    #[test]
    fn doubtful_members_are_tried_only_when_all_are_doubtful() {
        let key = RouteKey::of_name("eve");
        let down = first(key, &members(3));
        assert!(
            !plan(key, &members(3), Some(down), |address| if address == down {
                Standing::Doubted
            } else {
                Standing::Up
            })
            .contains(&down)
        );
        assert_eq!(plan(key, &members(3), None, |_| Standing::Doubted).len(), 3);
    }

    #[test]
    fn a_member_that_is_back_takes_a_part_of_its_own_accounts_and_is_never_left_out() {
        let members = members(2);
        let standing = |part| {
            move |address: SocketAddr| match address.port() {
                1 => Standing::Returning(part),
                _ => Standing::Up,
            }
        };
        let keys: Vec<RouteKey> = (0..2000).map(|number| RouteKey::of_name(&format!("user{number}"))).collect();
        let its_own: Vec<_> = keys.into_iter().filter(|key| first(*key, &members).port() == 1).collect();
        let taken = |part| {
            let plans = its_own.iter().map(|key| plan(*key, &members, None, standing(part)));
            plans.inspect(|plan| assert_eq!(plan.len(), 2)).filter(|plan| plan[0].port() == 1).count()
        };
        assert_eq!(taken(0), 0);
        assert!((its_own.len() * 2 / 5..its_own.len() * 3 / 5).contains(&taken(128)), "{}", taken(128));
        // Whoever it owns already goes there, and without another one everybody does.
        let owner = members[0].address;
        assert_eq!(plan(its_own[0], &members, Some(owner), standing(0))[0], owner);
        assert_eq!(plan(its_own[0], &members[..1], None, standing(0)), [owner]);
    }
}
