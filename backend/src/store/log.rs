//! The log of one ownable: one writer, batches in order, each made durable before the next.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::blob::{BodyRef, Reader};
use super::fs::Fs;

/// The log of one ownable under one epoch.
#[derive(Debug)]
pub struct Log<F: Fs> {
    _fs: Arc<F>,
}

/// Changes that are written and made durable together.
#[derive(Debug)]
pub struct Batch {}

/// A batch that is in the file, perhaps not yet on disk.
#[derive(Debug)]
#[must_use]
pub struct Appended(());
/// A batch that survives a crash, if its writer was the owner.
#[derive(Debug)]
#[must_use]
pub struct Synced(());
/// A batch that is part of the ownable for ever: its writer was the owner after it had been synced.
#[derive(Debug)]
pub struct Stored(());

/// One change as it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The bytes of the change.
    pub payload: Vec<u8>,
    /// The body it brought along.
    pub body: Option<BodyRef>,
}

/// What an ownable held when it was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The state at some point; `None` for a new ownable or one without a snapshot yet.
    pub snapshot: Option<Vec<u8>>,
    /// The changes since then, in order.
    pub records: Vec<Record>,
    /// What recovery saw and did.
    pub report: Report,
}

/// What recovery saw and did.
#[derive(Debug, Default, Clone)]
pub struct Report {}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody with a higher epoch owns it.
    #[error("open the log: another epoch owns it")]
    Stale,
    /// It is damaged; its bytes are kept as they are and nothing is written.
    #[error("open the log: quarantined: {0}")]
    Quarantined(&'static str),
    /// A newer program wrote it.
    #[error("open the log: feature level {0} is newer than this program")]
    Newer(u16),
    /// The disk failed; try again.
    #[error("open the log")]
    Io(#[from] io::Error),
}

/// Why a batch or a snapshot was not written. The log is poisoned by it: [`Log::reopen`] it.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Somebody with a higher epoch owns the log: give the ownable up.
    #[error("write the log: another epoch owns it")]
    Stale,
    /// The disk is full.
    #[error("write the log: storage is full")]
    Full(#[source] io::Error),
    /// The disk failed, or a late writer took the next segment's name: open the log again.
    #[error("write the log")]
    Io(#[from] io::Error),
}

impl<F: Fs> Log<F> {
    /// Opens the log of `dir` under `epoch`. After a clean end nothing is created or written before the first batch.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(_fs: Arc<F>, _dir: &Path, _epoch: u128) -> Result<(Self, Recovered), OpenError> {
        todo!()
    }

    /// Opens the log again after a [`WriteError`], under the same epoch. What was not synced is not in it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn reopen(self) -> Result<(Self, Recovered), OpenError> {
        todo!()
    }

    /// Begins a batch. At most one is under way; one that is not wanted any more is dropped.
    pub fn batch(&mut self) -> Batch {
        todo!()
    }

    /// Writes a batch: its body files first, each synced, then all of its records at once.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn write(&mut self, _batch: Batch) -> Result<Appended, WriteError> {
        todo!()
    }

    /// Makes the written batch survive a crash.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn sync(&mut self, _appended: Appended) -> Result<Synced, WriteError> {
        todo!()
    }

    /// Notes that the batch counts: a tick begun after [`Log::sync`] returned has succeeded.
    pub fn validated(&mut self, _synced: Synced) -> Stored {
        todo!()
    }

    /// Whether so much was written since the last snapshot that it is time for another.
    #[must_use]
    pub fn snapshot_due(&self) -> bool {
        todo!()
    }

    /// Writes the state as of the last batch, so that the next opening need not read what came before.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn snapshot(&mut self, _state: &[u8]) -> Result<(), WriteError> {
        todo!()
    }

    /// Ends the log in order, before its ownable is released, so that the next opening has nothing to do.
    pub fn close(self) {
        todo!()
    }

    /// A reader of bodies.
    #[must_use]
    pub fn reader(&self) -> Reader<F> {
        todo!()
    }

    /// Takes note of bodies that no message names any more.
    pub fn discard(&mut self, _bodies: impl Iterator<Item = BodyRef>) {
        todo!()
    }
}

impl Batch {
    /// Adds a change, and the body it brings along. Returns where the body will be.
    pub fn push(&mut self, _payload: &[u8], _body: Option<&[u8]>) -> Option<BodyRef> {
        todo!()
    }

    /// The number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is no change in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes to be written, bodies included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        todo!()
    }
}
