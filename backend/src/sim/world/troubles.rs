//! How faults are done, and how all is made well again.

use super::*;
use crate::sim::invariant::i09_presence::JUNK;

impl World {
    pub(super) fn make_trouble(&mut self) {
        if self.trouble {
            let fault = match self.plan.troubles {
                Troubles::All | Troubles::Damage => Fault::draw(&mut self.random, self.plan.members),
                Troubles::Controller => Fault::LoseController(self.random.one_in(2).then_some(4000)),
            };
            *self.witness.seen.faults.entry(fault.name()).or_default() += 1;
            self.after(Duration::ZERO, Happening::Fault(fault));
            let next = self.random.span(50_000, 2_500_000);
            self.after(next, Happening::Trouble);
        }
    }

    /// Everything is well from now on: paths heal, sleepers wake, who is gone is started again.
    pub(super) fn make_peace(&mut self) {
        self.trouble = false;
        self.witness.answers.on_peace(self.now);
        self.server.fill(false);
        self.network.heal();
        self.network.release();
        self.resend();
        let now = self.now;
        for id in self.processes.keys().copied().collect::<Vec<_>>() {
            self.wake(id);
            let process = self.process(id);
            process.stalled_until = now;
            let is_double = process.host >= 100 && process.pulse != Pulse::Dead;
            process.fs.forgive();
            self.end_stall(id);
            // The second process of a member was a mistake, which ends.
            if is_double {
                self.end(id, false);
            }
        }
        for member in 0..self.plan.members {
            self.after(Duration::from_millis(1), Happening::Start { member, host: member });
        }
        for (stopped, process) in self.stopped_processes() {
            // Who hangs before it has a seat goes on hanging, and everybody else has to do without it.
            if self.processes[&process].joining.is_some() {
                self.hung.insert(stopped);
                self.witness.answers.on_hung(self.processes[&process].host);
            } else {
                self.task_goes_on(process, stopped);
            }
        }
        self.undrain();
        self.leave_junk();
    }

    pub(super) fn undrain(&mut self) {
        self.step_all(|member| Event::Drain { request: 0, member: name(member), on: false });
    }

    /// What a careless program might have left beside the files of each ownable (I9).
    fn leave_junk(&self) {
        let stranger = self.server.again();
        for ownable in self.ownables() {
            for name in JUNK {
                let _ = stranger.create(&Path::new(STORAGE).join(ownable.path()).join(name));
            }
        }
    }

    /// Some kernel writes back what it has kept, or forgets what it has cached.
    pub(super) fn kernel(&mut self) {
        let again = self.random.span(20_000, 500_000);
        self.after(again, Happening::Kernel);
        let count = self.hosts.len() as u64;
        if count > 0 {
            let pick = usize::try_from(self.random.below(count)).unwrap();
            let mount = self.hosts.values().nth(pick).unwrap().clone();
            if self.random.one_in(2) { mount.write_back() } else { mount.expire_caches() }
        }
        if !self.trouble && self.random.one_in(3) {
            // Whoever ends a drain repeats it until it is so.
            self.undrain();
        }
    }

    /// The host stops, and its clock with it: it does not know that time has passed.
    fn stop_clock(&mut self, id: ProcessId, milliseconds: u64) {
        let shows = self.local(id);
        let until = self.now + Duration::from_millis(milliseconds);
        self.freeze(id, milliseconds);
        self.process(id).clock.since = (until, shows);
    }

    /// Flips a bit of the account that may be damaged.
    fn flip(&mut self) {
        let Some(victim) = self.witness.damaged else { return };
        let dir = Path::new(STORAGE).join(victim.path());
        let names = self.server.list(&dir).unwrap_or_default();
        if !names.is_empty() {
            let name = &names[usize::try_from(self.random.below(names.len() as u64)).unwrap()];
            let _ = self.server.flip(&dir.join(name), usize::try_from(self.random.below(8 * 4096)).unwrap());
        }
    }

