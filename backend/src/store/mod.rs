//! What an ownable keeps on the shared filesystem: an append-only log with one writer.
//!
//! An *ownable* is a directory: an account, or a shard of the queue. This module knows bytes, epochs and files; what the
//! bytes mean, who is the owner and what time it is, it does not know.
//!
//! **Architecture invariant**: a file is written once by the handle that made it, or appended to by one writer for ever.
//! Nothing is changed in place, nothing is renamed, nothing is truncated, and no name is used twice. A member that wakes
//! up after its ownership has ended can therefore make garbage, but no damage.
//!
//! **Architecture invariant**: what counts is decided by the newest segment's header alone, which was complete before it
//! had a name. There is no lock, no marker and no file whose presence could keep an account from being opened.
//!
//! **Architecture invariant**: a batch goes through [`Appended`], [`Synced`] and [`Stored`] in this order, one at a time,
//! and only `Stored` may be told to anybody.
//!
//! **Architecture invariant**: the disk is reached through [`Fs`] alone, so that every crash that can happen on the real
//! one can be tried on the simulated one.
//!
//! The order of reading: [`mod@format`], [`Log`], then `recover`.

mod batch;
mod blob;
pub mod check;
mod files;
pub mod format;
pub mod fs;
mod log;
mod moves;
mod recover;
mod salvage;

pub use batch::Batch;
pub use blob::{BodyRef, Reader};
pub use format::FEATURE_LEVEL;
pub use fs::{Fs, FsFile, RealFs, SimulatedFs};
pub use log::{Appended, Contents, Limits, Log, SnapshotDone, SnapshotJob, Stored, Synced, Upkeep, WriteError};
pub use recover::{Damage, OpenError, Record, Recovered, Report, look};
pub use salvage::{Salvaged, salvage};

#[cfg(test)]
mod churn_test;
#[cfg(test)]
mod crash_test;
#[cfg(test)]
mod log_test;
