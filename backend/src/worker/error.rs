//! What can go wrong for whoever asks a worker for something, and for who opens an ownable.

use crate::store::{OpenError, WriteError};

/// A record or snapshot that cannot be applied.
#[derive(Debug, thiserror::Error)]
#[error("apply a record: {0}")]
pub struct ReplayError(pub String);

/// Why a piece of work was not committed. Its outcome is unknown only for [`CommitError::Fenced`] and
/// [`CommitError::Storage`]: the next owner may still find the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// This member lost its ownership.
    #[error("commit: this member no longer owns the account")]
    Fenced,
    /// The filesystem failed or took too long.
    #[error("commit: the storage failed")]
    Storage,
    /// The filesystem is full; nothing was changed.
    #[error("commit: the storage is full")]
    Full,
    /// Too much work waits already; nothing was changed.
    #[error("commit: too much work waits for this account")]
    Busy,
    /// The account is being given back; nothing was changed. Open it again.
    #[error("commit: the account is being given back")]
    Closed,
}

impl From<&WriteError> for CommitError {
    fn from(error: &WriteError) -> Self {
        match error {
            WriteError::Full(_) => Self::Full,
            WriteError::Stale => Self::Fenced,
            WriteError::Io(_) => Self::Storage,
        }
    }
}

/// Why something granted to this member could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The log could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log says something the program cannot apply.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// This member was fenced while it opened.
    #[error("open: this member was fenced")]
    Fenced,
}
