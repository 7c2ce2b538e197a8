//! What clients do at members, and the workers of accounts that serve them.

use super::*;

impl World {
    /// A client picks an account at a member and does what comes next there.
    pub(super) fn client(&mut self, member: usize) {
        let again = self.random.span(5_000, 60_000);
        self.after(again, Happening::Client { member });
        let account = ownable(self.random.below(self.plan.accounts));
        let awake = |(_, process): &(&ProcessId, &Process)| {
            process.member % 100 == member && process.pulse == Pulse::Runs && process.seat.is_some() && !process.leaving
        };
        let found: Vec<ProcessId> = self.processes.iter().filter(awake).map(|(id, _)| *id).collect();
        for id in found {
            self.work(id, account);
        }
    }

    pub(super) fn work(&mut self, id: ProcessId, ownable: OwnableId) {
        let gives_back = self.random.one_in(4);
        let process = self.process(id);
        let recalled = process.recalled.contains(&ownable);
        match process.work.get(&ownable).cloned() {
            None => {
                self.next_request += 1;
                let request = self.next_request;
                self.process(id).work.insert(ownable, Work::Claiming { request });
                self.step(id, Event::Claims(vec![(request, ownable)]));
            }
            Some(Work::Open { epoch }) if gives_back || recalled => {
                process.recalled.retain(|one| *one != ownable);
                process.work.remove(&ownable);
                self.step(id, Event::Releases(vec![(ownable, epoch)]));
            }
            Some(Work::Open { epoch }) => {
                self.next_write += 1;
                let write = self.next_write;
                self.process(id).work.insert(ownable, Work::Writing { epoch, write });
                let delay = self.storage_delay();
                self.after(delay, Happening::WriteRuns { process: id, ownable });
            }
            Some(Work::Claiming { request }) if self.random.one_in(200) => {
                self.process(id).work.remove(&ownable);
                self.step(id, Event::Abandon { request, ownable });
            }
            Some(_) => {}
        }
        if !self.trouble && self.processes[&id].work.get(&ownable).is_some_and(|work| work.epoch().is_some()) {
            self.note_answer(id, ownable);
        }
    }

    pub(super) fn note_answer(&mut self, id: ProcessId, ownable: OwnableId) {
        let member = self.processes[&id].member % 100;
        if !self.trouble {
            self.answered.insert((member, ownable), self.now);
        }
    }

    pub(super) fn answer(&mut self, id: ProcessId, request: u64, outcome: Result<Claim, Refusal>) {
        let process = self.process(id);
        let asked = process.work.iter().find(|(_, work)| **work == Work::Claiming { request }).map(|(one, _)| *one);
        match outcome {
            Ok(Claim::Granted(grant)) => {
                let (ownable, epoch) = (grant.ownable(), grant.epoch());
                assert_eq!(asked, Some(ownable), "a grant is given to who waits for it");
                process.work.insert(ownable, Work::Opening { epoch });
                self.invariants.on_grant(id, ownable, epoch, &self.processes, &self.storage);
                let delay = self.storage_delay();
                self.after(delay, Happening::OpenRuns { process: id, ownable });
                self.note_answer(id, ownable);
            }
            Ok(Claim::Owned { member, .. }) => {
                let Some(ownable) = asked else { return };
                process.work.remove(&ownable);
                let lives = |other: &Process| {
                    other.pulse == Pulse::Runs && other.incarnation().is_some_and(|one| one.member == member)
                };
                if self.processes.values().any(lives) {
                    self.note_answer(id, ownable);
                }
            }
            Err(_) => {
                if let Some(ownable) = asked {
                    process.work.remove(&ownable);
                    self.note_answer(id, ownable);
                }
            }
        }
    }

    pub(super) fn open_runs(&mut self, id: ProcessId, ownable: OwnableId) {
        let Some(Work::Opening { epoch }) = self.process(id).work.get(&ownable).cloned() else { return };
        if self.storage.open(ownable, epoch) {
            // A fenced process may still begin a segment: the next owner seals it.
            if self.processes[&id].incarnation().is_some_and(|one| self.storage.is_alive(one)) {
                self.invariants.on_open(self.now, id, ownable, &self.processes);
            }
            self.process(id).work.insert(ownable, Work::Open { epoch });
        } else {
            // A later owner is at work: this process just does not know yet that it was fenced.
            self.process(id).work.remove(&ownable);
        }
    }

    /// The write becomes durable, unless its process fell asleep before.
    pub(super) fn write_runs(&mut self, id: ProcessId, ownable: OwnableId) {
        let (Some(Work::Writing { epoch, write }) | Some(Work::Validating { epoch, write })) =
            self.process(id).work.get(&ownable).cloned()
        else {
            return;
        };
        self.storage.append(ownable, epoch, write);
        let delay = self.storage_delay();
        self.after(delay, Happening::WriteEnds { process: id, ownable });
    }

    pub(super) fn write_ends(&mut self, id: ProcessId, ownable: OwnableId) {
        let mistake = self.plan.mistake;
        let process = self.process(id);
        let Some(Work::Writing { epoch, write }) = process.work.get(&ownable).cloned() else { return };
        process.work.insert(ownable, Work::Synced { epoch, write });
        if mistake == Some(Mistake::NoTick) {
            process.work.insert(ownable, Work::Validating { epoch, write });
            return self.acknowledge(id);
        }
        self.tick_soon(id);
    }

    /// A tick that began after these writes were synced has succeeded: their clients are told.
    pub(super) fn acknowledge(&mut self, id: ProcessId) {
        let process = self.processes.get_mut(&id).unwrap();
        for (ownable, work) in &mut process.work {
            if let Work::Validating { epoch, write } = *work {
                *work = Work::Open { epoch };
                self.invariants.on_acknowledged(*ownable, write, &self.storage);
            }
        }
    }
}
