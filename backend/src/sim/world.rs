//! The simulated world: a clock, a queue of what happens next, and the processes it happens to.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io,
    time::Duration,
};

use laniakea_config::ClusterTiming;
use laniakea_directory::{AccountId, MemberName};

use crate::cluster::{
    Arbiter as _, ArbiterAnswer, ArbiterCall, Claim, Command, Event, Incarnation, JoinStep, Joining, LinkId, Message,
    Moment, Newcomer, Notice, OwnableId, Peer, Refusal, Side, TickError, perform,
};

use super::{
    faults::Fault,
    invariant::Invariants,
    network::{End, Network},
    process::{Process, Pulse, Work},
    random::Random,
    storage::{Storage, address},
};

/// Names a process for the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId(pub u64);

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub members: usize,
    pub accounts: u64,
    /// While faults come.
    pub troubled: Duration,
    /// From then on all must be well.
    pub healing: Duration,
    /// A deliberate mistake, to see that it is found.
    pub mistake: Option<Mistake>,
}

/// Mistakes the invariants must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Writes are acknowledged without a tick.
    NoTick,
    /// Writes are acknowledged after a tick that began before they were synced.
    EarlyTick,
    /// Fences do nothing.
    NoFence,
}

/// What happens at some moment.
#[derive(Debug)]
pub enum Happening {
    Start {
        member: usize,
        host: usize,
    },
    /// A call reaches the file server.
    ArbiterRuns {
        process: ProcessId,
        call: ArbiterCall,
    },
    ArbiterAnswers {
        process: ProcessId,
        began: Moment,
        answer: ArbiterAnswer,
    },
    TickBegins {
        process: ProcessId,
        generation: u64,
    },
    TickRuns {
        process: ProcessId,
        begun: Moment,
    },
    TickEnds {
        process: ProcessId,
        begun: Moment,
        result: Result<(), TickError>,
    },
    Delivery {
        connection: u64,
        side: usize,
    },
    DialEnds {
        process: ProcessId,
        link: LinkId,
        peer: Peer,
    },
    DialFails {
        process: ProcessId,
        incarnation: Incarnation,
        refused: bool,
    },
    LinkUp {
        process: ProcessId,
        link: LinkId,
        side: Side,
        peer: Peer,
    },
    LinkDown {
        process: ProcessId,
        link: LinkId,
    },
    Received {
        process: ProcessId,
        link: LinkId,
        message: Message,
    },
    Timer {
        process: ProcessId,
        generation: u64,
    },
    /// A client does something at a member.
    Client {
        member: usize,
    },
    OpenRuns {
        process: ProcessId,
        ownable: OwnableId,
    },
    WriteRuns {
        process: ProcessId,
        ownable: OwnableId,
    },
    WriteEnds {
        process: ProcessId,
        ownable: OwnableId,
    },
    Wakes {
        process: ProcessId,
    },
    StallEnds {
        process: ProcessId,
    },
    Fault(Fault),
    Trouble,
    Peace,
}

impl Happening {
    /// The process whose file operation this is, if it is one.
    fn goes_to_storage(&self) -> Option<ProcessId> {
        match self {
            Self::ArbiterRuns { process, .. }
            | Self::TickRuns { process, .. }
            | Self::OpenRuns { process, .. }
            | Self::WriteRuns { process, .. } => Some(*process),
            _ => None,
        }
    }

    /// The process that must be awake for this to happen, if one must.
    fn waits_for(&self) -> Option<ProcessId> {
        match self {
            Self::ArbiterAnswers { process, .. }
            | Self::TickBegins { process, .. }
            | Self::TickEnds { process, .. }
            | Self::DialFails { process, .. }
            | Self::LinkUp { process, .. }
            | Self::LinkDown { process, .. }
            | Self::Received { process, .. }
            | Self::Timer { process, .. }
            | Self::OpenRuns { process, .. }
            | Self::WriteRuns { process, .. }
            | Self::WriteEnds { process, .. } => Some(*process),
            // The call may have left the process before it fell asleep.
            Self::ArbiterRuns { .. } | Self::TickRuns { .. } => None,
            Self::Start { .. }
            | Self::Delivery { .. }
            | Self::DialEnds { .. }
            | Self::Client { .. }
            | Self::Wakes { .. }
            | Self::StallEnds { .. }
            | Self::Fault(_)
            | Self::Trouble
            | Self::Peace => None,
        }
    }
}

