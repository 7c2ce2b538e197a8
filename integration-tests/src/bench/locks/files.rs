//! What a baseline must be able to do.

use std::{io, path::Path};

use super::lock::Locking;

/// One account in files. Clients of one process share it; other processes have their own.
pub(super) trait Files: Sized + Send + Sync {
    /// Names a message.
    type Name: Send;

    /// Opens the account in its folder, or makes it.
    fn open(folder: &Path, process: usize, locking: Locking) -> io::Result<Self>;
    /// Adds a message; returns when it is on disk.
    fn deliver(&self, message: &[u8]) -> io::Result<Self::Name>;
    /// Reads a message.
    fn read(&self, name: &Self::Name) -> io::Result<Vec<u8>>;
    /// Marks a message as seen; returns when that is on disk.
    fn mark_seen(&self, name: Self::Name) -> io::Result<Self::Name>;
    /// Removes a message; returns when that is on disk.
    fn remove(&self, name: Self::Name) -> io::Result<()>;
}
