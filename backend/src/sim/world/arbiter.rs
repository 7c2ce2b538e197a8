//! The world between processes and the shared filesystem: calls that take time, fail, or are lost; and ticks.

use super::*;

impl World {
    pub(super) fn storage_delay(&mut self) -> Duration {
        self.random.latency(1_000, 30_000)
    }

    /// The file server answers this process again: what it asked for is done now.
    pub(super) fn end_stall(&mut self, id: ProcessId) {
        let now = self.now;
        let process = self.process(id);
        if process.stalled_until <= now {
            for happening in std::mem::take(&mut process.stuck) {
                self.after(Duration::ZERO, happening);
            }
        }
    }

    /// Sends a task on its way to the filesystem.
    pub(super) fn begin(&mut self, id: ProcessId, about: About, task: Task) {
        let delay = self.storage_delay();
        self.after(delay, Happening::TaskRuns { process: id, about, task: Blocking(task) });
    }

    pub(super) fn task_runs(&mut self, id: ProcessId, about: About, task: Blocking) {
        let now = self.now;
        let (trouble, random) = (self.trouble && self.plan.troubles != Troubles::Controller, &mut self.random);
        let process = self.processes.get_mut(&id).unwrap();
        if process.pulse == Pulse::Dead {
            return;
        }
        // A process that sleeps may have sent it before, or not.
        if process.pulse == Pulse::Sleeps && random.one_in(2) {
            return process.deferred.push_back(Happening::TaskRuns { process: id, about, task });
        }
        if process.stalled_until > now {
            return process.stuck.push(Happening::TaskRuns { process: id, about, task });
        }
        let fs = process.fs.clone();
        if trouble && random.one_in(40) {
            let (fault, name) = match random.below(6) {
                0 => (FileFault::Error(io::ErrorKind::TimedOut), "EIO"),
                1 => (FileFault::Error(io::ErrorKind::StaleNetworkFileHandle), "ESTALE"),
                2 => (FileFault::Error(io::ErrorKind::StorageFull), "ENOSPC"),
                3 => (FileFault::Halfway, "torn"),
                _ => (FileFault::LostAnswer, "lost answer"),
            };
            fs.fail_at(fs.operations() + 1 + random.below(6), fault);
            *self.witness.seen.faults.entry(name).or_default() += 1;
        }
        if trouble && random.one_in(16) {
            let operation = 1 + random.below(6);
            let span = if random.one_in(4) { random.span(1_000_000, 8_000_000) } else { random.span(1_000, 200_000) };
            match run_until(&fs, operation, task.0) {
                Progress::Done(done) => self.answer_task(id, about, *done),
                Progress::Stopped(stopped) => {
                    *self.witness.seen.faults.entry("stopped").or_default() += 1;
                    self.next_stopped += 1;
                    self.stopped.insert(self.next_stopped, (id, about, stopped));
                    self.after(span, Happening::TaskGoesOn { process: id, stopped: self.next_stopped });
                }
            }
        } else {
            let done = task.0();
            self.answer_task(id, about, done);
        }
    }

    pub(super) fn task_goes_on(&mut self, id: ProcessId, stopped: u64) {
        if self.hung.contains(&stopped) {
            return;
        }
        if let Some((_, about, stopped)) = self.stopped.remove(&stopped) {
            let done = stopped.go_on();
            self.answer_task(id, about, done);
        }
    }

    /// All tasks that stand before an operation.
    pub(super) fn stopped_processes(&self) -> Vec<(u64, ProcessId)> {
        self.stopped.iter().map(|(stopped, (process, ..))| (*stopped, *process)).collect()
    }

    fn answer_task(&mut self, id: ProcessId, about: About, done: Done) {
        let is_synced = match &done {
            Done::Written(written) => written.error().is_none(),
            Done::Account(result) => result.is_ok(),
            Done::Shard(result) => result.is_ok(),
            Done::Arbiter(_) | Done::Tick(..) | Done::Snapshotted(_) | Done::Tidied(_) | Done::Closed => false,
        };
        match about {
            About::Recovery(ownable) if is_synced => self.witness.validations.on_synced(id, ownable, self.events),
            // A worker that did not wait for it is not concerned.
            About::Worker(ownable, generation)
                if is_synced && self.processes[&id].generation_of(ownable) == Some(generation) =>
            {
                self.witness.validations.on_synced(id, ownable, self.events);
            }
            About::Recovery(_) | About::Worker(..) | About::Snapshot(..) | About::Arbiter(_) | About::Tick(_) => {}
        }
        let delay = self.storage_delay();
        self.after(delay, Happening::TaskEnds { process: id, about, done: Outcome(Box::new(done)) });
    }

    pub(super) fn task_ends(&mut self, id: ProcessId, about: About, done: Done) {
        match (about, done) {
            (About::Arbiter(began), Done::Arbiter(answer)) => self.arbiter_answers(id, began, answer),
            (About::Tick(begun), Done::Tick(name, result)) => {
                self.process(id).tick.name = name;
                self.tick_ends(id, begun, result);
            }
            (About::Recovery(ownable), Done::Account(result)) => self.recovered(id, ownable, result),
            (About::Recovery(ownable), Done::Shard(result)) => self.recovered(id, ownable, result),
            (About::Worker(ownable, generation), done) => match ownable {
                OwnableId::Account(_) => self.worker_ends::<Account>(id, ownable, generation, done),
                OwnableId::Queue(_) => self.worker_ends::<Queue>(id, ownable, generation, done),
            },
            (About::Snapshot(ownable, epoch), Done::Snapshotted(snapshotted)) => match ownable {
                OwnableId::Account(_) => self.snapshot_ends::<Account>(id, ownable, epoch, snapshotted),
                OwnableId::Queue(_) => self.snapshot_ends::<Queue>(id, ownable, epoch, snapshotted),
            },
            (about, _) => unreachable!("{about:?} was answered with something else"),
        }
    }

