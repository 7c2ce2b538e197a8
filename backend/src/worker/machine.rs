//! The worker as a machine: what happened comes in, what is to be done next comes out.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{Closing, CommitError, Snapshot, Snapshotted, State, Tidied, Tidy, Write, Written};
use crate::{
    cluster::Moment,
    sabotage::{self, Sabotage},
    store::{Batch, BodyRef, Fs, Log, Synced, Upkeep},
};

/// Pieces of work in one batch at most.
const BATCH_JOBS_MAX: usize = 512;
/// Bytes in one batch before it is written without waiting for more.
const BATCH_BYTES_MAX: u64 = 8 << 20;

/// Bytes of bodies that one batch of upkeep moves on: work that waits is held up by no more than that.
const UPKEEP_BYTES_MAX: u64 = 1 << 20;

/// Tells whoever asked for a piece of work what became of it.
pub type Finish = Box<dyn FnOnce(Result<(), CommitError>) + Send>;
/// A piece of work: changes the tentative state and pushes records into the batch.
pub type Job<S> = Box<dyn FnOnce(&mut S, &mut Batch) -> Finish + Send>;

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

/// Why a worker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nobody needs the ownable.
    Idle,
    /// The controller wants it back.
    Recalled,
    /// A commit failed, and what the log holds is in doubt.
    Failed(CommitError),
}

/// What is to be done next.
#[must_use = "the worker goes on only when this is done"]
pub enum Step<S: State, F: Fs> {
    /// Wait for work, for a recall, for somebody who leaves, for the end of a snapshot, or until then. Whoever was let in
    /// may stay, others may come.
    Rest(Moment),
    /// Let nobody in, and only then count who is there and tell [`Worker::shut`].
    Shut,
    /// Run it within [`WorkerTiming::commit`], then [`Worker::written`].
    Write(Box<Write<F>>),
    /// Commit rule: wait for a tick that begins now or later, [`WorkerTiming::commit`] at most; then
    /// [`Worker::validated`].
    Validate,
    /// Publish [`Worker::state`], then give the answers: whoever hears one sees the state. Then [`Worker::rest`].
    Show(Answers),
    /// Give the answers; the state is as before. Then [`Worker::rest`].
    Tell(Answers),
    /// Start it, and go on with [`Worker::rest`] at once; when it has ended, [`Worker::snapshotted`]. It may be forgotten
    /// when the worker ends.
    Snapshot(Box<Snapshot<S, F>>),
    /// Run it within [`WorkerTiming::commit`], then [`Worker::tidied`] and [`Worker::rest`].
    Tidy(Box<Tidy<F>>),
    /// Let nobody in and refuse what waits, unrun. Run it, send all sessions away, give the ownership back. The last step.
    Close(End, Box<Closing<F>>),
}

/// The answers to the work of one batch.
#[must_use = "somebody waits for them"]
pub struct Answers {
    finishers: Vec<Finish>,
    outcome: Result<(), CommitError>,
}

impl Answers {
    /// How many pieces of work are answered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.finishers.len()
    }

    /// What becomes of all of them.
    pub fn outcome(&self) -> Result<(), CommitError> {
        self.outcome
    }

    /// Gives them.
    pub fn give(self) {
        for finish in self.finishers {
            finish(self.outcome);
        }
    }
}

/// The worker of one owned thing.
pub struct Worker<S: State, F: Fs> {
    timing: WorkerTiming,
    /// The newest validated state.
    state: S,
    /// `None` while a task has it, or when it is of no use any more.
    log: Option<Log<F>>,
    commit: Option<Commit<S>>,
    /// Bodies to be moved on, a few at a time.
    upkeep: Option<Upkeep>,
    /// Upkeep was done last: whoever waits comes first now.
    kept_up: bool,
    beside: Beside,
    /// Records were written since a snapshot was last tried.
    dirty: bool,
    idle_since: Moment,
    /// Since a recall: when the grace is over.
    leave_by: Option<Moment>,
    end: Option<End>,
}

/// The snapshot that is written while work goes on. There is one at a time.
enum Beside {
    Nothing,
    Writing,
    /// The log has not been told yet.
    Ended(Box<Snapshotted>),
}

/// A batch under way.
struct Commit<S> {
    tentative: S,
    finishers: Vec<Finish>,
    synced: Option<Synced>,
}

impl<S: State, F: Fs> Worker<S, F> {
    pub(super) fn new(mut log: Log<F>, state: S, timing: WorkerTiming, now: Moment) -> Self {
        log.begin_holding(state.body_bytes());
        Self {
            timing,
            state,
            log: Some(log),
            commit: None,
            upkeep: None,
            kept_up: false,
            beside: Beside::Nothing,
            dirty: false,
            idle_since: now,
            leave_by: None,
            end: None,
        }
    }

