//! How faults are done, and how all is made well again.

use super::*;

impl World {
    pub(super) fn make_trouble(&mut self) {
        if self.trouble {
            let fault = Fault::draw(&mut self.random, self.plan.members);
            self.after(Duration::ZERO, Happening::Fault(fault));
            let next = self.random.span(50_000, 2_500_000);
            self.after(next, Happening::Trouble);
        }
    }

    /// Everything is well from now on: paths heal, sleepers wake, who is gone is started again.
    pub(super) fn make_peace(&mut self) {
        self.trouble = false;
        self.network.heal();
        self.resend();
        let now = self.now;
        for id in self.processes.keys().copied().collect::<Vec<_>>() {
            self.wake(id);
            let process = self.process(id);
            process.stalled_until = now;
            let is_double = process.member >= 100 && process.pulse != Pulse::Dead;
            self.end_stall(id);
            // The second process of a member was a mistake, which ends.
            if is_double {
                self.end(id, false);
            }
        }
        for member in 0..self.plan.members {
            self.after(Duration::from_millis(1), Happening::Start { member, host: member });
        }
        self.step_all(|member| Event::Drain { request: 0, member: name(member), on: false });
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
                let all: Vec<_> = self.network.connections.keys().copied().collect();
                if let Some(count) = u64::try_from(all.len()).ok().filter(|count| *count > 0) {
                    let connection = all[usize::try_from(self.random.below(count)).unwrap()];
                    self.break_link(connection);
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
                    world.process(id).work.clear();
                    world.process(id).lease = None;
                    world.step(id, Event::Leave);
                }
            }),
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
                    match sleep {
                        None => self.end(id, false),
                        Some(span) => self.freeze(id, span),
                    }
                }
            }
        }
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
        let of_member =
            |(_, process): &(&ProcessId, &Process)| process.member == member && process.pulse != Pulse::Dead;
        for id in self.processes.iter().filter(of_member).map(|(id, _)| *id).collect::<Vec<_>>() {
            act(self, id);
        }
    }
}
