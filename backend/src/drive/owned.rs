//! One worker per owned thing: an account, a shard of the queue.
//!
//! The worker is the only one that changes its state. It gathers what waits, lets each piece of work change a tentative
//! copy and add records to one batch, writes and syncs the batch, has it validated by a tick begun after the sync, and
//! only then publishes the new state and answers. Readers never ask it: they read the published value. When a commit
//! fails, the tentative copy goes with the worker and nothing of it was ever seen (output-commit rule).
//!
//! **Invariants.** Nothing is published or answered before its batch is validated. A worker that could not commit ends
//! and gives its ownership back; the next one recovers from the file. While a [`Pass`] is out, ownership is not released
//! unless the controller asks for it and the grace is over.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Epoch, Grant, OwnableId},
    drive::control::ClusterHandle,
    store::{Batch, BodyRef, Log, OpenError, Reader, Synced, WriteError, fs::RealFs},
};

/// Pieces of work that wait for one worker at most; more is refused as busy.
const JOBS_MAX: usize = 4096;
/// Pieces of work in one batch at most.
const BATCH_JOBS_MAX: usize = 512;
/// Bytes in one batch before it is written without waiting for more.
const BATCH_BYTES_MAX: u64 = 8 << 20;

/// What a log means: the state that its records build up.
pub trait State: Clone + Send + Sync + 'static {
    /// The state of something that was never written.
    fn fresh(id: &OwnableId) -> Self;
    /// Applies one record read back from the log.
    ///
    /// # Errors
    /// A record this program does not understand, or that contradicts the state: the log is damaged or from a newer
    /// program.
    fn replay(&mut self, payload: &[u8], body: Option<BodyRef>) -> Result<(), ReplayError>;
    /// The whole state as bytes.
    fn encode_snapshot(&self) -> Vec<u8>;
    /// The inverse of [`State::encode_snapshot`].
    ///
    /// # Errors
    /// Bytes this program does not understand.
    fn decode_snapshot(bytes: &[u8]) -> Result<Self, ReplayError>;
}

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

type Finish = Box<dyn FnOnce(Result<(), CommitError>) + Send>;
type Job<S> = Box<dyn FnOnce(&mut S, &mut Batch) -> Finish + Send>;

/// A handle to the worker of something this member owns. Cheap to clone.
pub struct Owned<S: State> {
    shared: Arc<Shared<S>>,
}

impl<S: State> Clone for Owned<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<S: State> {
    id: OwnableId,
    epoch: Epoch,
    jobs: mpsc::Sender<Job<S>>,
    published: watch::Sender<Arc<S>>,
    reader: Reader<RealFs>,
    passes: AtomicUsize,
    pass_left: Notify,
    draining: AtomicBool,
    drain: CancellationToken,
    closed: CancellationToken,
    exclusive: AtomicBool,
    entered: AtomicBool,
}

/// One session's stay with an account: while it lives, the account is not given back for being idle.
pub struct Pass<S: State> {
    owned: Owned<S>,
}

impl<S: State> std::ops::Deref for Pass<S> {
    type Target = Owned<S>;
    fn deref(&self) -> &Owned<S> {
        &self.owned
    }
}

impl<S: State> Drop for Pass<S> {
    fn drop(&mut self) {
        self.owned.shared.passes.fetch_sub(1, Ordering::AcqRel);
        self.owned.shared.pass_left.notify_one();
    }
}

/// The account's one exclusive session (POP3, RFC 1939 §4); free again when dropped.
pub struct Exclusive<S: State>(Owned<S>);

impl<S: State> Drop for Exclusive<S> {
    fn drop(&mut self) {
        self.0.shared.exclusive.store(false, Ordering::Release);
    }
}

/// How a worker behaves; the same for all of a member.
#[derive(Debug, Clone, Copy)]
pub struct WorkerTiming {
    /// Without a pass and without work for this long, the ownership is given back.
    pub idle_release: Duration,
    /// A commit that takes longer fails.
    pub commit: Duration,
    /// Sessions may stay this long once the controller wants the account back.
    pub grace: Duration,
}