    pub(super) fn step_all(&mut self, event: impl Fn(usize) -> Event) {
        for id in self.processes.keys().copied().collect::<Vec<_>>() {
            if self.processes[&id].pulse == Pulse::Runs {
                for member in 0..self.plan.members {
                    self.step(id, event(member));
                }
            }
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(member) => self.each(member, |world, id| world.end(id, false)),
            Fault::Crash(member) => self.each(member, |world, id| world.end(id, true)),
            Fault::Freeze(member, span) => self.each(member, |world, id| world.freeze(id, span)),
            Fault::CutOneWay(from, to) => self.network.cut(from, to),
            Fault::CutPair(one, other) => {
                self.network.cut(one, other);
                self.network.cut(other, one);
            }
            Fault::Split(side) => {
                for one in 0..self.plan.members {
                    for other in 0..self.plan.members {
                        if (side >> one ^ side >> other) & 1 == 1 {
                            self.network.cut(one, other);
                        }
                    }
                }
            }
            Fault::Heal => {
                self.network.heal();
                self.resend();
            }
            Fault::BreakLink => {
                if let Some(connection) = self.some_link() {
                    self.break_link(connection);
                }
            }
            Fault::HoldLink => {
                if let Some(connection) = self.some_link() {
                    let side = usize::from(self.random.one_in(2));
                    self.hold(connection, side);
                }
            }
            Fault::StallStorage(member, span) => self.each(member, |world, id| {
                let until = world.now + Duration::from_millis(span);
                world.process(id).stalled_until = until;
                world.after(Duration::from_millis(span), Happening::StallEnds { process: id });
            }),
            Fault::Leave(member) => self.each(member, |world, id| {
                if world.processes[&id].pulse == Pulse::Runs && world.processes[&id].seat.is_some() {
                    world.process(id).leaving = true;
                    world.process(id).accounts.clear();
                    world.process(id).shards.clear();
                    world.process(id).lease = None;
                    world.step(id, Event::Leave);
                }
            }),
            Fault::StopClock(member, span) => self.each(member, |world, id| {
                // A lease counts on a clock: where clocks may stop, nobody reads within one.
                if world.may_lease() { world.freeze(id, span) } else { world.stop_clock(id, span) }
            }),
            Fault::BlackOut => {
                let random = &mut self.random;
                self.server.black_out(|ways| usize::try_from(random.below(ways as u64)).unwrap());
                self.server = self.server.again();
                for id in self.processes.keys().copied().collect::<Vec<_>>() {
                    if self.processes[&id].pulse != Pulse::Dead {
                        self.end(id, true);
                    }
                }
            }
            Fault::Fill(span) => {
                self.server.fill(true);
                self.after(Duration::from_millis(span), Happening::Emptied);
            }
            Fault::Flip => self.flip(),
            Fault::Double(member) => self.start(member, member + 100),
            Fault::Drain(member, on) => {
                let asker = self.processes.iter().find(|(_, process)| process.pulse == Pulse::Runs).map(|(id, _)| *id);
                if let Some(id) = asker {
                    self.step(id, Event::Drain { request: 0, member: name(member), on });
                }
            }
            Fault::LoseController(sleep) => {
                let controls =
                    |process: &Process| process.seat.as_ref().is_some_and(|seat| seat.controller().is_some());
                let found = self.processes.iter().find(|(_, one)| one.pulse == Pulse::Runs && controls(one));
                if let Some(id) = found.map(|(id, _)| *id) {
                    self.witness.owners.on_struck(id);
                    match sleep {
                        None => self.end(id, false),
                        Some(span) => self.freeze(id, span),
                    }
                }
            }
        }
    }

    fn some_link(&mut self) -> Option<u64> {
        let count = self.network.connections.len() as u64;
        let pick = usize::try_from(self.random.below(count.max(1))).unwrap();
        self.network.connections.keys().nth(pick).copied()
    }

    pub(super) fn break_link(&mut self, connection: u64) {
        for side in [0, 1] {
            let Some(one) = self.network.connections.get_mut(&connection) else { return };
            one.under_way[side].clear();
            one.ending[side] = true;
            self.after(Duration::ZERO, Happening::Delivery { connection, side });
        }
    }

    pub(super) fn each(&mut self, member: usize, act: impl Fn(&mut Self, ProcessId)) {
        let of_member = |(_, process): &(&ProcessId, &Process)| process.host == member && process.pulse != Pulse::Dead;
        for id in self.processes.iter().filter(of_member).map(|(id, _)| *id).collect::<Vec<_>>() {
            act(self, id);
        }
    }
}