    pub(super) fn ask(&mut self, id: ProcessId, call: ArbiterCall) {
        let began = self.local(id);
        let arbiter = Arc::clone(&self.process(id).arbiter);
        self.begin(id, About::Arbiter(began), Box::new(move || Done::Arbiter(perform(&*arbiter, call))));
    }

    fn arbiter_answers(&mut self, id: ProcessId, began: Moment, answer: ArbiterAnswer) {
        self.witness.terms.on_answered(id, &answer);
        let now = self.local(id);
        let process = self.process(id);
        let Some(joining) = &mut process.joining else {
            return self.step(id, Event::Arbiter { began, answer });
        };
        match joining.step(now, began, answer) {
            JoinStep::Ask(call) => self.ask(id, call),
            JoinStep::Appeared(peer, call) => {
                process.peer = Some(peer);
                self.ask(id, call);
                self.tick_soon(id);
            }
            JoinStep::Seated(seat) => {
                process.joining = None;
                process.seat = Some(seat);
                self.step(id, Event::Timer);
            }
            JoinStep::Failed(_) => self.end(id, false),
        }
    }

    /// Who asks waits for a tick that begins from now on.
    pub(super) fn await_tick(&mut self, id: ProcessId, waiter: Waiter) {
        let tick = &mut self.process(id).tick;
        if sabotage::on(Sabotage::TickBeforeSync) && tick.under_way {
            tick.satisfied.push(waiter);
        } else {
            tick.waiting.push(waiter);
        }
        self.tick_soon(id);
    }

    pub(super) fn tick_soon(&mut self, id: ProcessId) {
        let (now, earliest) = (self.local(id), self.timing.tick_busy);
        let process = self.process(id);
        if !process.tick.under_way && process.peer.is_some() {
            process.tick.generation += 1;
            let generation = process.tick.generation;
            let wait = (process.tick.last_begun + earliest).since(now);
            self.after_local(id, wait, Happening::TickBegins { process: id, generation });
        }
    }

    pub(super) fn tick_begins(&mut self, id: ProcessId, generation: u64) {
        let (begun, event) = (self.local(id), self.events);
        let process = self.process(id);
        let tick = &mut process.tick;
        if tick.under_way || tick.generation != generation || process.leaving {
            return;
        }
        tick.under_way = true;
        tick.last_begun = begun;
        tick.begun_at_event = event;
        tick.is_news = false;
        // Taken off the list before the tick begins, as the real ticker does.
        tick.satisfied = std::mem::take(&mut tick.waiting);
        let (mut name, sees, arbiter) = (tick.name.clone(), tick.sees, Arc::clone(&process.arbiter));
        let incarnation = process.incarnation().unwrap().clone();
        let task = move || {
            let result = arbiter.tick(&incarnation, &mut name, sees);
            Done::Tick(name, result)
        };
        self.begin(id, About::Tick(begun), Box::new(task));
    }

    fn tick_ends(&mut self, id: ProcessId, begun: Moment, result: Result<(), TickError>) {
        let idle = self.timing.tick_idle;
        let process = self.process(id);
        process.tick.under_way = false;
        let satisfied = std::mem::take(&mut process.tick.satisfied);
        let begun_at_event = process.tick.begun_at_event;
        if process.leaving {
            return;
        }
        match result {
            Ok(()) => {
                if let Some(seat) = &mut process.seat {
                    seat.ticked(begun);
                }
                self.witness.validations.on_ticked(id, begun_at_event);
                for waiter in satisfied {
                    self.satisfy(id, waiter);
                }
            }
            Err(TickError::Io(_)) => process.tick.waiting.extend(satisfied),
            Err(TickError::Fenced) => {
                self.witness.owners.on_fenced(id);
                return self.end(id, false);
            }
        }
        let process = self.process(id);
        if process.pulse == Pulse::Dead || process.tick.under_way {
            return;
        }
        if process.tick.is_news || !process.tick.waiting.is_empty() {
            return self.tick_soon(id);
        }
        process.tick.generation += 1;
        let generation = process.tick.generation;
        self.after_local(id, idle, Happening::TickBegins { process: id, generation });
    }

    fn satisfy(&mut self, id: ProcessId, waiter: Waiter) {
        match waiter {
            Waiter::Recovery(ownable @ OwnableId::Account(_), epoch) => self.open::<Account>(id, ownable, epoch),
            Waiter::Recovery(ownable @ OwnableId::Queue(_), epoch) => self.open::<Queue>(id, ownable, epoch),
            Waiter::Commit(ownable @ OwnableId::Account(_), generation) => {
                self.committed::<Account>(id, ownable, generation);
            }
            Waiter::Commit(ownable @ OwnableId::Queue(_), generation) => {
                self.committed::<Queue>(id, ownable, generation);
            }
            Waiter::Read(ticket) => self.read_ends(id, ticket),
        }
    }
}