impl<S: State> Owned<S> {
    /// Recovers what the grant is for and starts its worker. `prepare` tells the state what is not in its log.
    ///
    /// # Errors
    /// The log is damaged, unreadable, or this member was fenced meanwhile. The caller gives the grant back.
    pub async fn open(
        fs: Arc<RealFs>,
        storage: &Path,
        grant: Grant,
        cluster: ClusterHandle,
        timing: WorkerTiming,
        prepare: impl FnOnce(&mut S) + Send + 'static,
    ) -> Result<Self, RecoverError> {
        let (id, epoch) = (grant.ownable(), grant.epoch());
        let directory = storage.join(id.path());
        let (log, mut state) = spawn_blocking(move || recover::<S>(fs, &directory, id, epoch))
            .await
            .map_err(|_| ReplayError("the recovery panicked".into()))??;
        prepare(&mut state);
        // What recovery read may be shown only if this member was not fenced before it read (read rule).
        cluster.validate().await.map_err(|_| RecoverError::Fenced)?;
        let (jobs, inbox) = mpsc::channel(JOBS_MAX);
        let shared = Arc::new(Shared {
            id,
            epoch,
            jobs,
            published: watch::Sender::new(Arc::new(state.clone())),
            reader: log.reader(),
            passes: AtomicUsize::new(0),
            pass_left: Notify::new(),
            draining: AtomicBool::new(false),
            drain: CancellationToken::new(),
            closed: CancellationToken::new(),
            exclusive: AtomicBool::new(false),
            entered: AtomicBool::new(false),
        });
        let worker =
            Worker { shared: Arc::clone(&shared), log: Some(log), state, inbox, cluster, timing, dirty: false };
        tokio::spawn(worker.run());
        Ok(Self { shared })
    }

    /// What is owned.
    #[must_use]
    pub fn id(&self) -> OwnableId {
        self.shared.id
    }

    /// Under which epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// Enters for the length of a session; `None` when the ownership is being given back.
    #[must_use]
    pub fn enter(&self) -> Option<Pass<S>> {
        self.shared.passes.fetch_add(1, Ordering::SeqCst);
        let pass = Pass { owned: self.clone() };
        (!self.shared.draining.load(Ordering::SeqCst)).then_some(pass)
    }

    /// True for the first caller only: who then watches for the worker's end.
    #[must_use]
    pub(crate) fn first_entry(&self) -> bool {
        !self.shared.entered.swap(true, Ordering::AcqRel)
    }

    /// The one exclusive session, if nobody has it.
    #[must_use]
    pub fn exclusive(&self) -> Option<Exclusive<S>> {
        let taken = self.shared.exclusive.swap(true, Ordering::AcqRel);
        (!taken).then(|| Exclusive(self.clone()))
    }

    /// Whether somebody has the exclusive session now.
    #[must_use]
    pub fn is_exclusively_used(&self) -> bool {
        self.shared.exclusive.load(Ordering::Acquire)
    }

    /// Sessions in here now.
    #[must_use]
    pub fn passes(&self) -> usize {
        self.shared.passes.load(Ordering::Acquire)
    }

    /// The newest validated state.
    #[must_use]
    pub fn state(&self) -> Arc<S> {
        self.shared.published.borrow().clone()
    }

    /// Follows the validated states.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<S>> {
        self.shared.published.subscribe()
    }

    /// Reads bodies.
    #[must_use]
    pub fn reader(&self) -> &Reader<RealFs> {
        &self.shared.reader
    }

    /// Cancelled when sessions should leave because the controller wants the ownership back.
    #[must_use]
    pub fn leaving(&self) -> &CancellationToken {
        &self.shared.drain
    }

    /// Cancelled when the worker has ended, just before the ownership is given back: nothing may be shown afterwards.
    #[must_use]
    pub fn closed(&self) -> &CancellationToken {
        &self.shared.closed
    }

    /// Asks the worker to give the ownership back as soon as sessions have left or the grace is over.
    pub fn recall(&self) {
        self.shared.drain.cancel();
    }

    /// Changes the state: `work` changes its own copy and pushes records into the batch; this resolves once they are
    /// synced and validated. Work that pushes nothing is answered without touching the disk.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn update<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S, &mut Batch) -> R + Send + 'static,
    ) -> Result<R, CommitError> {
        let (answer, answered) = oneshot::channel();
        let job: Job<S> = Box::new(move |state, batch| {
            let result = work(state, batch);
            Box::new(move |outcome| {
                let _ = answer.send(outcome.map(|()| result));
            })
        });
        match self.shared.jobs.try_send(job) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(CommitError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(CommitError::Closed),
        }
        answered.await.unwrap_or(Err(CommitError::Closed))
    }
}

