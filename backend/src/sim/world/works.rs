//! The drivers of workers, as `drive/owned` and `drive/registry` are in a real process.

use super::*;
use crate::{
    sim::invariant,
    worker::{Answers, CommitError, RecoverError, Recovery, Snapshotted, State, Step, recover},
};

/// What a worker answered to a piece of work.
#[derive(Debug)]
pub struct Told {
    pub by: (ProcessId, OwnableId),
    pub job: clients::Asked,
    pub outcome: Result<clients::Answer, CommitError>,
}

impl World {
    /// Wants to own something, unless that is under way.
    pub(super) fn claim<S: Kind>(&mut self, id: ProcessId, ownable: OwnableId) {
        if S::works(self.process(id)).contains_key(&ownable) {
            return;
        }
        self.next_request += 1;
        let request = self.next_request;
        S::works(self.process(id)).insert(ownable, Work::Claiming { request });
        self.step(id, Event::Claims(vec![(request, ownable)]));
    }

    /// The controller has answered a claim.
    pub(super) fn answer(&mut self, id: ProcessId, request: u64, outcome: Result<Claim, Refusal>) {
        let process = self.process(id);
        let asked = asked_for(&process.accounts, request).or_else(|| asked_for(&process.shards, request));
        match outcome {
            Ok(Claim::Granted(grant)) => {
                let (ownable, epoch) = (grant.ownable(), grant.epoch());
                assert_eq!(asked, Some(ownable), "a grant is given to who waits for it");
                self.on_grant(id, ownable, epoch);
                match ownable {
                    OwnableId::Account(_) => self.recover::<Account>(id, ownable, epoch),
                    OwnableId::Queue(_) => self.recover::<Queue>(id, ownable, epoch),
                }
            }
            Ok(Claim::Owned { member, .. }) => {
                let Some(ownable) = asked else { return };
                self.forget(id, ownable);
                let serves = |other: &Process| {
                    other.incarnation().is_some_and(|one| one.member == member) && other.serves(ownable)
                };
                if self.processes.values().any(serves) {
                    self.note_answer(id, ownable);
                }
            }
            Err(_) => {
                if let Some(ownable) = asked {
                    self.forget(id, ownable);
                }
            }
        }
    }

    fn forget(&mut self, id: ProcessId, ownable: OwnableId) {
        let process = self.process(id);
        process.accounts.remove(&ownable);
        process.shards.remove(&ownable);
    }

    /// Whether a process may still promise something.
    pub(super) fn is_listed(&self, process: &Process) -> bool {
        let Some(incarnation) = process.incarnation() else { return false };
        self.server.list(&Path::new(STORAGE).join("cluster/live").join(incarnation.to_string())).is_ok()
    }

    fn on_grant(&mut self, id: ProcessId, ownable: OwnableId, epoch: Epoch) {
        let me = &self.processes[&id];
        self.witness.terms.on_grant(id, ownable, epoch);
        // A deposed controller may grant to itself until its next tick: nobody hears of it.
        if !self.is_listed(me) {
            return;
        }
        let holding =
            self.processes.iter().filter(|(other, process)| **other != id && process.epoch_of(ownable).is_some());
        let (mut others, mut holders) = (Vec::new(), 0);
        for (other, process) in holding {
            holders += 1;
            if self.is_listed(process) {
                others.push(format!("{other:?} {:?} {:?}", process.incarnation(), process.epoch_of(ownable)));
            }
        }
        self.witness.epochs.on_grant(ownable, epoch, &others);
        self.witness.seen.grants += 1;
        self.witness.seen.takeovers += holders;
    }

    fn recover<S: Kind>(&mut self, id: ProcessId, ownable: OwnableId, epoch: Epoch) {
        self.witness.validations.on_begun(id, ownable);
        let process = self.process(id);
        S::works(process).insert(ownable, Work::Recovering { epoch, recovery: None, recalled: false });
        let fs = Arc::new(process.fs.clone());
        let dir = Path::new(STORAGE).join(ownable.path());
        self.begin(
            id,
            About::Recovery(ownable),
            Box::new(move || S::recovered(recover::<S, _>(fs, &dir, ownable, epoch, FEATURE_LEVEL))),
        );
    }

