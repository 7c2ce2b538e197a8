//! The simulated world: a clock, a queue of what happens next, and the processes it happens to.

mod arbiter;
mod clients;
mod links;
mod troubles;

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
            Command::View(_) | Command::Owners { .. } | Command::Drained { .. } => {}
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
}

fn name(member: usize) -> MemberName {
    MemberName::new(&format!("m{member}"))
}

fn ownable(account: u64) -> OwnableId {
    OwnableId::Account(AccountId(uuid::Uuid::from_u128(u128::from(account))))
}