    /// The newest validated state.
    #[must_use]
    pub fn state(&self) -> &S {
        if let Some(commit) = self.commit.as_ref().filter(|_| sabotage::on(Sabotage::ShowUnvalidated)) {
            return &commit.tentative;
        }
        &self.state
    }

    /// Reads bodies. `None` while a task has the log.
    #[must_use]
    pub fn log(&self) -> Option<&Log<F>> {
        self.log.as_ref()
    }

    /// The controller wants the ownership back.
    pub fn recalled(&mut self, now: Moment) {
        self.leave_by.get_or_insert(now + self.timing.grace);
    }

    /// Somebody has left.
    pub fn left(&mut self, now: Moment) {
        self.idle_since = now;
    }

    /// Nothing is under way; so many passes are out.
    pub fn rest(&mut self, now: Moment, passes: usize) -> Step<S, F> {
        if let Some(end) = self.end {
            return self.close(end);
        }
        if let Some(tidy) = self.tidy() {
            return tidy;
        }
        let is_due = |log: &Log<F>, held| log.snapshot_due(held);
        if let Some(snapshot) = self.snapshot_if(is_due) {
            return snapshot;
        }
        if self.leave_by.is_none() && self.upkeep.is_some() {
            self.kept_up = !self.kept_up;
            return if self.kept_up { self.keep_up() } else { Step::Rest(now) };
        }
        if passes > 0 {
            self.idle_since = now;
        }
        let (until, may_leave) = match self.leave_by {
            Some(by) => (by, passes == 0 || now >= by),
            None => (self.idle_since + self.timing.idle_release, passes == 0),
        };
        let is_time = self.leave_by.is_some() || now >= until;
        if !(may_leave && is_time) {
            return Step::Rest(until);
        }
        match self.leave_by {
            None => self.go_idle(now),
            Some(_) => Step::Shut,
        }
    }

    /// Nobody needs the ownable: who opens it next reads a snapshot instead of the changes since the last.
    fn go_idle(&mut self, now: Moment) -> Step<S, F> {
        let is_worthwhile = |log: &Log<F>, held| log.snapshot_worthwhile(held);
        match self.snapshot_if(is_worthwhile) {
            Some(snapshot) => snapshot,
            None if matches!(self.beside, Beside::Writing) => Step::Rest(now + self.timing.idle_release),
            None => Step::Shut,
        }
    }

    /// The door is shut, and this is who is inside. If the worker rests, the door opens again.
    pub fn shut(&mut self, now: Moment, passes: usize, work_waits: bool) -> Step<S, F> {
        let is_empty = passes == 0 && !work_waits;
        match self.leave_by {
            // Who does not leave in time must not cost this member all it owns.
            Some(by) if is_empty || now >= by => self.close(End::Recalled),
            Some(by) => Step::Rest(by),
            None if is_empty => self.close(End::Idle),
            None => {
                self.idle_since = now;
                Step::Rest(now + self.timing.idle_release)
            }
        }
    }

    /// One batch: the job at hand and as many of those behind it as fit.
    pub fn work(&mut self, now: Moment, first: Job<S>, mut more: impl FnMut() -> Option<Job<S>>) -> Step<S, F> {
        self.idle_since = now;
        let Some(mut log) = self.log.take() else { return self.fail(Vec::new(), CommitError::Storage) };
        let (mut tentative, mut batch, mut finishers) = (self.state.clone(), log.batch(), Vec::new());
        let mut next = Some(first);
        while let Some(job) = next {
            // After a panic the copy and the batch may be half changed: they go, and the worker with them.
            let Ok(finish) = catch_unwind(AssertUnwindSafe(|| job(&mut tentative, &mut batch))) else {
                return self.fail(finishers, CommitError::Storage);
            };
            finishers.push(finish);
            let has_room = finishers.len() < BATCH_JOBS_MAX && batch.bytes() < BATCH_BYTES_MAX;
            next = if has_room { more() } else { None };
        }
        if batch.is_empty() {
            self.log = Some(log);
            return Step::Tell(Answers { finishers, outcome: Ok(()) });
        }
        if sabotage::on(Sabotage::AnswerUnwritten) {
            std::mem::take(&mut finishers).into_iter().for_each(|finish| finish(Ok(())));
        }
        self.commit = Some(Commit { tentative, finishers, synced: None });
        Step::Write(Box::new(Write { log, batch, moves: Vec::new(), ends: None }))
    }

