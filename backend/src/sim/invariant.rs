//! What must be true all the time.

use std::collections::BTreeMap;

use crate::cluster::{Epoch, Moment, OwnableId};

use super::{
    process::{Process, Pulse},
    storage::Storage,
    world::ProcessId,
};

/// Remembers what is needed to tell right from wrong.
#[derive(Debug, Default)]
pub struct Invariants {
    granted: BTreeMap<OwnableId, Epoch>,
    /// How much the run has shown.
    pub seen: Seen,
}

/// Counts of what a run has shown, so that a simulation that does nothing is noticed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    pub grants: u64,
    pub takeovers: u64,
    pub acknowledged: u64,
    pub terms: u64,
    pub fences: u64,
    pub leases: u64,
}

impl Invariants {
    /// A process was granted an ownable: nobody who may still promise anything owns it, and its epoch is the highest.
    pub fn on_grant(
        &mut self,
        owner: ProcessId,
        ownable: OwnableId,
        epoch: Epoch,
        processes: &BTreeMap<ProcessId, Process>,
        storage: &Storage,
    ) {
        let is_fenced = |process: &Process| process.incarnation().is_some_and(|one| !storage.is_alive(one));
        // A deposed controller may grant to itself until its next tick: nobody hears of it.
        if processes.get(&owner).is_some_and(is_fenced) {
            return;
        }
        let before = self.granted.insert(ownable, epoch);
        assert!(before.is_none_or(|before| before < epoch), "epochs rise: {ownable} {before:?} then {epoch} (I3)");
        self.seen.grants += 1;
        for (other, process) in processes.iter().filter(|(other, _)| **other != owner) {
            let Some(held) = process.work.get(&ownable).and_then(super::process::Work::epoch) else { continue };
            self.seen.takeovers += 1;
            assert!(
                is_fenced(process),
                "one owner: {ownable} was granted to {owner:?} under {epoch} while {other:?} {:?} holds it under {held} \
                 and is not fenced (I3)",
                process.incarnation()
            );
        }
    }

    /// A new owner opens an ownable: nobody else may still answer reads of it.
    pub fn on_open(
        &mut self,
        now: Moment,
        owner: ProcessId,
        ownable: OwnableId,
        processes: &BTreeMap<ProcessId, Process>,
    ) {
        for (other, process) in processes.iter().filter(|(other, _)| **other != owner) {
            let holds = process.work.get(&ownable).is_some_and(|work| work.epoch().is_some());
            let may_answer = process.pulse != Pulse::Dead && process.lease.is_some_and(|until| until > now);
            assert!(
                !(holds && may_answer),
                "no stale read: {ownable} is opened by {owner:?} at {now:?} while {other:?} {:?} holds a lease until {:?} (I6)",
                process.incarnation(),
                process.lease
            );
        }
    }

    /// A write was acknowledged: every later owner will find it.
    pub fn on_acknowledged(&mut self, ownable: OwnableId, write: u64, storage: &Storage) {
        self.seen.acknowledged += 1;
        assert!(storage.has_kept(ownable, write), "no acknowledged write is lost: {ownable} {write} (I1)");
    }
}
