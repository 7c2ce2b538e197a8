//! From a grant to a worker: the state as the log has it, not to be shown before a tick.

use std::{path::Path, sync::Arc};

use super::{RecoverError, State, Worker, WorkerTiming};
use crate::{
    cluster::{Epoch, Moment, OwnableId},
    store::{BodyRef, Fs, Limits, Log, Reader, Record, Recovered, Salvaged, look, salvage},
};

/// What was read back. Read rule: nobody may see it before a tick begun after [`recover`] returned has succeeded.
pub struct Recovery<S: State, F: Fs> {
    log: Log<F>,
    state: S,
}

/// Opens the log of an ownable under the epoch of its grant and builds up its state. What is written is of feature level
/// `level` at most. Blocks.
///
/// # Errors
/// The log is damaged, unreadable, or somebody else's already. The caller gives the grant back.
pub fn recover<S: State, F: Fs>(
    fs: Arc<F>,
    directory: &Path,
    id: OwnableId,
    epoch: Epoch,
    level: u16,
) -> Result<Recovery<S, F>, RecoverError> {
    let limits = Limits { level, ..Limits::default() };
    let (log, recovered) = Log::open_with(fs, directory, epoch.to_u128(), limits)?;
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

/// What could be read of something, perhaps damaged.
pub struct Rescued<S: State, F: Fs> {
    /// The state as far as it is known.
    pub state: S,
    /// Changes that do not fit the state, since others in front of them are lost.
    pub misfits: Vec<Record>,
    /// Where it was read from, and what is damaged there.
    pub salvaged: Salvaged<F>,
}

/// Reads what can be read of a log that may be damaged, for a person. Only reads; blocks.
///
/// # Errors
/// The log is unreadable, of a newer program, or none of its snapshots is understood.
pub fn rescue<S: State, F: Fs>(fs: Arc<F>, directory: &Path, id: OwnableId) -> Result<Rescued<S, F>, RecoverError> {
    let mut salvaged = salvage(fs, directory)?;
    let mut state = match salvaged.snapshot.take() {
        Some(bytes) => S::decode_snapshot(&bytes)?,
        None => S::fresh(&id),
    };
    let mut misfits = Vec::new();
    for record in std::mem::take(&mut salvaged.records) {
        // A change that does not fit may leave half of itself behind.
        let before = state.clone();
        if state.replay(&record.payload, record.body).is_err() {
            state = before;
            misfits.push(record);
        }
    }
    Ok(Rescued { state, misfits, salvaged })
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        mailbox::{Account, BodyRecord, Flags, MailboxName, NewMessage, Request, Timestamp},
        store::RealFs,
        worker::perform_in,
    };

    /// Prints where the time goes when an account is opened that nobody has opened since it was closed in order.
    ///
    /// ```text
    /// cargo test --release -p laniakea-backend --lib opening_an_account -- --ignored --nocapture
    /// ```
    #[test]
    #[ignore = "measures"]
    fn opening_an_account_of_100_000_messages() {
        const MESSAGES: u32 = 100_000;
        let scratch = tempfile::tempdir().unwrap();
        let (fs, folder) = (Arc::new(RealFs::default()), scratch.path().join("account"));
        let (mut log, _) = Log::open(Arc::clone(&fs), &folder, 1).unwrap();
        let mut account = Account::new();
        let body = BodyRecord::new(b"From: a@example.org\r\nSubject: hello\r\n\r\nhello\r\n").unwrap();
        for batches in 0..MESSAGES / 1_000 {
            let mut batch = log.batch();
            for number in 0..1_000 {
                let message = NewMessage { flags: Flags::default(), internal_date: None, body: body.clone() };
                let request = Request::Deliver { id: None, mailbox: MailboxName::inbox(), message };
                let random = u128::from(batches * 1_000 + number);
                perform_in(&mut batch, &mut account, request, Timestamp(1_700_000_000), random);
            }
            let appended = log.write(batch).unwrap();
            let synced = log.sync(appended).unwrap();
            log.validated(synced);
        }
        log.snapshot(&account).unwrap();
        log.close();
        for epoch in 2..7 {
            let began = Instant::now();
            let (log, recovered) = Log::open(Arc::clone(&fs), &folder, epoch).unwrap();
            let read = began.elapsed();
            let state: Account = build_up(&recovered, OwnableId::Queue(0)).unwrap();
            let bytes = recovered.snapshot.as_ref().map_or(0, Vec::len);
            assert_eq!(state.usage().messages, u64::from(MESSAGES));
            println!("read {read:?}, built {:?}, a snapshot of {bytes} bytes", began.elapsed() - read);
            log.close();
        }
    }
}
