//! From a grant to a worker: the state as the log has it, not to be shown before a tick.

use std::{path::Path, sync::Arc};

use super::{RecoverError, State, Worker, WorkerTiming};
use crate::{
    cluster::{Epoch, Moment, OwnableId},
    store::{BodyRef, Fs, Log, Reader, Recovered, look},
};

/// What was read back. Read rule: nobody may see it before a tick begun after [`recover`] returned has succeeded.
pub struct Recovery<S: State, F: Fs> {
    log: Log<F>,
    state: S,
}

/// Opens the log of an ownable under the epoch of its grant and builds up its state. Blocks.
///
/// # Errors
/// The log is damaged, unreadable, or somebody else's already. The caller gives the grant back.
pub fn recover<S: State, F: Fs>(
    fs: Arc<F>,
    directory: &Path,
    id: OwnableId,
    epoch: Epoch,
) -> Result<Recovery<S, F>, RecoverError> {
    let (log, recovered) = Log::open(fs, directory, epoch.to_u128())?;
    let state = build_up(&recovered, id)?;
    Ok(Recovery { log, state })
}

/// The bodies that the state in a log names, each by the place where it is. Only reads; blocks.
///
/// # Errors
/// The log is damaged or unreadable.
pub fn bodies_named<S: State, F: Fs>(
    fs: Arc<F>,
    directory: &Path,
    id: OwnableId,
) -> Result<Vec<BodyRef>, RecoverError> {
    let (recovered, reader) = look(fs, directory)?;
    let mut bodies = Vec::new();
    build_up::<S>(&recovered, id)?.for_each_body(&mut |body| bodies.push(reader.locate(body)));
    Ok(bodies)
}

/// The state that a log tells.
fn build_up<S: State>(recovered: &Recovered, id: OwnableId) -> Result<S, RecoverError> {
    let mut state = match &recovered.snapshot {
        Some(bytes) => S::decode_snapshot(bytes)?,
        None => S::fresh(&id),
    };
    for record in &recovered.records {
        state.replay(&record.payload, record.body)?;
    }
    Ok(state)
}

impl<S: State, F: Fs> Recovery<S, F> {
    /// Will read bodies.
    pub fn reader(&self) -> Reader<F> {
        self.log.reader()
    }

    /// A tick begun after the recovery has succeeded: the worker may begin. `prepare` tells the state what is not in its
    /// log.
    pub fn validated(mut self, now: Moment, timing: WorkerTiming, prepare: impl FnOnce(&mut S)) -> Worker<S, F> {
        prepare(&mut self.state);
        Worker::new(self.log, self.state, timing, now)
    }
}
