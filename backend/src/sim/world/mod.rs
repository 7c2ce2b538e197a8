//! The simulated world: a clock, a queue of what happens next, and the processes it happens to.

mod arbiter;
mod clients;
mod end;
mod links;
mod mail;
mod strangers;
mod troubles;
mod works;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    io,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use laniakea_config::ClusterTiming;
use laniakea_directory::{AccountId, MemberName};

use crate::{
    cluster::{
        Arbiter as _, ArbiterAnswer, ArbiterCall, Claim, Command, Epoch, Event, Incarnation, JoinStep, Joining, LinkId,
        Message, Moment, Newcomer, Notice, OwnableId, Peer, Refusal, Side, TickError, perform,
    },
    drive::arbiter::{FileArbiter, make_folders},
    mailbox::Account,
    queue::Queue,
    sabotage::{self, Sabotage},
    store::{
        FEATURE_LEVEL, Fs as _, SimulatedFs,
        fs::simulated::{Caching, Fault as FileFault},
    },
    worker::WorkerTiming,
};

use super::{
    faults::Fault,
    invariant::Witness,
    network::{End, Network, address},
    process::{Clock, Open, Phase, Process, Pulse, Ticking, Waiter, Work},
    random::Random,
    task::{Done, Progress, Stopped, Task, run_until},
};

use clients::Delivery;
pub use clients::ReadTicket;
pub use strangers::Stranger;
use works::{Kind, Told};

/// Where the cluster's storage is.
const STORAGE: &str = "/s";
/// How many shards the queue has here.
const SHARDS: u8 = 2;

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
    /// How far clocks may run off, in thousandths; beyond 200 reads may not be answered within a lease.
    pub drift: u64,
    /// What the mounts show.
    pub caching: Caching,
    /// What goes wrong.
    pub troubles: Troubles,
}

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Troubles {
    /// All that can.
    All,
    /// All, and a bit of one account's files flips.
    Damage,
    /// Controllers die and sleep, nothing else.
    Controller,
}

/// What happens at some moment.
#[derive(Debug)]
pub enum Happening {
    Start {
        member: usize,
        host: usize,
    },
    TickBegins {
        process: ProcessId,
        generation: u64,
    },
    /// A process begins something on the filesystem.
    TaskRuns {
        process: ProcessId,
        about: About,
        task: Blocking,
    },
    /// What was stopped before an operation goes on.
    TaskGoesOn {
        process: ProcessId,
        stopped: u64,
    },
    TaskEnds {
        process: ProcessId,
        about: About,
        done: Outcome,
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
    /// A worker's timer.
    Rest {
        process: ProcessId,
        ownable: OwnableId,
        generation: u64,
    },
    /// A commit is not over in time.
    CommitLate {
        process: ProcessId,
        ownable: OwnableId,
        generation: u64,
    },
    GuestLeaves {
        process: ProcessId,
        ownable: OwnableId,
    },
    /// Somebody who has not logged in says something to a process.
    Stranger {
        process: ProcessId,
        number: u64,
    },
    /// A member looks through the queue.
    Runner {
        process: ProcessId,
    },
    /// Some kernel writes back or forgets what it has cached.
    Kernel,
    /// There is room on the storage again.
    Emptied,
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

/// What a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A call to the arbiter, begun then on the process's clock.
    Arbiter(Moment),
    Tick(Moment),
    Recovery(OwnableId),
    /// A worker's task; the generation of its phase.
    Worker(OwnableId, u64),
    /// A snapshot, written beside the worker's tasks; the epoch of the ownership.
    Snapshot(OwnableId, Epoch),
}

/// A task on its way to the filesystem.
pub struct Blocking(Task);

impl std::fmt::Debug for Blocking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// What came of a task, on its way back.
pub struct Outcome(Box<Done>);

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.0 {
            Done::Arbiter(answer) => answer.fmt(f),
            Done::Tick(name, result) => write!(f, "{name:?} {result:?}"),
            Done::Account(result) => write!(f, "{:?}", result.as_ref().err()),
            Done::Shard(result) => write!(f, "{:?}", result.as_ref().err()),
            Done::Written(written) => write!(f, "{:?}", written.error()),
            Done::Snapshotted(snapshotted) => write!(f, "{:?}", snapshotted.error()),
            Done::Tidied(tidied) => write!(f, "{:?}", tidied.error()),
            Done::Closed => f.write_str("closed"),
        }
    }
}

