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

    pub(super) fn ask(&mut self, id: ProcessId, call: ArbiterCall) {
        let delay = self.storage_delay();
        self.after(delay, Happening::ArbiterRuns { process: id, call });
    }

    pub(super) fn arbiter_runs(&mut self, id: ProcessId, call: ArbiterCall) {
        let process = &self.processes[&id];
        // A process that sleeps or died may have sent the call before, or not.
        if process.pulse != Pulse::Runs && self.random.one_in(2) {
            if self.processes[&id].pulse == Pulse::Sleeps {
                self.process(id).deferred.push_back(Happening::ArbiterRuns { process: id, call });
            }
            return;
        }
        let began = self.now;
        let answer = match self.random.below(if self.trouble { 60 } else { u64::MAX }) {
            // An error before the effect, and one after it.
            0 => ArbiterAnswer::Failed { call, error: io::ErrorKind::TimedOut.into() },
            1 => {
                perform(&self.storage, call.clone());
                ArbiterAnswer::Failed { call, error: io::ErrorKind::TimedOut.into() }
            }
            _ => perform(&self.storage, call),
        };
        let delay = self.storage_delay();
        self.after(delay, Happening::ArbiterAnswers { process: id, began, answer });
    }

    pub(super) fn arbiter_answers(&mut self, id: ProcessId, began: Moment, answer: ArbiterAnswer) {
        let now = self.now;
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

    pub(super) fn tick_soon(&mut self, id: ProcessId) {
        let earliest = self.timing.tick_busy;
        let now = self.now;
        let process = self.process(id);
        if !process.tick.under_way && process.peer.is_some() {
            process.tick.generation += 1;
            let generation = process.tick.generation;
            let wait = (process.tick.last_begun + earliest).since(now);
            self.after(wait, Happening::TickBegins { process: id, generation });
        }
    }

    pub(super) fn tick_begins(&mut self, id: ProcessId, generation: u64) {
        let now = self.now;
        let mistake = self.plan.mistake;
        let process = self.process(id);
        if process.tick.under_way || process.tick.generation != generation || process.leaving {
            return;
        }
        process.tick.under_way = true;
        process.tick.last_begun = now;
        for work in process.work.values_mut() {
            match *work {
                Work::Synced { epoch, write } => *work = Work::Validating { epoch, write },
                Work::Writing { epoch, write } if mistake == Some(Mistake::EarlyTick) => {
                    *work = Work::Validating { epoch, write };
                }
                _ => {}
            }
        }
        let delay = self.storage_delay();
        self.after(delay, Happening::TickRuns { process: id, begun: now });
    }

    pub(super) fn tick_runs(&mut self, id: ProcessId, begun: Moment) {
        let pulse = self.processes[&id].pulse;
        if pulse == Pulse::Dead {
            return;
        }
        if pulse == Pulse::Sleeps && self.random.one_in(2) {
            return self.process(id).deferred.push_back(Happening::TickRuns { process: id, begun });
        }
        let (incarnation, mut name, sees) = {
            let process = &self.processes[&id];
            (process.incarnation().unwrap().clone(), process.tick.name.clone(), process.tick.sees)
        };
        let result = if self.trouble && self.random.one_in(100) {
            Err(TickError::Io(io::ErrorKind::TimedOut.into()))
        } else {
            self.storage.tick(&incarnation, &mut name, sees)
        };
        self.process(id).tick.name = name;
        let delay = self.storage_delay();
        self.after(delay, Happening::TickEnds { process: id, begun, result });
    }

    pub(super) fn tick_ends(&mut self, id: ProcessId, begun: Moment, result: Result<(), TickError>) {
        let idle = self.timing.tick_idle;
        let process = self.process(id);
        process.tick.under_way = false;
        if process.leaving {
            return;
        }
        match result {
            Ok(()) => {
                if let Some(seat) = &mut process.seat {
                    seat.ticked(begun);
                }
                self.acknowledge(id);
            }
            Err(TickError::Io(_)) => {
                for work in process.work.values_mut() {
                    if let Work::Validating { epoch, write } = *work {
                        *work = Work::Synced { epoch, write };
                    }
                }
            }
            Err(TickError::Fenced) => return self.end(id, false),
        }
        let process = self.process(id);
        if process.work.values().any(|work| matches!(work, Work::Synced { .. })) {
            return self.tick_soon(id);
        }
        process.tick.generation += 1;
        let generation = process.tick.generation;
        self.after(idle, Happening::TickBegins { process: id, generation });
    }
}
