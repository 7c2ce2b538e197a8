//! What a worker has done where blocking is allowed. Each task takes the log along and brings it back; but a snapshot needs
//! no log, and is written beside the others.

use std::io;

use super::State;
use crate::sabotage::{self, Sabotage};
use crate::store::{Appended, Batch, BodyRef, Fs, Log, SnapshotDone, SnapshotJob, Synced, Upkeep, WriteError};

/// A batch to be written and synced.
#[must_use = "work waits for it"]
pub struct Write<F: Fs> {
    pub(super) log: Log<F>,
    pub(super) batch: Batch,
    /// Bodies that the batch moves on, still to be read.
    pub(super) moves: Vec<BodyRef>,
    /// The upkeep that ends with this batch.
    pub(super) ends: Option<Upkeep>,
}

/// A batch that is written, or not: that shows when it is synced.
#[must_use = "a batch that is not synced is not safe"]
pub struct Unsynced<F: Fs> {
    log: Log<F>,
    before: u64,
    appended: Result<Appended, WriteError>,
}

/// How a write went. The log is there if it can be used on: it holds the batch, or exactly what it held before.
#[must_use = "the worker waits for it"]
pub struct Written<F: Fs> {
    pub(super) log: Option<Log<F>>,
    pub(super) outcome: Result<Synced, WriteError>,
}

impl<F: Fs> Write<F> {
    /// Writes and syncs.
    pub fn run(self) -> Written<F> {
        self.write().sync()
    }

    /// The first half of [`Write::run`].
    pub fn write(self) -> Unsynced<F> {
        let Self { mut log, mut batch, moves, ends } = self;
        let before = log.seq();
        let reader = log.reader();
        for body in moves {
            match reader.read(body, 0..body.len()) {
                Ok(bytes) => batch.push_moved(body, &bytes),
                // It stays where it is, and without a mark so does everything else.
                Err(error) => return Unsynced { log, before, appended: Err(WriteError::Io(error)) },
            }
        }
        if let Some(upkeep) = &ends {
            batch.push_mark(upkeep);
        }
        let appended = if batch.is_empty() { Err(nothing_to_move()) } else { log.write(batch) };
        Unsynced { log, before, appended }
    }
}

impl<F: Fs> Unsynced<F> {
    /// The second half of [`Write::run`].
    pub fn sync(self) -> Written<F> {
        let Self { mut log, before, appended } = self;
        match appended.and_then(|appended| log.sync(appended)) {
            Ok(synced) => Written { log: Some(log), outcome: Ok(synced) },
            Err(error) => Written { log: salvage(log, before, &error), outcome: Err(error) },
        }
    }
}

impl<F: Fs> Written<F> {
    /// Why nothing was written, if nothing was.
    #[must_use]
    pub fn error(&self) -> Option<&WriteError> {
        self.outcome.as_ref().err()
    }
}

/// All of it is where it should be already.
fn nothing_to_move() -> WriteError {
    WriteError::Io(io::Error::other("there is nothing to be moved"))
}

/// After an error the log is kept only if it surely holds what it held before.
fn salvage<F: Fs>(log: Log<F>, before: u64, error: &WriteError) -> Option<Log<F>> {
    match error {
        WriteError::Stale => None,
        WriteError::Full(_) | WriteError::Io(_) if !log.is_poisoned() => Some(log),
        WriteError::Full(_) | WriteError::Io(_) => {
            let trusting = sabotage::on(Sabotage::TrustFailedSync);
            let reopened = log.reopen().ok().filter(|(_, recovered)| recovered.report.seq == before || trusting);
            reopened.map(|(log, _)| log)
        }
    }
}

/// A snapshot to be written. Commits go on meanwhile.
#[must_use = "the worker waits for it"]
pub struct Snapshot<S: State, F: Fs> {
    pub(super) job: SnapshotJob<F>,
    pub(super) state: S,
}

/// How a snapshot went. A failure costs recovery time, nothing else.
#[must_use = "the worker waits for it"]
pub struct Snapshotted {
    written: Result<SnapshotDone, WriteError>,
}

impl<S: State, F: Fs> Snapshot<S, F> {
    /// Encodes the state and writes it; deletes body files that nobody needs.
    pub fn run(self) -> Snapshotted {
        Snapshotted { written: self.job.run(&self.state) }
    }
}

impl Snapshotted {
    /// It panicked.
    pub fn lost() -> Self {
        Self { written: Err(WriteError::Io(io::Error::other("the snapshot panicked"))) }
    }

    /// Why there is no snapshot, if there is none.
    #[must_use]
    pub fn error(&self) -> Option<&WriteError> {
        self.written.as_ref().err()
    }
}

/// What is to be done between two batches: a snapshot that has ended is reckoned with, what nobody needs is deleted.
#[must_use = "the worker waits for it"]
pub struct Tidy<F: Fs> {
    pub(super) log: Log<F>,
    pub(super) ended: Option<Snapshotted>,
}

/// How that went. The log is there if it can be used on.
#[must_use = "the worker waits for it"]
pub struct Tidied<F: Fs> {
    pub(super) log: Option<Log<F>>,
    pub(super) outcome: Result<Option<Upkeep>, WriteError>,
}

impl<F: Fs> Tidy<F> {
    /// Does it; begins a new segment if it is time.
    pub fn run(self) -> Tidied<F> {
        let Self { mut log, ended } = self;
        let before = log.seq();
        let outcome = match ended {
            Some(Snapshotted { written }) => log.end_snapshot(written),
            None => {
                log.sweep();
                Ok(None)
            }
        };
        let log = match &outcome {
            Ok(_) => Some(log),
            Err(error) => salvage(log, before, error),
        };
        Tidied { log, outcome }
    }
}

impl<F: Fs> Tidied<F> {
    /// Why a snapshot, or the segment that was to follow it, was not written.
    #[must_use]
    pub fn error(&self) -> Option<&WriteError> {
        self.outcome.as_ref().err()
    }
}

/// A log to be ended in order.
#[must_use = "the next owner would have to seal it"]
pub struct Closing<F: Fs> {
    pub(super) log: Option<Log<F>>,
}

impl<F: Fs> Closing<F> {
    /// Ends it, if there is one to end.
    pub fn run(self) {
        if let Some(log) = self.log {
            log.close();
        }
    }
}
