//! The worker of one owned thing, an account or a shard of the queue: everything that it decides. Pure.
//!
//! The worker is the only one that changes its state. It gathers what waits, lets each piece of work change a tentative
//! copy and add records to one batch, has the batch written and synced, has it validated by a tick begun after the sync,
//! and only then shows the new state and answers. When a commit fails, the tentative copy is dropped and nothing of it was
//! ever seen (output-commit rule).
//!
//! A snapshot is written beside all this, of the state at one moment; the log is told between two batches.
//!
//! [`Worker`] takes what happened and returns the next [`Step`]; `drive/owned` takes the steps on the real filesystem and
//! `sim` on a simulated one. What blocks is a value with one method to run it (`task`).
//!
//! **Invariants.** Nothing is shown or answered before its batch is validated. A worker that could not commit ends and
//! gives its ownership back; the next one recovers from the file. While somebody is with the ownable, it is not given
//! back unless the controller asks for it and the grace is over.

mod account;
mod error;
mod machine;
mod recovery;
mod shard;
mod task;
#[cfg(test)]
mod worker_test;

pub use account::perform_in;
pub use error::{CommitError, RecoverError, ReplayError};
pub use machine::{Answers, End, Finish, Job, Step, Worker, WorkerTiming};
pub use recovery::{Recovery, Rescued, bodies_named, recover, rescue};
pub use task::{Closing, Snapshot, Snapshotted, Tidied, Tidy, Unsynced, Write, Written};

use crate::{
    cluster::OwnableId,
    store::{BodyRef, Contents},
};

/// What a log means: the state that its records build up.
pub trait State: Contents + Clone + Send + Sync + 'static {
    /// The state of something that was never written.
    fn fresh(id: &OwnableId) -> Self;
    /// Applies one record read back from the log.
    ///
    /// # Errors
    /// A record this program does not understand, or that contradicts the state: the log is damaged or from a newer
    /// program.
    fn replay(&mut self, payload: &[u8], body: Option<BodyRef>) -> Result<(), ReplayError>;
    /// The inverse of [`Contents::encode_snapshot`].
    ///
    /// # Errors
    /// Bytes this program does not understand.
    fn decode_snapshot(bytes: &[u8]) -> Result<Self, ReplayError>;
}
