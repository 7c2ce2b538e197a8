//! The whole account as bytes.

use thiserror::Error;

use super::super::account::Account;

/// Why bytes are no snapshot of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("decode the snapshot of an account")]
pub struct SnapshotError;

impl Account {
    /// The account as a snapshot keeps it.
    pub fn encode_snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// If the bytes are not exactly one account, consistent in itself.
    pub fn decode_snapshot(_: &[u8]) -> Result<Account, SnapshotError> {
        Err(SnapshotError)
    }
}