    pub(super) fn recovered<S: Kind>(
        &mut self,
        id: ProcessId,
        ownable: OwnableId,
        result: Result<Recovery<S, SimulatedFs>, RecoverError>,
    ) {
        let Some(Work::Recovering { epoch, recovery, .. }) = S::works(self.process(id)).get_mut(&ownable) else {
            return;
        };
        let epoch = *epoch;
        match result {
            Ok(read) => {
                *recovery = Some(Box::new(read));
                self.no_lease_is_left(id, ownable);
                if sabotage::on(Sabotage::OpenWithoutTick) {
                    return self.open::<S>(id, ownable, epoch);
                }
                self.await_tick(id, Waiter::Recovery(ownable, epoch));
            }
            Err(error) => {
                let is_damaged = self.witness.is_damaged(ownable);
                let quarantined = matches!(
                    error,
                    RecoverError::Replay(_) | RecoverError::Open(crate::store::OpenError::Quarantined(_))
                );
                // A fenced process may find what its successor is just writing.
                if quarantined && self.is_listed(&self.processes[&id]) {
                    self.witness.seen.quarantined += 1;
                    assert!(
                        is_damaged,
                        "nothing is damaged by itself: {ownable} {error:?} {:?} (I12)",
                        std::error::Error::source(&error)
                    );
                }
                S::works(self.process(id)).remove(&ownable);
                self.step(id, Event::Releases(vec![(ownable, epoch)]));
            }
        }
    }

    /// A new owner opens an ownable: nobody else may still answer reads of it.
    fn no_lease_is_left(&self, id: ProcessId, ownable: OwnableId) {
        if !self.may_lease() || !self.is_listed(&self.processes[&id]) {
            return;
        }
        for (other, process) in self.processes.iter().filter(|(other, _)| **other != id) {
            let may_answer = process.pulse != Pulse::Dead
                && process.epoch_of(ownable).is_some()
                && process.lease.is_some_and(|until| until > process.clock.read(self.now));
            assert!(
                !may_answer,
                "no stale read: {ownable} is opened by {id:?} while {other:?} {:?} holds a lease until {:?} (I6)",
                process.incarnation(),
                process.lease
            );
        }
    }

    /// A tick begun after the recovery has succeeded.
    pub(super) fn open<S: Kind>(&mut self, id: ProcessId, ownable: OwnableId, epoch: Epoch) {
        let (now, timing) = (self.local(id), self.worker_timing);
        let works = S::works(self.process(id));
        let Some(Work::Recovering { epoch: of, recovery, recalled }) = works.get_mut(&ownable) else { return };
        let Some(recovery) = recovery.take().filter(|_| *of == epoch) else { return };
        let mut worker = recovery.validated(now, timing, |_| ());
        if *recalled {
            worker.recalled(now);
        }
        let step = worker.rest(now, 0);
        let shown = worker.state().clone();
        self.witness.validations.on_seen(id, ownable);
        // Who slept since its tick may open what a successor has gone beyond, as with what is shown later.
        if self.is_listed(&self.processes[&id]) {
            S::on_recovered(self, ownable, &shown);
        }
        let open =
            Open { epoch, worker, shown, inbox: VecDeque::new(), guests: 0, phase: Phase::Resting, generation: 0 };
        S::works(self.process(id)).insert(ownable, Work::Open(Box::new(open)));
        self.take::<S>(id, ownable, step);
    }