fn recover<S: State>(
    fs: Arc<RealFs>,
    directory: &Path,
    id: OwnableId,
    epoch: Epoch,
) -> Result<(Log<RealFs>, S), RecoverError> {
    let (log, recovered) = Log::open(fs, directory, epoch.to_u128())?;
    let mut state = match &recovered.snapshot {
        Some(bytes) => S::decode_snapshot(bytes)?,
        None => S::fresh(&id),
    };
    for record in &recovered.records {
        state.replay(&record.payload, record.body)?;
    }
    Ok((log, state))
}

struct Worker<S: State> {
    shared: Arc<Shared<S>>,
    /// `None` only while a blocking thread has it.
    log: Option<Log<RealFs>>,
    state: S,
    inbox: mpsc::Receiver<Job<S>>,
    cluster: ClusterHandle,
    timing: WorkerTiming,
    /// Records were written since the last snapshot.
    dirty: bool,
}

/// Why the worker stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Idle,
    Recalled,
    Failed(CommitError),
}

impl<S: State> Worker<S> {
    async fn run(mut self) {
        let end = self.serve().await;
        self.shared.draining.store(true, Ordering::Release);
        self.inbox.close();
        let late = if let End::Failed(error) = end { error } else { CommitError::Closed };
        while let Ok(job) = self.inbox.try_recv() {
            // Refused without being run: the answer channel is dropped with the job.
            drop(job);
        }
        if end == End::Idle && self.dirty {
            self.snapshot().await;
        }
        match end {
            End::Failed(_) => {
                tracing::error!(ownable = %self.shared.id, error = %late, "gave up an ownership after a failed commit")
            }
            End::Idle | End::Recalled => tracing::debug!(ownable = %self.shared.id, ?end, "gave an ownership back"),
        }
        if let Some(log) = self.log.take() {
            let _ = spawn_blocking(move || log.close()).await;
        }
        // Sessions first: none may show anything once somebody else can be the owner.
        self.shared.closed.cancel();
        self.cluster.release(self.shared.id, self.shared.epoch);
    }

    async fn serve(&mut self) -> End {
        let mut leave_by: Option<Instant> = None;
        let mut idle_since = Instant::now();
        loop {
            if leave_by.is_some_and(|by| self.shared.passes.load(Ordering::Acquire) == 0 || Instant::now() >= by) {
                if self.stop_if_no_work() {
                    return End::Recalled;
                }
            } else if leave_by.is_none() && idle_since.elapsed() >= self.timing.idle_release && self.stop_if_unused() {
                return End::Idle;
            }
            let wake_at = leave_by.unwrap_or(idle_since + self.timing.idle_release);
            tokio::select! {
                biased;
                job = self.inbox.recv() => {
                    let Some(job) = job else { return End::Idle };
                    if let Err(error) = self.commit(job).await {
                        return End::Failed(error);
                    }
                    idle_since = Instant::now();
                }
                () = self.shared.drain.cancelled(), if leave_by.is_none() => {
                    leave_by = Some(Instant::now() + self.timing.grace);
                }
                () = self.shared.pass_left.notified() => idle_since = Instant::now(),
                () = tokio::time::sleep_until(wake_at) => {
                    if leave_by.is_none() && self.shared.passes.load(Ordering::Acquire) > 0 {
                        idle_since = Instant::now();
                    }
                }
            }
        }
    }

    /// Closes the door; opens it again if somebody slipped in.
    fn stop_if_unused(&self) -> bool {
        self.shared.draining.store(true, Ordering::SeqCst);
        let unused = self.shared.passes.load(Ordering::SeqCst) == 0 && self.inbox.is_empty();
        self.shared.draining.store(unused, Ordering::SeqCst);
        unused
    }

    fn stop_if_no_work(&self) -> bool {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.inbox.is_empty()
    }

