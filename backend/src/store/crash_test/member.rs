//! A member that does with its log what a worker does, and tells the witness of every promise it makes.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::witness::{Violation, Witness};
use crate::store::{BodyRef, Limits, Log, OpenError, Recovered, SimulatedFs, WriteError};

pub const DIR: &str = "/accounts/a";

/// What is done to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A batch of changes with bodies of these kinds.
    Commit(&'static [Body]),
    /// A snapshot, and with it rotation.
    Snapshot,
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
    state: Vec<(String, Option<BodyRef>)>,
    changes: u32,
}

/// Small, so that a few steps fill a segment.
fn limits() -> Limits {
    Limits { segment_bytes: 1200, snapshot_bytes: 1, snapshot_records: 1, inline_body_bytes: 1000 }
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
            Self { fs: fs.clone(), outside: Arc::clone(outside), epoch, log: None, state: Vec::new(), changes: 0 };
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
            Step::Snapshot => self.snapshot()?,
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
        let named = bodies.iter().zip(first..).map(|(body, number)| (format!("{epoch}-{number}-{body:?}"), *body));
        let changes: Vec<(String, Body)> = named.collect();
        self.changes += bodies.len() as u32;
        let names: Vec<String> = changes.iter().map(|(name, _)| name.clone()).collect();
        self.outside.lock().witness.attempt(&names);
        match self.write(&changes) {
            Ok(()) => Ok(()),
            Err(WriteError::Stale) => Err(Stop::Over),
            Err(WriteError::Full(_) | WriteError::Io(_)) => self.mend(),
        }
    }

    fn write(&mut self, changes: &[(String, Body)]) -> Result<(), WriteError> {
        let Some(log) = &mut self.log else { return Err(WriteError::Stale) };
        let mut batch = log.batch();
        let mut after = self.state.clone();
        for (change, body) in changes {
            let body = batch.push(change.as_bytes(), body.bytes(change).as_deref());
            after.push((change.clone(), body));
        }
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

    fn snapshot(&mut self) -> Result<(), Stop> {
        let state = postcard::to_stdvec(&self.state).unwrap();
        let Some(log) = &mut self.log else { return Err(Stop::Over) };
        match log.snapshot(&state) {
            Ok(()) => Ok(()),
            Err(WriteError::Stale) => Err(Stop::Over),
            Err(WriteError::Full(_) | WriteError::Io(_)) => self.mend(),
        }
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
                self.check_bodies(&log)?;
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
        for (change, body) in &self.state {
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

    /// The tick: it succeeds for the owner alone, and not without power.
    fn is_owner(&self) -> bool {
        self.outside.lock().epoch == self.epoch && self.fs.has_power()
    }

    fn show(&self, state: &[(String, Option<BodyRef>)]) {
        let changes: Vec<String> = state.iter().map(|(change, _)| change.clone()).collect();
        let mut outside = self.outside.lock();
        if let Err(violation) = outside.witness.show(&changes) {
            outside.violation.get_or_insert(violation);
        }
    }
}

fn decode(recovered: &Recovered) -> Vec<(String, Option<BodyRef>)> {
    let mut state: Vec<(String, Option<BodyRef>)> =
        recovered.snapshot.as_ref().map(|state| postcard::from_bytes(state).unwrap()).unwrap_or_default();
    let change = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    state.extend(recovered.records.iter().map(|record| (change(&record.payload), record.body)));
    state
}
