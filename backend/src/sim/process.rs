//! One simulated process of a member: its way to a seat, its seat, its tick, and the workers of its accounts.

use std::collections::{BTreeMap, VecDeque};

use crate::cluster::{Epoch, Incarnation, Joining, Moment, OwnableId, Peer, Seat, Slots, TickName};

use super::world::Happening;

/// What the scheduler does with a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    Runs,
    /// Frozen; what happens to it waits.
    Sleeps,
    /// Gone. A killed process's sockets close; a crashed host says nothing.
    Dead,
}

/// A worker's state; at most one thing is under way for an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    Claiming {
        request: u64,
    },
    Opening {
        epoch: Epoch,
    },
    Open {
        epoch: Epoch,
    },
    Writing {
        epoch: Epoch,
        write: u64,
    },
    /// Synced; waits for a tick begun from now on.
    Synced {
        epoch: Epoch,
        write: u64,
    },
    /// A tick that may acknowledge it is under way.
    Validating {
        epoch: Epoch,
        write: u64,
    },
}

impl Work {
    /// The epoch held, if one is.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Claiming { .. } => None,
            Self::Opening { epoch }
            | Self::Open { epoch }
            | Self::Writing { epoch, .. }
            | Self::Synced { epoch, .. }
            | Self::Validating { epoch, .. } => Some(*epoch),
        }
    }
}

/// One run of a member.
#[derive(Debug)]
pub struct Process {
    pub member: usize,
    pub pulse: Pulse,
    /// What waits for it to wake up.
    pub deferred: VecDeque<Happening>,
    pub joining: Option<Joining>,
    pub peer: Option<Peer>,
    pub seat: Option<Box<Seat>>,
    /// Guards against timers that were set before a later one.
    pub timer: u64,
    pub tick: Ticking,
    pub lease: Option<Moment>,
    pub work: BTreeMap<OwnableId, Work>,
    pub recalled: Vec<OwnableId>,
    /// Its file operations take no effect until then.
    pub stalled_until: Moment,
    /// The file operations that wait for the end of a stall.
    pub stuck: Vec<Happening>,
    pub leaving: bool,
}

/// The tick's own state.
#[derive(Debug, Default)]
pub struct Ticking {
    pub name: TickName,
    pub sees: Slots,
    pub under_way: bool,
    pub last_begun: Moment,
    pub generation: u64,
}

impl Process {
    pub fn new(member: usize, joining: Joining) -> Self {
        Self {
            member,
            pulse: Pulse::Runs,
            deferred: VecDeque::new(),
            joining: Some(joining),
            peer: None,
            seat: None,
            timer: 0,
            tick: Ticking::default(),
            lease: None,
            work: BTreeMap::new(),
            recalled: Vec::new(),
            stalled_until: Moment::default(),
            stuck: Vec::new(),
            leaving: false,
        }
    }

    pub fn incarnation(&self) -> Option<&Incarnation> {
        self.peer.as_ref().map(|peer| &peer.incarnation)
    }
}
