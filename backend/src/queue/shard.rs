//! Which member runs which shard: rendezvous hashing over the live members, so that a member that comes or goes moves
//! only its own share.

use laniakea_directory::MemberName;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::cluster::QUEUE_SHARDS;

/// The member that should run a shard; `None` without members.
#[must_use]
pub fn member_of_shard(shard: u8, members: &[MemberName]) -> Option<&MemberName> {
    members.iter().max_by_key(|member| (xxh3_64_with_seed(member.as_str().as_bytes(), u64::from(shard)), *member))
}

/// The shards one member should run.
#[must_use]
pub fn shards_of(member: &MemberName, members: &[MemberName]) -> Vec<u8> {
    (0..QUEUE_SHARDS).filter(|shard| member_of_shard(*shard, members) == Some(member)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<MemberName> {
        names.iter().map(|name| MemberName::new(name)).collect()
    }

    #[test]
    fn every_shard_has_one_member_and_every_member_some_shards() {
        let members = names(&["one", "two", "three"]);
        let shares: Vec<Vec<u8>> = members.iter().map(|member| shards_of(member, &members)).collect();
        let mut all: Vec<u8> = shares.concat();
        all.sort_unstable();
        assert_eq!(all, (0..QUEUE_SHARDS).collect::<Vec<_>>());
        assert!(shares.iter().all(|share| share.len() > 8), "{shares:?}");
    }

    #[test]
    fn only_a_dead_members_shards_move() {
        let (before, after) = (names(&["one", "two", "three"]), names(&["one", "three"]));
        for shard in 0..QUEUE_SHARDS {
            let old = member_of_shard(shard, &before);
            assert!(old == Some(&MemberName::new("two")) || old == member_of_shard(shard, &after));
        }
    }
}
