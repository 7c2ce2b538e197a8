//! One simulated process of a member: its way to a seat, its seat, its tick, and the workers of what it owns.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    cluster::{Epoch, Incarnation, Joining, Moment, OwnableId, Peer, Seat, Slots, TickName},
    drive::arbiter::FileArbiter,
    mailbox::Account,
    queue::Queue,
    store::SimulatedFs,
    worker::{Job, Recovery, State, Worker},
};

use super::world::{Happening, ReadTicket, Stranger};

/// What the scheduler does with a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    Runs,
    /// Frozen; what happens to it waits.
    Sleeps,
    /// Gone. A killed process's sockets close; a crashed host says nothing.
    Dead,
}

/// How far this process has come with something it wants or owns.
pub enum Work<S: State> {
    Claiming {
        request: u64,
    },
    /// Granted: the log is being opened, or waits for a tick begun since.
    Recovering {
        epoch: Epoch,
        recovery: Option<Box<Recovery<S, SimulatedFs>>>,
        /// It is to be given back as soon as it is open.
        recalled: bool,
    },
    Open(Box<Open<S>>),
}

/// A worker and what its driver would hold.
pub struct Open<S: State> {
    pub epoch: Epoch,
    pub worker: Worker<S, SimulatedFs>,
    /// What sessions see.
    pub shown: S,
    pub inbox: VecDeque<Job<S>>,
    pub guests: usize,
    pub phase: Phase,
    /// Another one in each phase, so that late timers and answers are known to be late.
    pub generation: u64,
}

/// What the worker waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Resting,
    Writing,
    Validating,
    /// A snapshot or the end of the log.
    Tidying,
    Closing,
}

impl<S: State> Work<S> {
    /// Whether its worker takes work.
    pub fn takes_work(&self) -> bool {
        matches!(self, Self::Open(open) if open.phase != Phase::Closing)
    }

    /// The phase of its worker, if there is one.
    fn generation(&self) -> Option<u64> {
        match self {
            Self::Claiming { .. } | Self::Recovering { .. } => None,
            Self::Open(open) => Some(open.generation),
        }
    }

    /// The epoch held, if one is.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Claiming { .. } => None,
            Self::Recovering { epoch, .. } => Some(*epoch),
            Self::Open(open) => Some(open.epoch),
        }
    }
}

/// A clock that runs at its own speed.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Thousandths of the true speed.
    pub speed: u64,
    /// When it was last set, in true time and on itself.
    pub since: (Moment, Moment),
}

impl Clock {
    /// What it shows.
    pub fn read(&self, now: Moment) -> Moment {
        let span = now.since(self.since.0).as_micros() as u64;
        self.since.1 + Duration::from_micros(span * self.speed / 1000)
    }

    /// How long a span on it takes.
    pub fn true_span(&self, span: Duration) -> Duration {
        Duration::from_micros((span.as_micros() as u64).saturating_mul(1000) / self.speed + 1)
    }
}

/// Who waits for a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiter {
    Recovery(OwnableId, Epoch),
    Commit(OwnableId, u64),
    Read(ReadTicket),
}

/// One run of a member.
pub struct Process {
    pub host: usize,
    pub pulse: Pulse,
    pub fs: SimulatedFs,
    pub arbiter: Arc<FileArbiter<SimulatedFs>>,
    pub clock: Clock,
    /// What waits for it to wake up.
    pub deferred: VecDeque<Happening>,
    pub joining: Option<Joining>,
    pub peer: Option<Peer>,
    pub seat: Option<Box<Seat>>,
    /// Guards against timers that were set before a later one.
    pub timer: u64,
    pub tick: Ticking,
    pub lease: Option<Moment>,
    pub accounts: BTreeMap<OwnableId, Work<Account>>,
    pub shards: BTreeMap<OwnableId, Work<Queue>>,
    /// Its file operations take no effect until then.
    pub stalled_until: Moment,
    /// The file operations that wait for the end of a stall.
    pub stuck: Vec<Happening>,
    pub leaving: bool,
    /// Who is connected and has not logged in.
    pub strangers: BTreeMap<u64, Stranger>,
    /// Counts what clients have asked it for since all is well.
    pub picks: u64,
}

/// The tick's own state.
#[derive(Debug, Default)]
pub struct Ticking {
    pub name: TickName,
    pub sees: Slots,
    /// The fellows should soon read something new.
    pub is_news: bool,
    pub under_way: bool,
    pub last_begun: Moment,
    /// The same, counted in events.
    pub begun_at_event: u64,
    pub generation: u64,
    /// Waits for a tick that is yet to begin.
    pub waiting: Vec<Waiter>,
    /// Is satisfied by the tick under way.
    pub satisfied: Vec<Waiter>,
}

impl Process {
    pub fn incarnation(&self) -> Option<&Incarnation> {
        self.peer.as_ref().map(|peer| &peer.incarnation)
    }

    /// What it is asked for next when it is asked for everything in turn.
    pub fn next_pick(&mut self) -> u64 {
        self.picks += 1;
        self.picks
    }

    /// The epoch under which it holds something.
    pub fn epoch_of(&self, ownable: OwnableId) -> Option<Epoch> {
        match ownable {
            OwnableId::Account(_) => self.accounts.get(&ownable)?.epoch(),
            OwnableId::Queue(_) => self.shards.get(&ownable)?.epoch(),
        }
    }

    /// The phase of the worker of something it has open.
    pub fn generation_of(&self, ownable: OwnableId) -> Option<u64> {
        match ownable {
            OwnableId::Account(_) => self.accounts.get(&ownable)?.generation(),
            OwnableId::Queue(_) => self.shards.get(&ownable)?.generation(),
        }
    }

    /// Whether it serves it to sessions.
    pub fn serves(&self, ownable: OwnableId) -> bool {
        self.pulse == Pulse::Runs
            && match ownable {
                OwnableId::Account(_) => matches!(self.accounts.get(&ownable), Some(Work::Open(_))),
                OwnableId::Queue(_) => matches!(self.shards.get(&ownable), Some(Work::Open(_))),
            }
    }
}