    /// Takes one step of a worker after the other.
    pub(super) fn take<S: Kind>(&mut self, id: ProcessId, ownable: OwnableId, mut step: Step<S, SimulatedFs>) {
        loop {
            let now = self.local(id);
            self.generations += 1;
            let generation = self.generations;
            let Some(Work::Open(open)) = S::works(self.process(id)).get_mut(&ownable) else { return };
            open.generation = generation;
            step = match step {
                Step::Rest(until) => match open.inbox.pop_front() {
                    Some(job) => open.worker.work(now, job, || open.inbox.pop_front()),
                    None => {
                        open.phase = Phase::Resting;
                        let wait = until.since(now).max(Duration::from_millis(1));
                        return self.after_local(id, wait, Happening::Rest { process: id, ownable, generation });
                    }
                },
                Step::Shut => open.worker.shut(now, open.guests, !open.inbox.is_empty()),
                Step::Write(write) => {
                    open.phase = Phase::Writing;
                    let too_early = sabotage::on(Sabotage::ShowUnvalidated).then(|| open.worker.state().clone());
                    if let Some(shown) = &too_early {
                        open.shown = shown.clone();
                    }
                    self.witness.validations.on_begun(id, ownable);
                    self.witness.owners.on_commit_begun(id, ownable, self.now);
                    if let Some(shown) = too_early {
                        self.witness.validations.on_seen(id, ownable);
                        S::on_shown(self, ownable, &shown);
                    }
                    self.commit_by(id, ownable, generation);
                    self.settle_answers();
                    return self.begin(
                        id,
                        About::Worker(ownable, generation),
                        Box::new(move || Done::Written(write.run())),
                    );
                }
                Step::Validate => {
                    open.phase = Phase::Validating;
                    self.commit_by(id, ownable, generation);
                    return self.await_tick(id, Waiter::Commit(ownable, generation));
                }
                Step::Show(answers) => {
                    open.shown = open.worker.state().clone();
                    let shown = open.shown.clone();
                    self.witness.validations.on_seen(id, ownable);
                    self.witness.owners.on_commit_over(id, ownable, self.now, true);
                    // A process that slept since its tick may show what a successor has gone beyond: each of its readers
                    // still needs a tick of its own, and will not get one.
                    if self.is_listed(&self.processes[&id]) {
                        S::on_shown(self, ownable, &shown);
                    }
                    self.give::<S>(id, ownable, answers)
                }
                Step::Tell(answers) => self.give::<S>(id, ownable, answers),
                Step::Snapshot(snapshot) => {
                    let about = About::Snapshot(ownable, open.epoch);
                    let step = open.worker.rest(now, open.guests);
                    self.begin(id, about, Box::new(move || Done::Snapshotted(snapshot.run())));
                    step
                }
                Step::Tidy(tidy) => {
                    open.phase = Phase::Tidying;
                    self.commit_by(id, ownable, generation);
                    let task = move || Done::Tidied(tidy.run());
                    return self.begin(id, About::Worker(ownable, generation), Box::new(task));
                }
                Step::Close(_, closing) => {
                    open.phase = Phase::Closing;
                    open.inbox.clear();
                    let task = move || {
                        closing.run();
                        Done::Closed
                    };
                    return self.begin(id, About::Worker(ownable, generation), Box::new(task));
                }
            };
        }
    }

    fn give<S: Kind>(&mut self, id: ProcessId, ownable: OwnableId, answers: Answers) -> Step<S, SimulatedFs> {
        if answers.outcome().is_err() {
            self.witness.validations.on_failed(id, ownable);
            self.witness.owners.on_commit_over(id, ownable, self.now, false);
        }
        answers.give();
        self.settle_answers();
        let now = self.local(id);
        match S::works(self.process(id)).get_mut(&ownable) {
            Some(Work::Open(open)) => open.worker.rest(now, open.guests),
            _ => unreachable!("a worker is there until it closes"),
        }
    }

    fn commit_by(&mut self, id: ProcessId, ownable: OwnableId, generation: u64) {
        let span = self.worker_timing.commit;
        self.after_local(id, span, Happening::CommitLate { process: id, ownable, generation });
    }