impl Happening {
    /// The process that must be awake for this to happen, if one must.
    fn waits_for(&self) -> Option<ProcessId> {
        match self {
            Self::TickBegins { process, .. }
            | Self::TaskEnds { process, .. }
            | Self::DialFails { process, .. }
            | Self::LinkUp { process, .. }
            | Self::LinkDown { process, .. }
            | Self::Received { process, .. }
            | Self::Timer { process, .. }
            | Self::Rest { process, .. }
            | Self::CommitLate { process, .. }
            | Self::GuestLeaves { process, .. }
            | Self::Stranger { process, .. }
            | Self::Runner { process } => Some(*process),
            // The call may have left the process before it fell asleep.
            Self::TaskRuns { .. } | Self::TaskGoesOn { .. } => None,
            Self::Start { .. }
            | Self::Delivery { .. }
            | Self::DialEnds { .. }
            | Self::Client { .. }
            | Self::Kernel
            | Self::Emptied
            | Self::Wakes { .. }
            | Self::StallEnds { .. }
            | Self::Fault(_)
            | Self::Trouble
            | Self::Peace => None,
        }
    }
}

/// An entry of the queue: earlier first, then in the order they were put there.
struct Due(Moment, u64, Box<Happening>);

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
    worker_timing: WorkerTiming,
    now: Moment,
    /// What clocks of the system show when those of processes show nothing.
    born: Instant,
    queue: BinaryHeap<Reverse<Due>>,
    order: u64,
    random: Random,
    network: Network,
    /// The shared filesystem, as somebody without caches sees it.
    server: SimulatedFs,
    /// Each host's mount.
    hosts: BTreeMap<usize, SimulatedFs>,
    processes: BTreeMap<ProcessId, Process>,
    next_process: u64,
    next_request: u64,
    stopped: BTreeMap<u64, (ProcessId, About, Stopped)>,
    next_stopped: u64,
    /// Which of them never go on.
    hung: BTreeSet<u64>,
    next_message: u64,
    /// Counts the phases of all workers, so that what comes late for one is nothing to its successor.
    generations: u64,
    /// Deliveries whose fate their senders do not know.
    deliveries: Vec<Delivery>,
    /// What workers answered, until it is looked at.
    told: Arc<Mutex<Vec<Told>>>,
    trouble: bool,
    pub witness: Witness,
    /// A digest of everything that happened, to compare runs.
    pub digest: u64,
    pub events: u64,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let server = SimulatedFs::new();
        server.create_dir(Path::new(STORAGE)).unwrap();
        server.sync_dir(Path::new("/")).unwrap();
        make_folders(&server, Path::new(STORAGE)).unwrap();
        let timing = ClusterTiming::default();
        let worker_timing = WorkerTiming {
            idle_release: Duration::from_secs(2),
            commit: Duration::from_secs(6),
            grace: timing.release / 2,
        };
        let mut world = Self {
            plan,
            traced: std::env::var_os("LANIAKEA_TRACE").is_some(),
            timing,
            worker_timing,
            now: Moment::new(Duration::from_secs(1000)),
            born: Instant::now(),
            queue: BinaryHeap::new(),
            order: 0,
            random: Random::new(plan.seed),
            network: Network::default(),
            server,
            hosts: BTreeMap::new(),
            processes: BTreeMap::new(),
            next_process: 0,
            next_request: 0,
            stopped: BTreeMap::new(),
            next_stopped: 0,
            hung: BTreeSet::new(),
            next_message: 0,
            generations: 0,
            deliveries: Vec::new(),
            told: Arc::default(),
            trouble: true,
            witness: Witness::default(),
            digest: 0,
            events: 0,
        };
        if plan.troubles == Troubles::Damage {
            world.witness.damaged = Some(ownable(0));
        }
        world.witness.owners.concerned = plan.troubles == Troubles::Controller;
        for member in 0..plan.members {
            let start = world.random.span(0, 300_000);
            world.after(start, Happening::Start { member, host: member });
            world.after(Duration::from_millis(500), Happening::Client { member });
        }
        world.after(Duration::from_millis(100), Happening::Kernel);
        world.after(Duration::from_millis(1500), Happening::Trouble);
        world.after(plan.troubled, Happening::Peace);
        world
    }

    /// All that can be owned.
    pub fn ownables(&self) -> impl Iterator<Item = OwnableId> + use<> {
        (0..self.plan.accounts).map(ownable).chain((0..SHARDS).map(OwnableId::Queue))
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
            self.note(at.as_micros());
            if self.traced {
                println!("{:>10} {happening:?}", at.as_micros() - 1_000_000_000);
            }
            self.happen(*happening);
        }
        self.witness.seen.simulated = self.plan.troubled + self.plan.healing;
    }

    /// Makes something part of the digest.
    fn note(&mut self, number: u64) {
        self.digest = (self.digest ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    }

    fn after(&mut self, span: Duration, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Due(self.now + span, self.order, Box::new(happening))));
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
        match happening {
            Happening::Start { member, host } => self.start(member, host),
            Happening::TickBegins { process, generation } => self.tick_begins(process, generation),
            Happening::TaskRuns { process, about, task } => self.task_runs(process, about, task),
            Happening::TaskGoesOn { process, stopped } => self.task_goes_on(process, stopped),
            Happening::TaskEnds { process, about, done } => self.task_ends(process, about, *done.0),
            Happening::Delivery { connection, side } => self.deliver(connection, side),
            Happening::DialEnds { process, link, peer } => self.dial_ends(process, link, peer),
            Happening::DialFails { process, incarnation, refused } => {
                self.step(process, Event::DialFailed { incarnation, refused });
            }
            Happening::LinkUp { process, link, side, peer } => self.step(process, Event::LinkUp { link, side, peer }),
            Happening::LinkDown { process, link } => self.step(process, Event::LinkDown(link)),
            Happening::Received { process, link, message } => {
                if self.network.find(process, link).is_some() {
                    self.witness.terms.on_received(process, &message);
                }
                self.step(process, Event::Received { link, message });
            }
            Happening::Timer { process, generation } => {
                if self.processes[&process].timer == generation {
                    self.step(process, Event::Timer);
                }
            }
            Happening::Client { member } => self.client(member),
            Happening::Rest { process, ownable, generation } => self.rest_ends(process, ownable, generation),
            Happening::CommitLate { process, ownable, generation } => self.commit_late(process, ownable, generation),
            Happening::GuestLeaves { process, ownable } => self.guest_leaves(process, ownable),
            Happening::Stranger { process, number } => self.hear_stranger(process, number),
            Happening::Runner { process } => self.run_queue(process),
            Happening::Kernel => self.kernel(),
            Happening::Emptied => self.server.fill(false),
            Happening::Wakes { process } => self.wake(process),
            Happening::StallEnds { process } => self.end_stall(process),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Trouble => self.make_trouble(),
            Happening::Peace => self.make_peace(),
        }
    }

    fn start(&mut self, member: usize, host: usize) {
        let runs_there = |process: &Process| process.host == host && process.pulse != Pulse::Dead;
        // On one address only one process can listen.
        if self.processes.values().any(runs_there) {
            return;
        }
        let newcomer = Newcomer { member: name(member), control: address(host, 1), handoff: address(host, 2) };
        let (joining, call) = Joining::begin(newcomer, self.timing);
        self.next_process += 1;
        let id = ProcessId(self.next_process);
        let (server, caching) = (&self.server, self.plan.caching);
        let mount = self.hosts.entry(host).or_insert_with(|| {
            let mount = server.join(caching);
            mount.write_back_late();
            mount
        });
        let fs = mount.again();
        let speed = 1000 - self.plan.drift + self.random.below(2 * self.plan.drift + 1);
        let since = (self.now, Moment::new(Duration::from_secs(1 + self.random.below(100_000))));
        let process = Process {
            host,
            pulse: Pulse::Runs,
            arbiter: Arc::new(FileArbiter::on(Arc::new(fs.clone()), Path::new(STORAGE))),
            fs,
            clock: Clock { speed, since },
            deferred: VecDeque::new(),
            joining: Some(joining),
            peer: None,
            seat: None,
            timer: 0,
            tick: Ticking::default(),
            lease: None,
            accounts: BTreeMap::new(),
            shards: BTreeMap::new(),
            stalled_until: Moment::default(),
            stuck: Vec::new(),
            leaving: false,
            strangers: BTreeMap::new(),
            picks: 0,
        };
        self.processes.insert(id, process);
        self.ask(id, call);
        self.after(Duration::from_millis(300), Happening::Runner { process: id });
    }

    /// What a process's clock shows.
    fn local(&self, id: ProcessId) -> Moment {
        self.processes.get(&id).map_or(self.now, |process| process.clock.read(self.now))
    }

    /// Lets something happen after a span on a process's clock.
    fn after_local(&mut self, id: ProcessId, span: Duration, happening: Happening) {
        let span = self.process(id).clock.true_span(span);
        self.after(span, happening);
    }

    /// The process is gone: it says goodbye by closing its sockets, or, if its machine stops, not at all.
    fn end(&mut self, id: ProcessId, silently: bool) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.pulse = Pulse::Dead;
        let host = process.host;
        if silently {
            process.fs.lose_host()
        } else {
            process.fs.kill()
        }
        for (connection, side) in self.network.of(id) {
            if !silently {
                self.close(connection, side);
            } else if let Some(link) = self.network.connections.get_mut(&connection) {
                link.ends[side].closed = true;
            }
        }
        // Somebody starts it again; when all is well, soon: how long that takes is not the cluster's doing.
        let home = host % 100;
        if self.trouble || home == host {
            let later = self.random.span(10_000, if self.trouble { 2_500_000 } else { 200_000 });
            self.after(later, Happening::Start { member: home, host: home });
        }
    }

    fn wake(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id).filter(|process| process.pulse == Pulse::Sleeps) else {
            return;
        };
        process.pulse = Pulse::Runs;
        // Where the host's clock stood as well, it goes on now.
        process.clock.since.0 = process.clock.since.0.min(self.now);
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
        let now = self.local(id);
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(seat) = &mut process.seat else { return };
        let commands = seat.step(now, event);
        let deadline = seat.deadline(now);
        process.timer += 1;
        let generation = process.timer;
        // A timer never fires in the moment it is set: an event that changes nothing must not come again at once.
        let wait = deadline.since(now).max(Duration::from_micros(10));
        self.after_local(id, wait, Happening::Timer { process: id, generation });
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
            Command::Recall(ownable) => self.recall(id, ownable),
            Command::Publish(sees) => {
                let tick = &mut self.process(id).tick;
                tick.sees = sees;
                tick.is_news = true;
                self.tick_soon(id);
            }
            Command::Lease(until) => {
                self.witness.seen.leases += u64::from(until.is_some());
                self.process(id).lease = until;
            }
            Command::Departed => self.end(id, false),
            Command::Notice(notice) => self.on_notice(id, &notice),
            Command::View(_) | Command::Owners { .. } | Command::Drained { .. } => {}
        }
    }

    fn on_notice(&mut self, id: ProcessId, notice: &Notice) {
        match notice {
            Notice::Won(_) => self.witness.seen.terms += 1,
            Notice::Fenced(_) => self.witness.seen.fences += 1,
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
