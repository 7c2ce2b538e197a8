//! Where each recipient's copy goes next, and who travels together.

use std::{collections::BTreeMap, net::SocketAddr};

use laniakea_directory::{AccountId, ClusterName};

/// How often mail is passed on from member to member before it must wait.
pub const HOPS_MAX: u8 = 4;

/// Where a copy goes next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NextHop {
    /// An account of this cluster: owned here, or to be claimed.
    Account(AccountId),
    /// The fellow member that owns the account.
    Owner(SocketAddr),
    /// Another cluster of ours.
    Cluster(ClusterName),
    /// A server of another kind.
    Foreign(String),
    /// Another site.
    Outside,
}

/// Groups recipients, given by their places, so that each next hop gets the content once.
#[must_use]
pub fn group(hops: impl IntoIterator<Item = (usize, NextHop)>) -> BTreeMap<NextHop, Vec<usize>> {
    let mut groups: BTreeMap<NextHop, Vec<usize>> = BTreeMap::new();
    for (place, hop) in hops {
        groups.entry(hop).or_default().push(place);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_the_same_way_goes_together() {
        let one = NextHop::Cluster(ClusterName::new("one"));
        let two = NextHop::Cluster(ClusterName::new("two"));
        let groups = group([(0, one.clone()), (1, two.clone()), (2, one.clone())]);
        assert_eq!(groups.into_iter().collect::<Vec<_>>(), [(one, vec![0, 2]), (two, vec![1])]);
    }
}
