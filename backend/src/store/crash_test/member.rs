//! A member that does with its log what a worker does, and tells the witness of every promise it makes.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::witness::{Violation, Witness};
use crate::store::{Batch, BodyRef, Contents, Limits, Log, OpenError, Recovered, SimulatedFs, Upkeep, WriteError};

pub const DIR: &str = "/accounts/a";

/// What is done to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A batch of changes with bodies of these kinds.
    Commit(&'static [Body]),
    /// A snapshot, and with it rotation and compaction.
    Snapshot,
    /// A snapshot that is written while a batch is.
    SnapshotBeside(&'static [Body]),
    /// The oldest bodies go, this many.
    Expunge(usize),
    /// The ownership ends in order, and another begins.
    Release,
    /// The process dies, and another owner comes.
    Die,
}

/// How long a change's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    Short,
    /// Longer than a sector.
    Medium,
    /// In a file of its own, and longer than a page.
    Long,
}

impl Body {
    fn bytes(self, change: &str) -> Option<Vec<u8>> {
        let length = match self {
            Self::None => return None,
            Self::Short => 20,
            Self::Medium => 700,
            Self::Long => 5000,
        };
        Some(change.bytes().cycle().take(length).collect())
    }
}

/// A mistake of the worker, to see that it is caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// It promises before the sync.
    PromiseBeforeSync,
    /// It promises without having been found to be the owner after the sync.
    PromiseWithoutTick,
    /// It shows what it has read without a tick.
    ShowWithoutTick,
}

/// The part of the cluster that matters to a log: whose ticks succeed, and who saw what.
#[derive(Debug, Default)]
pub struct Outside {
    pub epoch: u128,
    pub witness: Witness,
    pub haste: Option<Haste>,
    pub violation: Option<Violation>,
}

pub type Shared = Arc<Mutex<Outside>>;

