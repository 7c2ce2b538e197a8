//! One task per owned thing: it takes the steps of a [`Worker`] on the real filesystem.
//!
//! What is done when is decided by [`crate::worker`]; here are the queue of work, the threads that may block, the deadlines,
//! and the handles of sessions. Readers never ask the task: they read the published value.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Epoch, Grant, Moment, OwnableId},
    drive::{
        control::{self, ClusterHandle, Fenced},
        lanes::PATIENCE,
        storage::Storage,
    },
    store::{Batch, BodyRef, Reader, fs::RealFs},
    worker::{
        Closing, CommitError, End, Job, RecoverError, ReplayError, Snapshotted, State, Step, Tidied, Tidy, Worker,
        WorkerTiming, Write, Written, recover,
    },
};

/// Pieces of work that wait for one worker at most; more is refused as busy.
const JOBS_MAX: usize = 4096;

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
    storage: Storage,
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

impl<S: State> Owned<S> {
    /// Recovers what the grant is for and starts its worker. `prepare` tells the state what is not in its log.
    ///
    /// # Errors
    /// The log is damaged, unreadable, or this member was fenced meanwhile. The caller gives the grant back.
    pub async fn open(
        fs: Arc<RealFs>,
        storage: &Storage,
        grant: Grant,
        cluster: ClusterHandle,
        timing: WorkerTiming,
        prepare: impl FnOnce(&mut S) + Send + 'static,
    ) -> Result<Self, RecoverError> {
        let (id, epoch) = (grant.ownable(), grant.epoch());
        let directory = storage.path().join(id.path());
        let level = storage.level();
        let recovery = spawn_blocking(move || recover::<S, _>(fs, &directory, id, epoch, level))
            .await
            .map_err(|_| ReplayError("the recovery panicked".into()))??;
        let reader = recovery.reader();
        cluster.validate().await.map_err(|_| RecoverError::Fenced)?;
        let worker = recovery.validated(control::now(), timing, prepare);
        let (jobs, inbox) = mpsc::channel(JOBS_MAX);
        let shared = Arc::new(Shared {
            id,
            epoch,
            jobs,
            published: watch::Sender::new(Arc::new(worker.state().clone())),
            reader,
            storage: storage.clone(),
            passes: AtomicUsize::new(0),
            pass_left: Notify::new(),
            draining: AtomicBool::new(false),
            drain: CancellationToken::new(),
            closed: CancellationToken::new(),
            exclusive: AtomicBool::new(false),
            entered: AtomicBool::new(false),
        });
        let driver = Driver {
            shared: Arc::clone(&shared),
            worker,
            inbox,
            cluster,
            timing,
            is_recalled: false,
            tick: None,
            snapshot: None,
        };
        tokio::spawn(driver.run());
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

    /// Reads the bytes of `range` within a body: at once if they are in memory, else on a thread that may block.
    ///
    /// # Errors
    /// See [`Reader::read`].
    pub async fn read(&self, body: BodyRef, range: Range<u64>) -> io::Result<Vec<u8>> {
        if let Some(bytes) = self.shared.reader.read_cached(body, range.clone()) {
            return Ok(bytes);
        }
        let reader = self.shared.reader.clone();
        spawn_blocking(move || reader.read(body, range)).await.unwrap_or_else(|lost| Err(io::Error::other(lost)))
    }

    /// Whether the storage has room for so many bytes of new mail. What frees room may be written without it.
    #[must_use]
    pub fn admits(&self, bytes: u64) -> bool {
        self.shared.storage.admit(bytes)
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

    /// The same, if nobody is in here now; says whether that was so.
    #[must_use]
    pub fn recall_unused(&self) -> bool {
        let is_unused = self.passes() == 0;
        if is_unused {
            self.recall();
        }
        is_unused
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

/// The worker and what it needs to act.
struct Driver<S: State> {
    shared: Arc<Shared<S>>,
    worker: Worker<S, RealFs>,
    inbox: mpsc::Receiver<Job<S>>,
    cluster: ClusterHandle,
    timing: WorkerTiming,
    is_recalled: bool,
    /// What became of the tick after the batch that was written last.
    tick: Option<Result<(), Fenced>>,
    /// The snapshot that is being written.
    snapshot: Option<JoinHandle<Snapshotted>>,
}

impl<S: State> Driver<S> {
    /// Takes one step of the worker after the other.
    async fn run(mut self) {
        let mut step = self.rest();
        let mut commit_begun = Instant::now();
        loop {
            step = match step {
                Step::Rest(until) => self.wait(until).await,
                Step::Shut => self.shut(),
                Step::Write(write) => {
                    commit_begun = Instant::now();
                    self.write(write).await
                }
                Step::Validate => {
                    self.worker.validated(self.tick.take().unwrap_or(Err(Fenced)).map_err(|_| CommitError::Fenced))
                }
                Step::Show(answers) => {
                    metrics::histogram!("laniakea_member_commit_seconds").record(commit_begun.elapsed().as_secs_f64());
                    metrics::histogram!("laniakea_member_commit_jobs").record(answers.count() as f64);
                    self.shared.published.send_replace(Arc::new(self.worker.state().clone()));
                    answers.give();
                    self.rest()
                }
                Step::Tell(answers) => {
                    answers.give();
                    self.rest()
                }
                Step::Snapshot(snapshot) => {
                    self.snapshot = Some(spawn_blocking(move || snapshot.run()));
                    self.rest()
                }
                Step::Tidy(tidy) => self.tidy(tidy).await,
                Step::Close(end, closing) => return self.close(end, closing).await,
            }
        }
    }

    fn rest(&mut self) -> Step<S, RealFs> {
        self.worker.rest(control::now(), self.shared.passes.load(Ordering::Acquire))
    }

    async fn wait(&mut self, until: Moment) -> Step<S, RealFs> {
        tokio::select! {
            biased;
            snapshotted = ended(&mut self.snapshot) => self.worker.snapshotted(snapshotted),
            job = self.inbox.recv() => match job {
                Some(job) => return self.worker.work(control::now(), job, || self.inbox.try_recv().ok()),
                None => self.shared.drain.cancel(),
            },
            () = self.shared.drain.cancelled(), if !self.is_recalled => {
                self.is_recalled = true;
                self.worker.recalled(control::now());
            }
            () = self.shared.pass_left.notified() => self.worker.left(control::now()),
            () = sleep(until.since(control::now())) => {}
        }
        self.rest()
    }

    /// Closes the door; opens it again if somebody slipped in.
    fn shut(&mut self) -> Step<S, RealFs> {
        self.shared.draining.store(true, Ordering::SeqCst);
        let passes = self.shared.passes.load(Ordering::SeqCst);
        let step = self.worker.shut(control::now(), passes, !self.inbox.is_empty());
        if matches!(step, Step::Rest(_)) {
            self.shared.draining.store(false, Ordering::SeqCst);
        }
        step
    }

    /// Writes, and once that is synced waits for a tick, with one way to another thread and one back.
    async fn write(&mut self, write: Box<Write<RealFs>>) -> Step<S, RealFs> {
        let (done, outcome) = oneshot::channel();
        let cluster = self.cluster.clone();
        self.shared.storage.lanes().run(move |lanes| {
            if done.is_closed() {
                // It waited for so long that the ownership is being given back.
                return;
            }
            let written = write.run();
            if written.error().is_some() {
                let _ = done.send((written, None));
            } else {
                cluster.validate_when_due(move |tick| {
                    let _ = done.send((written, Some(tick)));
                });
            }
            if !lanes.has_work() {
                cluster.hurry();
            }
        });
        // Not waited for beyond the deadline; a panic drops `done`.
        let outcome = timeout(self.timing.commit, self.hurrying(outcome)).await;
        let (written, tick) = outcome.ok().flatten().map_or((None, None), |(written, tick)| (Some(written), tick));
        self.tick = tick;
        if let Some(error) = written.as_ref().and_then(Written::error) {
            tracing::error!(ownable = %self.shared.id, %error, "a batch could not be written");
        }
        self.worker.written(written)
    }

    /// Waits for the outcome of a commit, and speaks up from time to time, ever more rarely.
    async fn hurrying<T>(&mut self, mut outcome: oneshot::Receiver<T>) -> Option<T> {
        let mut patience = PATIENCE;
        loop {
            match timeout(patience, &mut outcome).await {
                Ok(outcome) => return outcome.ok(),
                Err(_) => {
                    self.shared.storage.lanes().hurry();
                    self.cluster.hurry();
                    patience *= 2;
                }
            }
        }
    }

    async fn tidy(&mut self, tidy: Box<Tidy<RealFs>>) -> Step<S, RealFs> {
        let tidied = timeout(self.timing.commit, spawn_blocking(move || tidy.run())).await;
        let tidied = tidied.ok().and_then(Result::ok);
        if let Some(error) = tidied.as_ref().and_then(Tidied::error) {
            tracing::warn!(ownable = %self.shared.id, %error, "a snapshot, or the segment after it, could not be written");
        }
        self.worker.tidied(tidied);
        self.rest()
    }

    async fn close(mut self, end: End, closing: Box<Closing<RealFs>>) {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.inbox.close();
        // Refused without being run: the answer channels are dropped with the jobs.
        while self.inbox.try_recv().is_ok() {}
        match end {
            End::Failed(error) => {
                tracing::error!(ownable = %self.shared.id, %error, "gave up an ownership after a failed commit");
            }
            End::Idle | End::Recalled => tracing::debug!(ownable = %self.shared.id, ?end, "gave an ownership back"),
        }
        let _ = spawn_blocking(move || closing.run()).await;
        // Sessions first: none may show anything once somebody else can be the owner.
        self.shared.closed.cancel();
        self.cluster.release(self.shared.id, self.shared.epoch);
    }
}

/// Waits for the end of the snapshot that is being written; for ever without one.
async fn ended(snapshot: &mut Option<JoinHandle<Snapshotted>>) -> Snapshotted {
    let Some(task) = snapshot else { return std::future::pending().await };
    let ended = task.await;
    *snapshot = None;
    ended.unwrap_or_else(|_| Snapshotted::lost())
}