    /// A worker's task has come to its end; one of an earlier phase comes too late.
    pub(super) fn worker_ends<S: Kind>(&mut self, id: ProcessId, ownable: OwnableId, generation: u64, done: Done) {
        let now = self.local(id);
        let Some(Work::Open(open)) = S::works(self.process(id)).get_mut(&ownable) else { return };
        if open.generation != generation {
            return;
        }
        let step = match done {
            Done::Written(written) => open.worker.written(Some(written)),
            Done::Tidied(tidied) => {
                open.worker.tidied(Some(tidied));
                open.worker.rest(now, open.guests)
            }
            Done::Closed => {
                let epoch = open.epoch;
                S::works(self.process(id)).remove(&ownable);
                return self.step(id, Event::Releases(vec![(ownable, epoch)]));
            }
            Done::Arbiter(_) | Done::Tick(..) | Done::Account(_) | Done::Shard(_) | Done::Snapshotted(_) => {
                unreachable!("a worker's task")
            }
        };
        self.take::<S>(id, ownable, step);
    }

    /// A snapshot has ended; perhaps its worker has, too.
    pub(super) fn snapshot_ends<S: Kind>(
        &mut self,
        id: ProcessId,
        ownable: OwnableId,
        epoch: Epoch,
        snapshotted: Snapshotted,
    ) {
        self.with_worker::<S>(id, ownable, None, |open, now| {
            if open.epoch != epoch {
                return None;
            }
            open.worker.snapshotted(snapshotted);
            (open.phase == Phase::Resting).then(|| open.worker.rest(now, open.guests))
        });
    }

    /// Does something with a worker that is in this phase of this generation, and takes the step that follows.
    fn with_worker<S: Kind>(
        &mut self,
        id: ProcessId,
        ownable: OwnableId,
        generation: Option<u64>,
        act: impl FnOnce(&mut Open<S>, Moment) -> Option<Step<S, SimulatedFs>>,
    ) {
        let now = self.local(id);
        let Some(Work::Open(open)) = S::works(self.process(id)).get_mut(&ownable) else { return };
        if generation.is_none_or(|generation| open.generation == generation)
            && let Some(step) = act(open, now)
        {
            self.take::<S>(id, ownable, step);
        }
    }

    pub(super) fn committed<S: Kind>(&mut self, id: ProcessId, ownable: OwnableId, generation: u64) {
        self.with_worker::<S>(id, ownable, Some(generation), |open, _| Some(open.worker.validated(Ok(()))));
    }

    pub(super) fn rest_ends(&mut self, id: ProcessId, ownable: OwnableId, generation: u64) {
        match ownable {
            OwnableId::Account(_) => self.wake_worker::<Account>(id, ownable, Some(generation)),
            OwnableId::Queue(_) => self.wake_worker::<Queue>(id, ownable, Some(generation)),
        }
    }

    pub(super) fn wake_worker<S: Kind>(&mut self, id: ProcessId, ownable: OwnableId, generation: Option<u64>) {
        self.with_worker::<S>(id, ownable, generation, |open, now| {
            (open.phase == Phase::Resting).then(|| open.worker.rest(now, open.guests))
        });
    }

    pub(super) fn commit_late(&mut self, id: ProcessId, ownable: OwnableId, generation: u64) {
        fn late<S: Kind>(open: &mut Open<S>, now: Moment) -> Option<Step<S, SimulatedFs>> {
            match open.phase {
                Phase::Writing => Some(open.worker.written(None)),
                Phase::Validating => Some(open.worker.validated(Err(CommitError::Storage))),
                Phase::Tidying => {
                    open.worker.tidied(None);
                    Some(open.worker.rest(now, open.guests))
                }
                Phase::Resting | Phase::Closing => None,
            }
        }
        match ownable {
            OwnableId::Account(_) => self.with_worker::<Account>(id, ownable, Some(generation), late),
            OwnableId::Queue(_) => self.with_worker::<Queue>(id, ownable, Some(generation), late),
        }
    }

