//! I14: when all faults have stopped, every account answers at every member within five seconds: it is read there, or the
//! member names an owner that serves it. A member that hangs in its start answers nothing, and keeps nobody else from it.
//! Seconds are those of the slowest clock, for it is on their own clocks that members wait for one another.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::cluster::{Moment, OwnableId};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take where clocks are off by as much as `drift` thousandths.
pub fn patience(drift: u64) -> Duration {
    let micros = PATIENCE.as_micros() as u64 * 1000 / (1000 - drift);
    Duration::from_micros(micros)
}

/// When each account was first answered for at each member since the peace.
#[derive(Debug, Default)]
pub struct Answers {
    peace: Option<Moment>,
    first: BTreeMap<(usize, OwnableId), Moment>,
    /// Members whose start hangs on the storage.
    hung: BTreeSet<usize>,
}

impl Answers {
    pub fn on_peace(&mut self, now: Moment) {
        self.peace = Some(now);
    }

    pub fn on_hung(&mut self, member: usize) {
        self.hung.insert(member);
    }

    pub fn on_answer(&mut self, member: usize, ownable: OwnableId, now: Moment) {
        if self.peace.is_some() {
            self.first.entry((member, ownable)).or_insert(now);
        }
    }

    pub fn check(&self, patience: Duration, members: usize, ownables: &[OwnableId]) {
        let Some(peace) = self.peace else { return };
        for ownable in ownables {
            for member in (0..members).filter(|member| !self.hung.contains(member)) {
                let first = self.first.get(&(member, *ownable)).map(|first| first.since(peace));
                assert!(
                    first.is_some_and(|first| first <= patience),
                    "every account answers within {patience:?} of peace: member {member}, {ownable}: {first:?} (I14)"
                );
            }
        }
    }
}