    /// One batch of upkeep.
    fn keep_up(&mut self) -> Step<S, F> {
        let (Some(mut upkeep), Some(mut log)) = (self.upkeep.take(), self.log.take()) else {
            return self.fail(Vec::new(), CommitError::Storage);
        };
        let mut bytes = 0;
        let fits = |body: &&BodyRef| {
            bytes += body.len();
            bytes <= UPKEEP_BYTES_MAX
        };
        let count = upkeep.moves.iter().take_while(fits).count().max(1).min(upkeep.moves.len());
        let left = upkeep.moves.split_off(count);
        let moves = std::mem::replace(&mut upkeep.moves, left);
        let ends = if upkeep.moves.is_empty() {
            Some(upkeep)
        } else {
            self.upkeep = Some(upkeep);
            None
        };
        self.commit = Some(Commit { tentative: self.state.clone(), finishers: Vec::new(), synced: None });
        let batch = log.batch();
        Step::Write(Box::new(Write { log, batch, moves, ends }))
    }

    /// The write came back; `None` if it did not in time, or panicked.
    pub fn written(&mut self, written: Option<Written<F>>) -> Step<S, F> {
        let Some(mut commit) = self.commit.take() else { return self.fail(Vec::new(), CommitError::Storage) };
        let Some(Written { log, outcome }) = written else { return self.fail(commit.finishers, CommitError::Storage) };
        match outcome {
            Ok(synced) => {
                self.log = log;
                commit.synced = Some(synced);
                self.commit = Some(commit);
                if sabotage::on(Sabotage::SkipTick) { self.validated(Ok(())) } else { Step::Validate }
            }
            Err(error) if log.is_some() => {
                // The copy is dropped and the state is as before; with a log to go on with, so is the ownership.
                self.log = log;
                // Upkeep is begun anew by a later owner.
                self.upkeep = None;
                Step::Tell(Answers { finishers: commit.finishers, outcome: Err(CommitError::from(&error)) })
            }
            Err(error) => self.fail(commit.finishers, CommitError::from(&error)),
        }
    }

    /// A tick begun after [`Step::Validate`] has succeeded, or none ever will.
    pub fn validated(&mut self, outcome: Result<(), CommitError>) -> Step<S, F> {
        let Some(Commit { tentative, finishers, synced: Some(synced) }) = self.commit.take() else {
            return self.fail(Vec::new(), CommitError::Storage);
        };
        if let Err(error) = outcome {
            return self.fail(finishers, error);
        }
        if let Some(log) = &mut self.log {
            log.validated(synced);
        }
        self.state = tentative;
        self.dirty = true;
        Step::Show(Answers { finishers, outcome: Ok(()) })
    }

    /// The snapshot has ended.
    pub fn snapshotted(&mut self, snapshotted: Snapshotted) {
        self.beside = Beside::Ended(Box::new(snapshotted));
    }

    /// What was to be tidied is; `None` if that took too long, or panicked.
    pub fn tidied(&mut self, tidied: Option<Tidied<F>>) {
        let Some(Tidied { log, outcome }) = tidied else {
            self.end = Some(End::Failed(CommitError::Storage));
            return;
        };
        self.log = log;
        match outcome {
            Ok(upkeep) => self.upkeep = upkeep.or(self.upkeep.take()),
            Err(error) if self.log.is_none() => self.end = Some(End::Failed(CommitError::from(&error))),
            // A failure costs recovery time, nothing else.
            Err(_) => {}
        }
    }

    /// The log is told of a snapshot that has ended; what nobody needs is deleted.
    fn tidy(&mut self) -> Option<Step<S, F>> {
        let ended = match std::mem::replace(&mut self.beside, Beside::Nothing) {
            Beside::Ended(snapshotted) => Some(*snapshotted),
            other => {
                self.beside = other;
                None
            }
        };
        let log = self.log.take_if(|log| ended.is_some() || log.has_useless())?;
        Some(Step::Tidy(Box::new(Tidy { log, ended })))
    }

    /// Begins a snapshot if the log, which is told how many bytes of bodies there are, finds reason to, and none is being
    /// written. One that failed is tried again only when more was written.
    fn snapshot_if(&mut self, has_reason: impl FnOnce(&Log<F>, u64) -> bool) -> Option<Step<S, F>> {
        let held = self.state.body_bytes();
        let log = self.log.as_mut().filter(|log| self.dirty && has_reason(log, held))?;
        if !matches!(self.beside, Beside::Nothing) {
            return None;
        }
        self.dirty = false;
        let job = log.begin_snapshot()?;
        self.beside = Beside::Writing;
        Some(Step::Snapshot(Box::new(Snapshot { job, state: self.state.clone() })))
    }

    fn fail(&mut self, finishers: Vec<Finish>, error: CommitError) -> Step<S, F> {
        self.log = None;
        self.end = Some(End::Failed(error));
        Step::Tell(Answers { finishers, outcome: Err(error) })
    }

    fn close(&mut self, end: End) -> Step<S, F> {
        self.end = Some(end);
        Step::Close(end, Box::new(Closing { log: self.log.take() }))
    }
}
