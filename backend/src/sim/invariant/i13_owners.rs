//! I13: loss of the controller never stops an owner. Checked in runs where nothing fails but controllers: a process that
//! nothing was done to is never fenced, is never asked to give back, and each of its commits is over soon.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    cluster::{Moment, OwnableId},
    sim::world::ProcessId,
};

/// How long a commit may take, if the storage is well: a write, a sync and two ticks.
const COMMIT_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Owners {
    /// Nothing fails in this run but controllers.
    pub concerned: bool,
    /// Who was killed or put to sleep.
    struck: BTreeSet<ProcessId>,
    /// Commits under way.
    commits: BTreeMap<(ProcessId, OwnableId), Moment>,
}

impl Owners {
    pub fn on_struck(&mut self, process: ProcessId) {
        self.struck.insert(process);
        self.commits.retain(|(one, _), _| *one != process);
    }

    pub fn on_fenced(&self, process: ProcessId) {
        assert!(!self.watches(process), "who lives is not fenced for want of a controller: {process:?} (I13)");
    }

    pub fn on_recalled(&self, process: ProcessId, ownable: OwnableId) {
        assert!(
            !self.watches(process),
            "nothing is asked back for want of a controller: {ownable} of {process:?} (I13)"
        );
    }

    pub fn on_commit_begun(&mut self, process: ProcessId, ownable: OwnableId, now: Moment) {
        if self.watches(process) {
            self.commits.insert((process, ownable), now);
        }
    }

    /// It came out like that.
    pub fn on_commit_over(&mut self, process: ProcessId, ownable: OwnableId, now: Moment, succeeded: bool) {
        let Some(begun) = self.commits.remove(&(process, ownable)) else { return };
        assert!(succeeded, "a commit does not fail for want of a controller: {ownable} of {process:?} (I13)");
        assert_in_time(process, ownable, now.since(begun));
    }

    /// At the end of a run nothing has been under way for long.
    pub fn check(&self, now: Moment) {
        for ((process, ownable), begun) in &self.commits {
            assert_in_time(*process, *ownable, now.since(*begun));
        }
    }

    fn watches(&self, process: ProcessId) -> bool {
        self.concerned && !self.struck.contains(&process)
    }
}

fn assert_in_time(process: ProcessId, ownable: OwnableId, span: Duration) {
    assert!(
        span <= COMMIT_WITHIN,
        "a commit does not wait for a controller: {ownable} of {process:?} for {span:?} (I13)"
    );
}
