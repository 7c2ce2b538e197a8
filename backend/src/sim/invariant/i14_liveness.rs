//! I14: when all faults have stopped, every account answers at every member within five seconds of simulated time: it is
//! read there, or the member names an owner that serves it.

use std::{collections::BTreeMap, time::Duration};

use crate::cluster::{Moment, OwnableId};

/// How long it may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// When each account was first answered for at each member since the peace.
#[derive(Debug, Default)]
pub struct Answers {
    peace: Option<Moment>,
    first: BTreeMap<(usize, OwnableId), Moment>,
}

impl Answers {
    pub fn on_peace(&mut self, now: Moment) {
        self.peace = Some(now);
    }

    pub fn on_answer(&mut self, member: usize, ownable: OwnableId, now: Moment) {
        if self.peace.is_some() {
            self.first.entry((member, ownable)).or_insert(now);
        }
    }

    pub fn check(&self, members: usize, ownables: impl Iterator<Item = OwnableId>) {
        let Some(peace) = self.peace else { return };
        for ownable in ownables {
            for member in 0..members {
                let first = self.first.get(&(member, ownable)).map(|first| first.since(peace));
                assert!(
                    first.is_some_and(|first| first <= PATIENCE),
                    "every account answers within {PATIENCE:?} of peace: member {member}, {ownable}: {first:?} (I14)"
                );
            }
        }
    }
}