/// An entry of the queue: earlier first, then in the order they were put there.
struct Due(Moment, u64, Happening);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// A run.
pub struct World {
    plan: Plan,
    /// Print every event.
    traced: bool,
    timing: ClusterTiming,
    now: Moment,
    queue: BinaryHeap<Reverse<Due>>,
    order: u64,
    random: Random,
    network: Network,
    storage: Storage,
    processes: BTreeMap<ProcessId, Process>,
    next_process: u64,
    next_request: u64,
    next_write: u64,
    trouble: bool,
    /// What each client was told last after the peace, by member and account.
    pub answered: BTreeMap<(usize, OwnableId), Moment>,
    pub invariants: Invariants,
    /// A digest of everything that happened, to compare runs.
    pub digest: u64,
    pub events: u64,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let mut storage = Storage::default();
        storage.lies_about_fences = plan.mistake == Some(Mistake::NoFence);
        let mut world = Self {
            plan,
            traced: std::env::var_os("LANIAKEA_TRACE").is_some(),
            timing: ClusterTiming::default(),
            now: Moment::new(Duration::from_secs(1000)),
            queue: BinaryHeap::new(),
            order: 0,
            random: Random::new(plan.seed),
            network: Network::default(),
            storage,
            processes: BTreeMap::new(),
            next_process: 0,
            next_request: 0,
            next_write: 0,
            trouble: true,
            answered: BTreeMap::new(),
            invariants: Invariants::default(),
            digest: 0,
            events: 0,
        };
        for member in 0..plan.members {
            let start = world.random.span(0, 300_000);
            world.after(start, Happening::Start { member, host: member });
            world.after(Duration::from_millis(500), Happening::Client { member });
        }
        world.after(Duration::from_millis(1500), Happening::Trouble);
        world.after(plan.troubled, Happening::Peace);
        world
    }

    /// Runs to the end.
    pub fn run(&mut self) {
        let end = self.now + self.plan.troubled + self.plan.healing;
        while let Some(Reverse(Due(at, _, happening))) = self.queue.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.events += 1;
            self.digest = (self.digest ^ at.as_micros()).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
            if self.traced {
                println!("{:>10} {happening:?}", at.as_micros() - 1_000_000_000);
            }
            self.happen(happening);
        }
    }

    /// After the peace every member gets answers about every account.
    pub fn check_liveness(&self) {
        for member in 0..self.plan.members {
            for account in 0..self.plan.accounts {
                let answered = self.answered.get(&(member, ownable(account)));
                assert!(
                    answered.is_some(),
                    "every account answers after healing: member {member}, account {account} (I14)"
                );
            }
        }
    }

    fn after(&mut self, span: Duration, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Due(self.now + span, self.order, happening)));
    }

    fn happen(&mut self, happening: Happening) {
        if let Some(id) = happening.waits_for() {
            let Some(process) = self.processes.get_mut(&id) else { return };
            match process.pulse {
                Pulse::Runs => {}
                Pulse::Sleeps => return process.deferred.push_back(happening),
                Pulse::Dead => return,
            }
        }
        if let Some(id) = happening.goes_to_storage()
            && self.processes[&id].stalled_until > self.now
        {
            return self.process(id).stuck.push(happening);
        }
        match happening {
            Happening::Start { member, host } => self.start(member, host),
            Happening::ArbiterRuns { process, call } => self.arbiter_runs(process, call),
            Happening::ArbiterAnswers { process, began, answer } => self.arbiter_answers(process, began, answer),
            Happening::TickBegins { process, generation } => self.tick_begins(process, generation),
            Happening::TickRuns { process, begun } => self.tick_runs(process, begun),
            Happening::TickEnds { process, begun, result } => self.tick_ends(process, begun, result),
            Happening::Delivery { connection, side } => self.deliver(connection, side),
            Happening::DialEnds { process, link, peer } => self.dial_ends(process, link, peer),
            Happening::DialFails { process, incarnation, refused } => {
                self.step(process, Event::DialFailed { incarnation, refused });
            }
            Happening::LinkUp { process, link, side, peer } => self.step(process, Event::LinkUp { link, side, peer }),
            Happening::LinkDown { process, link } => self.step(process, Event::LinkDown(link)),
            Happening::Received { process, link, message } => self.step(process, Event::Received { link, message }),
            Happening::Timer { process, generation } => {
                if self.processes[&process].timer == generation {
                    self.step(process, Event::Timer);
                }
            }
            Happening::Client { member } => self.client(member),
            Happening::OpenRuns { process, ownable } => self.open_runs(process, ownable),
            Happening::WriteRuns { process, ownable } => self.write_runs(process, ownable),
            Happening::WriteEnds { process, ownable } => self.write_ends(process, ownable),
            Happening::Wakes { process } => self.wake(process),
            Happening::StallEnds { process } => self.end_stall(process),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Trouble => self.make_trouble(),
            Happening::Peace => self.make_peace(),
        }
    }

    // --- processes -------------------------------------------------------------------------------------------------

    fn start(&mut self, member: usize, host: usize) {
        let runs_there = |process: &Process| process.member == host && process.pulse != Pulse::Dead;
        // On one address only one process can listen.
        if self.processes.values().any(runs_there) {
            return;
        }
        let newcomer = Newcomer { member: name(member), control: address(host, 1), handoff: address(host, 2) };
        let (joining, call) = Joining::begin(newcomer, self.timing);
        self.next_process += 1;
        let id = ProcessId(self.next_process);
        self.processes.insert(id, Process::new(host, joining));
        self.ask(id, call);
    }

    /// The process is gone: it says goodbye by closing its sockets, or, if its machine stops, not at all.
    fn end(&mut self, id: ProcessId, silently: bool) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.pulse = Pulse::Dead;
        let member = process.member;
        for (connection, side) in self.network.of(id) {
            if !silently {
                self.close(connection, side);
            } else if let Some(link) = self.network.connections.get_mut(&connection) {
                link.ends[side].closed = true;
            }
        }
        // Somebody starts it again.
        let home = member % 100;
        if self.trouble || home == member {
            let later = self.random.span(100_000, 2_500_000);
            self.after(later, Happening::Start { member: home, host: home });
        }
    }

    fn wake(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id).filter(|process| process.pulse == Pulse::Sleeps) else {
            return;
        };
        process.pulse = Pulse::Runs;
        let deferred = std::mem::take(&mut process.deferred);
        for happening in deferred {
            self.after(Duration::ZERO, happening);
        }
    }

    fn freeze(&mut self, id: ProcessId, milliseconds: u64) {
        let Some(process) = self.processes.get_mut(&id).filter(|process| process.pulse == Pulse::Runs) else { return };
        process.pulse = Pulse::Sleeps;
        self.after(Duration::from_millis(milliseconds), Happening::Wakes { process: id });
    }

    fn step(&mut self, id: ProcessId, event: Event) {
        let now = self.now;
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(seat) = &mut process.seat else { return };
        let commands = seat.step(now, event);
        let deadline = seat.deadline(now);
        process.timer += 1;
        let generation = process.timer;
        // A timer never fires in the moment it is set: an event that changes nothing must not come again at once.
        let wait = deadline.since(now).max(Duration::from_micros(10));
        self.after(wait, Happening::Timer { process: id, generation });
        for command in commands {
            self.carry_out(id, command);
        }
    }

    fn carry_out(&mut self, id: ProcessId, command: Command) {
        match command {
            Command::Ask(call) => self.ask(id, call),
            Command::Dial(peer) => self.dial(id, peer),
            Command::Send { link, message } => self.send(id, link, message),
            Command::HangUp(link) => {
                if let Some((connection, side)) = self.network.find(id, link) {
                    self.close(connection, side);
                }
            }
            Command::Answer { request, outcome } => self.answer(id, request, outcome),
            Command::Recall(ownable) => self.process(id).recalled.push(ownable),
            Command::Publish(sees) => {
                self.process(id).tick.sees = sees;
                self.tick_soon(id);
            }
            Command::Lease(until) => {
                self.invariants.seen.leases += u64::from(until.is_some());
                self.process(id).lease = until;
            }
            Command::Departed => self.end(id, false),
            Command::Notice(notice) => self.on_notice(id, &notice),
            Command::View(_) | Command::Owners { .. } => {}
        }
    }

    fn on_notice(&mut self, id: ProcessId, notice: &Notice) {
        match notice {
            Notice::Won(_) => self.invariants.seen.terms += 1,
            Notice::Fenced(_) => self.invariants.seen.fences += 1,
            Notice::Adopted(_)
            | Notice::Granting { .. }
            | Notice::Deposed(_)
            | Notice::Condemned { .. }
            | Notice::Fencing(_)
            | Notice::Lost { .. }
            | Notice::Stalled(_)
            | Notice::ArbiterFailed(_) => {}
        }
        if self.traced {
            println!("{:>10} {id:?} {notice:?}", self.now.as_micros() - 1_000_000_000);
        }
    }

    fn process(&mut self, id: ProcessId) -> &mut Process {
        self.processes.get_mut(&id).unwrap()
    }

    // --- the arbiter -----------------------------------------------------------------------------------------------

    fn storage_delay(&mut self) -> Duration {
        self.random.latency(1_000, 30_000)
    }

    /// The file server answers this process again: what it asked for is done now.
    fn end_stall(&mut self, id: ProcessId) {
        let now = self.now;
        let process = self.process(id);
        if process.stalled_until <= now {
            for happening in std::mem::take(&mut process.stuck) {
                self.after(Duration::ZERO, happening);
            }
        }
    }

    fn ask(&mut self, id: ProcessId, call: ArbiterCall) {
        let delay = self.storage_delay();
        self.after(delay, Happening::ArbiterRuns { process: id, call });
    }

    fn arbiter_runs(&mut self, id: ProcessId, call: ArbiterCall) {
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

    fn arbiter_answers(&mut self, id: ProcessId, began: Moment, answer: ArbiterAnswer) {
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

    fn tick_soon(&mut self, id: ProcessId) {
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

    fn tick_begins(&mut self, id: ProcessId, generation: u64) {
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

    fn tick_runs(&mut self, id: ProcessId, begun: Moment) {
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

    fn tick_ends(&mut self, id: ProcessId, begun: Moment, result: Result<(), TickError>) {
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

    // --- links -----------------------------------------------------------------------------------------------------

    fn dial(&mut self, id: ProcessId, peer: Peer) {
        let link = self.network.new_link();
        let delay = self.random.latency(500, 20_000);
        self.after(delay, Happening::DialEnds { process: id, link, peer });
    }

    fn dial_ends(&mut self, id: ProcessId, link: LinkId, peer: Peer) {
        let Some(process) = self.processes.get(&id).filter(|process| process.pulse != Pulse::Dead) else { return };
        let (host, me) = (process.member, process.peer.clone().unwrap());
        let there = usize::from(match peer.control.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        });
        let listening =
            |other: &&ProcessId| self.processes[other].member == there && self.processes[other].pulse != Pulse::Dead;
        let answering = self.processes.keys().find(listening).copied();
        let is_cut = self.network.is_cut(host, there) || self.network.is_cut(there, host);
        let joined =
            answering.and_then(|other| self.processes[&other].seat.as_ref().map(|seat| (other, seat.me().clone())));
        let is_awake = answering.is_some_and(|other| self.processes[&other].pulse == Pulse::Runs);
        let Some((other, answerer)) = joined.filter(|_| !is_cut && is_awake) else {
            let refused = !is_cut && answering.is_none();
            let wait = if refused { Duration::from_micros(300) } else { self.timing.suspect };
            let failed = Happening::DialFails { process: id, incarnation: peer.incarnation, refused };
            return self.after(wait, failed);
        };
        let theirs = self.network.new_link();
        let end = |process, host, link| End { process, host, link, closed: false };
        self.network.connect([end(id, host, link), end(other, there, theirs)]);
        if answerer.incarnation != peer.incarnation {
            let failed = Happening::DialFails { process: id, incarnation: peer.incarnation, refused: false };
            self.after(Duration::ZERO, failed);
        }
        self.after(Duration::ZERO, Happening::LinkUp { process: id, link, side: Side::Dialled, peer: answerer });
        self.after(Duration::ZERO, Happening::LinkUp { process: other, link: theirs, side: Side::Accepted, peer: me });
    }

    fn send(&mut self, id: ProcessId, link: LinkId, message: Message) {
        let Some((connection, side)) = self.network.find(id, link) else { return };
        let Some(one) = self.network.connections.get_mut(&connection) else { return };
        if one.ends[1 - side].closed {
            return;
        }
        one.under_way[1 - side].push_back(message);
        let delay = self.random.latency(200, 20_000);
        self.after(delay, Happening::Delivery { connection, side: 1 - side });
    }

    fn close(&mut self, connection: u64, side: usize) {
        if self.network.close(connection, side).is_some() {
            let delay = self.random.latency(200, 20_000);
            self.after(delay, Happening::Delivery { connection, side: 1 - side });
        }
    }

    /// Something arrives: the next message, or after the last one the link's end. Over a path that is cut nothing does.
    fn deliver(&mut self, connection: u64, side: usize) {
        let Some(one) = self.network.connections.get_mut(&connection) else { return };
        let (to, from) = (one.ends[side], one.ends[1 - side]);
        if to.closed || self.network.is_cut(from.host, to.host) {
            return;
        }
        let Some(one) = self.network.connections.get_mut(&connection) else { return };
        if let Some(message) = one.under_way[side].pop_front() {
            self.after(Duration::ZERO, Happening::Received { process: to.process, link: to.link, message });
        } else if one.ending[side] {
            self.network.close(connection, side);
            self.after(Duration::ZERO, Happening::LinkDown { process: to.process, link: to.link });
        }
    }

    /// What was sent over a path that was cut arrives now; peers that are gone are found to be.
    fn resend(&mut self) {
        let all: Vec<_> = self.network.connections.keys().copied().collect();
        for connection in all {
            for side in [0, 1] {
                let Some(one) = self.network.connections.get_mut(&connection) else { continue };
                let other_dead = self.processes[&one.ends[1 - side].process].pulse == Pulse::Dead;
                one.ending[side] |= other_dead;
                let pending = one.under_way[side].len() + usize::from(one.ending[side]);
                for _ in 0..pending {
                    let delay = self.random.latency(200, 20_000);
                    self.after(delay, Happening::Delivery { connection, side });
                }
            }
        }
    }

    // --- clients and workers ---------------------------------------------------------------------------------------

    /// A client picks an account at a member and does what comes next there.
    fn client(&mut self, member: usize) {
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

    fn work(&mut self, id: ProcessId, ownable: OwnableId) {
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

    fn note_answer(&mut self, id: ProcessId, ownable: OwnableId) {
        let member = self.processes[&id].member % 100;
        if !self.trouble {
            self.answered.insert((member, ownable), self.now);
        }
    }

    fn answer(&mut self, id: ProcessId, request: u64, outcome: Result<Claim, Refusal>) {
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

    fn open_runs(&mut self, id: ProcessId, ownable: OwnableId) {
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
    fn write_runs(&mut self, id: ProcessId, ownable: OwnableId) {
        let (Some(Work::Writing { epoch, write }) | Some(Work::Validating { epoch, write })) =
            self.process(id).work.get(&ownable).cloned()
        else {
            return;
        };
        self.storage.append(ownable, epoch, write);
        let delay = self.storage_delay();
        self.after(delay, Happening::WriteEnds { process: id, ownable });
    }

    fn write_ends(&mut self, id: ProcessId, ownable: OwnableId) {
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
    fn acknowledge(&mut self, id: ProcessId) {
        let process = self.processes.get_mut(&id).unwrap();
        for (ownable, work) in &mut process.work {
            if let Work::Validating { epoch, write } = *work {
                *work = Work::Open { epoch };
                self.invariants.on_acknowledged(*ownable, write, &self.storage);
            }
        }
    }

    // --- faults ----------------------------------------------------------------------------------------------------

    fn make_trouble(&mut self) {
        if self.trouble {
            let fault = Fault::draw(&mut self.random, self.plan.members);
            self.after(Duration::ZERO, Happening::Fault(fault));
            let next = self.random.span(50_000, 2_500_000);
            self.after(next, Happening::Trouble);
        }
    }

    /// Everything is well from now on: paths heal, sleepers wake, who is gone is started again.
    fn make_peace(&mut self) {
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
        self.step_all(|member| Event::Drain { member: name(member), on: false });
    }

    fn step_all(&mut self, event: impl Fn(usize) -> Event) {
        for id in self.processes.keys().copied().collect::<Vec<_>>() {
            if self.processes[&id].pulse == Pulse::Runs {
                for member in 0..self.plan.members {
                    self.step(id, event(member));
                }
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
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
                    self.step(id, Event::Drain { member: name(member), on });
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

    fn break_link(&mut self, connection: u64) {
        for side in [0, 1] {
            let Some(one) = self.network.connections.get_mut(&connection) else { return };
            one.under_way[side].clear();
            one.ending[side] = true;
            self.after(Duration::ZERO, Happening::Delivery { connection, side });
        }
    }

    fn each(&mut self, member: usize, act: impl Fn(&mut Self, ProcessId)) {
        let of_member =
            |(_, process): &(&ProcessId, &Process)| process.member == member && process.pulse != Pulse::Dead;
        for id in self.processes.iter().filter(of_member).map(|(id, _)| *id).collect::<Vec<_>>() {
            act(self, id);
        }
    }
}

fn name(member: usize) -> MemberName {
    MemberName::new(&format!("m{member}"))
}

fn ownable(account: u64) -> OwnableId {
    OwnableId::Account(AccountId(uuid::Uuid::from_u128(u128::from(account))))
}
