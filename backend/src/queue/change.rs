//! Every change of a shard as a value, as it stands in the log.

use serde::{Deserialize, Serialize};

use super::entry::{EntryId, NewEntry};

/// The format of a change; the first byte of each.
const VERSION: u8 = 1;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueChange {
    /// A message was accepted; the record's body is its content.
    Accepted {
        /// Its name: the next one of the shard.
        id: EntryId,
        /// The rest.
        entry: NewEntry,
    },
    /// An attempt is over.
    Attempted {
        /// Which message.
        id: EntryId,
        /// What became of each recipient tried, by place.
        results: Vec<(u32, Settled)>,
    },
    /// Somebody wants it tried now.
    Hurried {
        /// Which message.
        id: EntryId,
        /// When.
        now_ms: u64,
    },
    /// Somebody took it out of the queue.
    Dropped {
        /// Which message.
        id: EntryId,
    },
}

/// What became of a recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settled {
    /// Delivered; it leaves the queue.
    Delivered,
    /// Given up; it leaves the queue, and the bounce is in the same batch.
    Failed,
    /// Tried again later.
    Deferred {
        /// When.
        next_ms: u64,
        /// What was said.
        reply: String,
    },
}

/// A change that cannot be applied: the log is damaged, or from a newer program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Bytes this program does not understand.
    #[error("a queue record of an unknown kind")]
    Unknown,
    /// A message without content.
    #[error("a queue entry without content")]
    NoBody,
    /// The name is not the shard's next one.
    #[error("a queue entry out of order")]
    OutOfOrder,
    /// No such entry, or recipient of it.
    #[error("a change of what is not in the queue")]
    Missing,
}

impl QueueChange {
    /// The change as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Nothing in a change can fail to be encoded; an empty record would be refused when read.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    /// The inverse of [`QueueChange::encode`].
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ChangeError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| ChangeError::Unknown),
            Some(_) | None => Err(ChangeError::Unknown),
        }
    }
}