    /// One batch: the job at hand and all that waits behind it. An error ends the worker.
    async fn commit(&mut self, first: Job<S>) -> Result<(), CommitError> {
        let Some(mut log) = self.log.take() else { return Err(CommitError::Storage) };
        let Some(Gathered { tentative, batch, finishers }) = self.gather(&mut log, first) else {
            return Err(CommitError::Storage);
        };
        if batch.is_empty() {
            self.log = Some(log);
            finishers.into_iter().for_each(|finish| finish(Ok(())));
            return Ok(());
        }
        let started = Instant::now();
        match self.make_durable(log, batch).await {
            Ok(()) => {
                metrics::histogram!("laniakea_member_commit_seconds").record(started.elapsed().as_secs_f64());
                metrics::histogram!("laniakea_member_commit_jobs").record(finishers.len() as f64);
                self.publish(tentative, finishers);
                if self.log.as_ref().is_some_and(Log::snapshot_due) {
                    self.snapshot().await;
                }
                Ok(())
            }
            Err(error) => {
                refuse(finishers, error);
                // The copy is dropped, the state is as before; with a log to go on with, so is the ownership.
                if self.log.is_some() { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Lets the waiting jobs change a copy of the state. `None` if one panicked: copy and batch may be half changed.
    fn gather(&mut self, log: &mut Log<RealFs>, first: Job<S>) -> Option<Gathered<S>> {
        let mut gathered = Gathered { tentative: self.state.clone(), batch: log.batch(), finishers: Vec::new() };
        let Gathered { tentative, batch, finishers } = &mut gathered;
        let mut next = Some(first);
        while let Some(job) = next {
            let Ok(finish) = catch_unwind(AssertUnwindSafe(|| job(tentative, batch))) else {
                refuse(gathered.finishers, CommitError::Storage);
                return None;
            };
            finishers.push(finish);
            let has_room = finishers.len() < BATCH_JOBS_MAX && batch.bytes() < BATCH_BYTES_MAX;
            next = if has_room { self.inbox.try_recv().ok() } else { None };
        }
        Some(gathered)
    }

    /// Writes, syncs and validates a batch. The log is put back if it can be used on.
    async fn make_durable(&mut self, log: Log<RealFs>, batch: Batch) -> Result<(), CommitError> {
        let written = timeout(self.timing.commit, spawn_blocking(move || write_batch(log, batch))).await;
        // In time, and without a panic.
        let (log, synced) = written.map_err(|_| CommitError::Storage)?.map_err(|_| CommitError::Storage)?;
        let synced = match synced {
            Ok(synced) => synced,
            Err(error) => {
                tracing::error!(ownable = %self.shared.id, %error, "a batch could not be written");
                self.log = log;
                return Err(match error {
                    WriteError::Full(_) => CommitError::Full,
                    WriteError::Stale => CommitError::Fenced,
                    WriteError::Io(_) => CommitError::Storage,
                });
            }
        };
        // Commit rule: acknowledge only after a tick begun after the sync has succeeded.
        let validated = timeout(self.timing.commit, self.cluster.validate()).await;
        validated.map_err(|_| CommitError::Storage)?.map_err(|_| CommitError::Fenced)?;
        self.log = log;
        if let Some(log) = &mut self.log {
            log.validated(synced);
        }
        Ok(())
    }

    /// Shows the new state, then answers: whoever hears the answer sees the state.
    fn publish(&mut self, tentative: S, finishers: Vec<Finish>) {
        self.state = tentative;
        self.dirty = true;
        self.shared.published.send_replace(Arc::new(self.state.clone()));
        finishers.into_iter().for_each(|finish| finish(Ok(())));
    }

    /// Writes a snapshot; a failure costs recovery time, nothing else.
    async fn snapshot(&mut self) {
        let Some(mut log) = self.log.take() else { return };
        let state = self.state.clone();
        let done = spawn_blocking(move || {
            let result = log.snapshot(&state.encode_snapshot());
            (log, result)
        })
        .await;
        match done {
            Ok((log, result)) => {
                self.log = Some(log);
                match result {
                    Ok(()) => self.dirty = false,
                    Err(error) => tracing::warn!(ownable = %self.shared.id, %error, "a snapshot could not be written"),
                }
            }
            Err(_) => tracing::error!(ownable = %self.shared.id, "the snapshot thread panicked"),
        }
    }
}

/// Changes on their way into one batch.
struct Gathered<S> {
    tentative: S,
    batch: Batch,
    finishers: Vec<Finish>,
}

/// Writes and syncs a batch. If that fails, the log comes back only if it holds exactly what it held before.
fn write_batch(mut log: Log<RealFs>, batch: Batch) -> (Option<Log<RealFs>>, Result<Synced, WriteError>) {
    let before = log.seq();
    let error = match log.write(batch).and_then(|appended| log.sync(appended)) {
        Ok(synced) => return (Some(log), Ok(synced)),
        Err(error) => error,
    };
    if matches!(error, WriteError::Stale) {
        return (None, Err(error));
    }
    if !log.is_poisoned() {
        return (Some(log), Err(error));
    }
    let reopened = log.reopen().ok().filter(|(_, recovered)| recovered.report.seq == before);
    (reopened.map(|(log, _)| log), Err(error))
}

fn refuse(finishers: Vec<Finish>, error: CommitError) {
    for finish in finishers {
        finish(Err(error));
    }
}