    pub(super) fn guest_leaves(&mut self, id: ProcessId, ownable: OwnableId) {
        self.with_worker::<Account>(id, ownable, None, |open, now| {
            open.guests = open.guests.saturating_sub(1);
            open.worker.left(now);
            (open.phase == Phase::Resting).then(|| open.worker.rest(now, open.guests))
        });
    }

    pub(super) fn recall(&mut self, id: ProcessId, ownable: OwnableId) {
        self.witness.owners.on_recalled(id, ownable);
        fn recalled<S: Kind>(open: &mut Open<S>, now: Moment) -> Option<Step<S, SimulatedFs>> {
            open.worker.recalled(now);
            (open.phase == Phase::Resting).then(|| open.worker.rest(now, open.guests))
        }
        match ownable {
            OwnableId::Account(_) => self.recall_from::<Account>(id, ownable, recalled),
            OwnableId::Queue(_) => self.recall_from::<Queue>(id, ownable, recalled),
        }
    }

    fn recall_from<S: Kind>(
        &mut self,
        id: ProcessId,
        ownable: OwnableId,
        act: impl FnOnce(&mut Open<S>, Moment) -> Option<Step<S, SimulatedFs>>,
    ) {
        match S::works(self.process(id)).get_mut(&ownable) {
            Some(Work::Recovering { recalled, .. }) => *recalled = true,
            _ => self.with_worker::<S>(id, ownable, None, act),
        }
    }
}

/// A kind of ownable: which of a process's tables it is in, and what the witness is told of it.
pub(in crate::sim) trait Kind: State {
    fn works(process: &mut Process) -> &mut BTreeMap<OwnableId, Work<Self>>;
    fn recovered(result: Result<Recovery<Self, SimulatedFs>, RecoverError>) -> Done;
    fn on_shown(world: &mut World, ownable: OwnableId, state: &Self);
    fn on_recovered(world: &mut World, ownable: OwnableId, state: &Self);
}

impl Kind for Account {
    fn works(process: &mut Process) -> &mut BTreeMap<OwnableId, Work<Self>> {
        &mut process.accounts
    }

    fn recovered(result: Result<Recovery<Self, SimulatedFs>, RecoverError>) -> Done {
        Done::Account(result)
    }

    fn on_shown(world: &mut World, ownable: OwnableId, state: &Self) {
        if !world.witness.is_damaged(ownable) {
            world.witness.on_shown(ownable, state);
            world.note(invariant::Glance::of(state).digest);
        }
    }

    fn on_recovered(world: &mut World, ownable: OwnableId, state: &Self) {
        if !world.witness.is_damaged(ownable) {
            world.witness.on_recovered(ownable, state);
            world.look_at_files(ownable);
            Self::on_shown(world, ownable, state);
        }
    }
}

impl Kind for Queue {
    fn works(process: &mut Process) -> &mut BTreeMap<OwnableId, Work<Self>> {
        &mut process.shards
    }

    fn recovered(result: Result<Recovery<Self, SimulatedFs>, RecoverError>) -> Done {
        Done::Shard(result)
    }

    fn on_shown(world: &mut World, _: OwnableId, state: &Self) {
        world.note(state.len() as u64);
    }

    fn on_recovered(world: &mut World, ownable: OwnableId, state: &Self) {
        if !world.witness.is_damaged(ownable) {
            world.witness.mails.on_recovered(ownable, state);
            world.look_at_files(ownable);
        }
    }
}

fn asked_for<S: Kind>(works: &BTreeMap<OwnableId, Work<S>>, request: u64) -> Option<OwnableId> {
    let is_it = |work: &Work<S>| matches!(work, Work::Claiming { request: of } if *of == request);
    works.iter().find(|(_, work)| is_it(work)).map(|(ownable, _)| *ownable)
}
