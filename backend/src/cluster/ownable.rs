//! What can be owned: an account, or a shard of the queue.
//!
//! Both are a directory on the shared filesystem with one writer; the cluster knows no difference between them.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use laniakea_directory::AccountId;

/// How many shards the queue of a cluster has.
pub const QUEUE_SHARDS: u8 = 64;

/// Names one thing that has one owner at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OwnableId {
    /// An account.
    Account(AccountId),
    /// A shard of the queue, below [`QUEUE_SHARDS`].
    Queue(u8),
}

impl OwnableId {
    /// Returns the ownable's directory, relative to the storage of its cluster.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Account(id) => {
                let text = id.0.simple().to_string();
                // The last digits: the first ones of a time-ordered id would put today's accounts into one folder.
                let (first, second) = (text.get(28..30).unwrap_or("00"), text.get(30..32).unwrap_or("00"));
                PathBuf::from(format!("accounts/{first}/{second}/{id}"))
            }
            Self::Queue(shard) => PathBuf::from(format!("queue/{shard:02x}")),
        }
    }
}

impl fmt::Display for OwnableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "account/{id}"),
            Self::Queue(shard) => write!(f, "queue/{shard:02x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_made_in_the_same_moment_spread_over_folders() {
        let account = |bits| OwnableId::Account(AccountId(uuid::Uuid::from_u128(bits)));
        let path = account(0x0192_0000_0000_7000_8000_0000_0000_abcd).path();
        assert_eq!(path, PathBuf::from("accounts/ab/cd/01920000-0000-7000-8000-00000000abcd"));
    }

    #[test]
    fn a_shard_is_named_in_hexadecimal() {
        assert_eq!(OwnableId::Queue(0x3f).path(), PathBuf::from("queue/3f"));
        assert_eq!(OwnableId::Queue(1).to_string(), "queue/01");
    }
}
