//! How far a batch has come, as types: what may be promised needs a value that only the right steps can make.

use std::io;

/// A batch that is in the file, perhaps not yet on disk.
#[derive(Debug)]
#[must_use = "a batch that is not synced is not safe"]
pub struct Appended {
    pub(super) seq: u64,
}

/// A batch that survives a crash, if its writer was the owner.
#[derive(Debug)]
#[must_use = "a batch counts only when its writer has been found to be the owner still"]
pub struct Synced {
    pub(super) seq: u64,
}

/// A batch that is part of the ownable for ever: its writer was the owner after it had been synced.
#[derive(Debug)]
pub struct Stored {
    pub(super) seq: u64,
}

impl Stored {
    /// The number of the batch, from 1.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// Why a batch or a snapshot was not written. If the log [is poisoned](super::Log::is_poisoned) by it, only
/// [reopening](super::Log::reopen) it is left.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another ownership has written to it: give the ownable up.
    #[error("write the log: another ownership has written to it")]
    Stale,
    /// The storage is full. Nothing was written that counts; a smaller batch may still fit.
    #[error("write the log: storage is full")]
    Full(#[source] io::Error),
    /// The disk failed, or a writer of old times took the next segment's name: open the log again.
    #[error("write the log")]
    Io(#[source] io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Io(error),
        }
    }
}