/// Why a member has stopped.
#[derive(Debug)]
pub enum Stop {
    /// It is not the owner any more, or nothing works any more.
    Over,
    Violation(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// A member with its ownable open.
pub struct Member {
    fs: SimulatedFs,
    outside: Shared,
    epoch: u128,
    log: Option<Log<SimulatedFs>>,
    state: Mail,
    changes: u32,
}

/// All changes so far, each with its body if that is still needed.
#[derive(Debug, Clone, Default)]
pub struct Mail(Vec<(String, Option<BodyRef>)>);

/// How the change begins that takes a body away.
const EXPUNGE: &str = "expunge ";

impl Mail {
    fn apply(&mut self, change: String, body: Option<BodyRef>) {
        if let Some(gone) = change.strip_prefix(EXPUNGE).and_then(|rest| rest.split_once(' ')).map(|(_, name)| name) {
            let entry = self.0.iter_mut().find(|(name, _)| name == gone).unwrap();
            assert!(entry.1.take().is_some(), "{gone} went before");
        }
        self.0.push((change, body));
    }

    pub fn bodies(&self) -> Vec<BodyRef> {
        self.0.iter().filter_map(|(_, body)| *body).collect()
    }
}

impl Contents for Mail {
    fn encode_snapshot(&self, place: &dyn Fn(BodyRef) -> BodyRef) -> Vec<u8> {
        let placed: Vec<_> = self.0.iter().map(|(change, body)| (change, body.map(place))).collect();
        postcard::to_stdvec(&placed).unwrap()
    }

    fn for_each_body(&self, visit: &mut dyn FnMut(BodyRef)) {
        self.bodies().into_iter().for_each(visit);
    }

    fn body_bytes(&self) -> u64 {
        self.bodies().iter().map(BodyRef::len).sum()
    }
}

/// Small, so that a few steps fill a segment.
fn limits() -> Limits {
    let inline_body_bytes = 1000;
    Limits {
        segment_bytes: 1200,
        snapshot_bytes: 1,
        snapshot_records: 1,
        inline_body_bytes,
        reclaim_bytes: 1000,
        ..Limits::default()
    }
}

impl Member {
    /// Is granted the next epoch, which ends everybody else's, and opens the log.
    pub fn claim(fs: &SimulatedFs, outside: &Shared) -> Result<Self, Stop> {
        let epoch = {
            let mut outside = outside.lock();
            outside.epoch += 1;
            outside.epoch
        };
        Self::open(fs, outside, epoch)
    }

    fn open(fs: &SimulatedFs, outside: &Shared, epoch: u128) -> Result<Self, Stop> {
        let mut member =
            Self { fs: fs.clone(), outside: Arc::clone(outside), epoch, log: None, state: Mail::default(), changes: 0 };
        let opened = Log::open_with(Arc::new(fs.clone()), Path::new(DIR), epoch, limits());
        member.adopt(opened)?;
        Ok(member)
    }

    /// Does all steps, unless something stops it.
    pub fn run(mut self, steps: &[Step]) -> Result<Self, Stop> {
        for step in steps {
            self = self.step(*step)?;
        }
        Ok(self)
    }

    pub fn step(mut self, step: Step) -> Result<Self, Stop> {
        match step {
            Step::Commit(bodies) => self.commit(bodies)?,
            Step::Snapshot => self.snapshot(&[])?,
            Step::SnapshotBeside(bodies) => self.snapshot(bodies)?,
            Step::Expunge(count) => self.expunge(count)?,
            Step::Release => {
                if let Some(log) = self.log.take() {
                    log.close();
                }
                return Self::claim(&self.fs, &self.outside);
            }
            Step::Die => return Self::claim(&self.fs, &self.outside),
        }
        Ok(self)
    }

    fn commit(&mut self, bodies: &[Body]) -> Result<(), Stop> {
        let (epoch, first) = (self.epoch, self.changes);
        let named = bodies.iter().zip(first..).map(|(body, number)| {
            let name = format!("{epoch}-{number}-{body:?}");
            let bytes = body.bytes(&name);
            (name, bytes)
        });
        let changes = named.collect();
        self.changes += bodies.len() as u32;
        self.attempt(changes)
    }

    fn expunge(&mut self, count: usize) -> Result<(), Stop> {
        let (epoch, first) = (self.epoch, self.changes);
        let living = self.state.0.iter().filter(|(_, body)| body.is_some()).take(count);
        let changes: Vec<_> = living
            .zip(first..)
            .map(|((name, _), number)| (format!("{EXPUNGE}{epoch}-{number} {name}"), None))
            .collect();
        self.changes += changes.len() as u32;
        if changes.is_empty() { Ok(()) } else { self.attempt(changes) }
    }

    fn attempt(&mut self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), Stop> {
        let names: Vec<String> = changes.iter().map(|(name, _)| name.clone()).collect();
        self.outside.lock().witness.attempt(&names);
        let mut after = self.state.clone();
        let written = self.write(|batch| {
            for (change, body) in &changes {
                let body = batch.push(change.as_bytes(), body.as_deref());
                after.apply(change.clone(), body);
            }
            after
        });
        match written {
            Ok(()) => Ok(()),
            Err(WriteError::Stale) => Err(Stop::Over),
            Err(WriteError::Full(_) | WriteError::Io(_)) => self.mend(),
        }
    }

    fn write(&mut self, fill: impl FnOnce(&mut Batch) -> Mail) -> Result<(), WriteError> {
        let Some(log) = &mut self.log else { return Err(WriteError::Stale) };
        let mut batch = log.batch();
        let after = fill(&mut batch);
        let appended = log.write(batch)?;
        if self.outside.lock().haste == Some(Haste::PromiseBeforeSync) {
            self.show(&after);
        }
        let Some(log) = &mut self.log else { return Err(WriteError::Stale) };
        let synced = log.sync(appended)?;
        let hasty = self.outside.lock().haste == Some(Haste::PromiseWithoutTick);
        if !hasty && !self.is_owner() {
            return Err(WriteError::Stale);
        }
        if let Some(log) = &mut self.log {
            log.validated(synced);
        }
        self.state = after;
        let state = self.state.clone();
        self.show(&state);
        Ok(())
    }

    /// A snapshot, with a batch committed while it is being written, and all the upkeep that comes of it.
    fn snapshot(&mut self, beside: &[Body]) -> Result<(), Stop> {
        let mut beside = Some(beside).filter(|bodies| !bodies.is_empty());
        loop {
            let Some(log) = &mut self.log else { return Err(Stop::Over) };
            if log.is_poisoned() {
                return self.mend();
            }
            let state = self.state.clone();
            let Some(job) = log.begin_snapshot() else { return Ok(()) };
            if let Some(bodies) = beside.take() {
                self.commit(bodies)?;
            }
            let Some(log) = &mut self.log else { return Err(Stop::Over) };
            let upkeep = match log.end_snapshot(job.run(&state)) {
                Ok(Some(upkeep)) => upkeep,
                Ok(None) => return Ok(()),
                Err(WriteError::Stale) => return Err(Stop::Over),
                Err(WriteError::Full(_) | WriteError::Io(_)) => return self.mend(),
            };
            match self.maintain(&upkeep) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(WriteError::Stale) => return Err(Stop::Over),
                Err(WriteError::Full(_) | WriteError::Io(_)) => return self.mend(),
            }
        }
    }

    /// Moves bodies, one in a batch, then marks the end. Says whether another snapshot is due.
    fn maintain(&mut self, upkeep: &Upkeep) -> Result<bool, WriteError> {
        let state = self.state.clone();
        for body in &upkeep.moves {
            let Some(log) = &self.log else { return Err(WriteError::Stale) };
            let bytes = log.reader().read(*body, 0..body.len()).map_err(WriteError::Io)?;
            self.write(|batch| {
                batch.push_moved(*body, &bytes);
                state.clone()
            })?;
        }
        self.write(|batch| {
            batch.push_mark(upkeep);
            state.clone()
        })?;
        Ok(upkeep.ends_with_snapshot)
    }

    /// Goes on after a failure, with a smaller batch or with the log opened again.
    fn mend(&mut self) -> Result<(), Stop> {
        let Some(log) = self.log.take() else { return Err(Stop::Over) };
        if !log.is_poisoned() {
            self.log = Some(log);
            return self.commit(&[Body::None]);
        }
        let reopened = log.reopen();
        self.adopt(reopened)
    }

    fn adopt(&mut self, opened: Result<(Log<SimulatedFs>, Recovered), OpenError>) -> Result<(), Stop> {
        match opened {
            Ok((log, recovered)) => {
                self.state = decode(&recovered);
                match self.check_bodies(&log) {
                    // Who is not the owner any more may find files deleted; it shows nothing.
                    Err(Stop::Violation(_)) if !self.is_owner() => return Err(Stop::Over),
                    checked => checked?,
                }
                self.log = Some(log);
            }
            Err(OpenError::Stale | OpenError::Io(_)) => return Err(Stop::Over),
            Err(error @ (OpenError::Quarantined(_) | OpenError::Newer(_))) => {
                return Err(Violation(format!("{error}: {:?}", std::error::Error::source(&error))).into());
            }
        }
        let hasty = self.outside.lock().haste == Some(Haste::ShowWithoutTick);
        if !hasty && !self.is_owner() {
            return Err(Stop::Over);
        }
        let state = self.state.clone();
        self.show(&state);
        Ok(())
    }

    fn check_bodies(&self, log: &Log<SimulatedFs>) -> Result<(), Stop> {
        for (change, body) in &self.state.0 {
            if change.starts_with(EXPUNGE) || body.is_none() && self.is_expunged(change) {
                continue;
            }
            let kind = [Body::None, Body::Short, Body::Medium, Body::Long]
                .into_iter()
                .find(|kind| change.ends_with(&format!("{kind:?}")))
                .unwrap_or(Body::None);
            let expected = kind.bytes(change);
            let read = match body.map(|body| log.reader().read(body, 0..body.len())).transpose() {
                Ok(read) => read,
                // What the disk refuses to read now is not lost, and nothing is shown.
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => {
                    return Err(Stop::Over);
                }
                Err(error) => return Err(Violation(format!("the body of {change}: {error}")).into()),
            };
            if read != expected {
                return Err(Violation(format!("the body of {change} is another")).into());
            }
        }
        Ok(())
    }

    fn is_expunged(&self, name: &str) -> bool {
        self.state.0.iter().any(|(change, _)| change.starts_with(EXPUNGE) && change.ends_with(&format!(" {name}")))
    }

    /// The tick: it succeeds for the owner alone, and not without power.
    fn is_owner(&self) -> bool {
        self.outside.lock().epoch == self.epoch && self.fs.has_power()
    }

    fn show(&self, state: &Mail) {
        let changes: Vec<String> = state.0.iter().map(|(change, _)| change.clone()).collect();
        let mut outside = self.outside.lock();
        if let Err(violation) = outside.witness.show(&changes) {
            outside.violation.get_or_insert(violation);
        }
    }
}

/// The state that a log tells.
pub fn decode(recovered: &Recovered) -> Mail {
    let mut state =
        Mail(recovered.snapshot.as_ref().map(|state| postcard::from_bytes(state).unwrap()).unwrap_or_default());
    for record in &recovered.records {
        state.apply(String::from_utf8(record.payload.clone()).unwrap(), record.body);
    }
    state
}
