//! The desk: one thread that runs the seat and carries out what it commands.
//!
//! Everything the cluster's protocol needs happens on this thread (a runtime of its own), so that no load elsewhere in the
//! process delays a sign of life. Only the arbiter's calls, which may block for seconds, run on another. The desk decides
//! nothing: it turns requests, messages, answers and deadlines into events.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::{Arc, atomic::Ordering, mpsc as blocking},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use laniakea_directory::MemberName;

use super::{
    Shared, clock,
    link::{Inbound, LinkMaker, Outbox},
    observe,
};
use crate::cluster::{
    Arbiter, ArbiterAnswer, ArbiterCall, Claim, ClusterView, Command, Epoch, Event, LinkId, Moment, OwnableId, Refusal,
    Seat, perform,
};

/// Requests and messages handled between two looks at the other queues.
const BATCH: usize = 1024;

/// How long links may take to deliver the last words of a member that leaves.
const FAREWELL: Duration = Duration::from_millis(200);

/// Everything that is owned, as the controller listed it.
pub(super) type Owners = Vec<(OwnableId, MemberName, Epoch)>;

/// What the rest of the process asks of the desk.
#[derive(Debug)]
pub(super) enum Request {
    Claim { number: u64, ownable: OwnableId, answer: oneshot::Sender<Delivery> },
    Abandon { number: u64, ownable: OwnableId },
    Release { ownable: OwnableId, epoch: Epoch },
    ListOwners { number: u64, answer: oneshot::Sender<Owners> },
    Drain { number: u64, member: MemberName, on: bool, answer: oneshot::Sender<BTreeSet<MemberName>> },
    Retire,
    Leave { done: oneshot::Sender<()> },
}

/// A decision on its way to the task that claimed. If that task goes away first, the grant goes back.
#[derive(Debug)]
pub(super) struct Delivery {
    outcome: Option<Result<Claim, Refusal>>,
    requests: mpsc::UnboundedSender<Request>,
}

impl Delivery {
    /// Takes the decision.
    pub(super) fn take(mut self) -> Option<Result<Claim, Refusal>> {
        self.outcome.take()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(Ok(Claim::Granted(grant))) = self.outcome.take() {
            let _ = self.requests.send(Request::Release { ownable: grant.ownable(), epoch: grant.epoch() });
        }
    }
}

/// An answer of the arbiter, with the time its call began.
type Answered = (Moment, ArbiterAnswer);

/// The thread that talks to the arbiter.
#[derive(Debug)]
pub(super) struct Clerk {
    calls: blocking::Sender<ArbiterCall>,
    answers: mpsc::UnboundedReceiver<Answered>,
}

impl Clerk {
    /// Starts the thread; it ends when the clerk is dropped.
    pub(super) fn start(arbiter: Arc<dyn Arbiter>) -> io::Result<Self> {
        let (calls, queue) = blocking::channel::<ArbiterCall>();
        let (answer, answers) = mpsc::unbounded_channel();
        std::thread::Builder::new().name("cluster-arbiter".into()).spawn(move || {
            for call in queue {
                let began = clock::now();
                if answer.send((began, perform(&*arbiter, call))).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { calls, answers })
    }

    /// Hands over a call; its answer will come, or the filesystem stalls.
    pub(super) fn ask(&self, call: ArbiterCall) {
        let _ = self.calls.send(call);
    }

    /// Waits for the next answer.
    pub(super) async fn answer(&mut self) -> Option<Answered> {
        self.answers.recv().await
    }
}

/// What the desk starts with.
pub(super) struct Office {
    pub(super) seat: Seat,
    pub(super) clerk: Clerk,
    pub(super) listener: TcpListener,
    pub(super) links: LinkMaker,
    pub(super) inbox: mpsc::Receiver<Inbound>,
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) shared: Arc<Shared>,
    pub(super) view: watch::Sender<Arc<ClusterView>>,
    pub(super) recalls: mpsc::UnboundedSender<OwnableId>,
}

/// The seat, and everything its commands need.
pub(super) struct Desk {
    office: Office,
    me: MemberName,
    outboxes: HashMap<LinkId, Outbox>,
    next_link: u64,
    claims: HashMap<u64, (Moment, oneshot::Sender<Delivery>)>,
    listings: HashMap<u64, (Owners, oneshot::Sender<Owners>)>,
    drains: HashMap<u64, oneshot::Sender<BTreeSet<MemberName>>>,
    leaving: Option<oneshot::Sender<()>>,
    departed: bool,
    /// The term and its grants that the metrics have.
    observed: (u64, u64),
    ended: CancellationToken,
}

impl Desk {
    pub(super) fn new(office: Office) -> Self {
        Self {
            me: office.seat.me().incarnation.member.clone(),
            office,
            outboxes: HashMap::new(),
            next_link: 1,
            claims: HashMap::new(),
            listings: HashMap::new(),
            drains: HashMap::new(),
            leaving: None,
            departed: false,
            observed: (0, 0),
            ended: CancellationToken::new(),
        }
    }

    /// Runs until this member has left, was fenced, or is aborted.
    pub(super) async fn run(mut self) {
        let mut inbound = Vec::with_capacity(BATCH);
        let mut requests = Vec::with_capacity(BATCH);
        let (fenced, aborted) = (self.office.shared.fenced.clone(), self.office.shared.aborted.clone());
        self.step(clock::now(), Event::Timer);
        while !self.departed {
            let now = clock::now();
            let wait = self.office.seat.deadline(now).since(now);
            tokio::select! {
                // In no fixed order: no flood of one kind may keep the others waiting.
                () = fenced.cancelled() => break,
                () = aborted.cancelled() => break,
                _ = self.office.inbox.recv_many(&mut inbound, BATCH) => self.on_inbound(&mut inbound),
                Some((began, answer)) = self.office.clerk.answer() => {
                    self.step(clock::now(), Event::Arbiter { began, answer });
                }
                count = self.office.requests.recv_many(&mut requests, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    self.on_requests(&mut requests);
                }
                Ok((stream, _)) = self.office.listener.accept() => {
                    let link = self.next_link();
                    self.spawn(self.office.links.clone().accept(link, stream));
                }
                () = tokio::time::sleep_until(Instant::now() + wait) => {
                    self.step(clock::now(), Event::Timer);
                    self.observe_controller();
                }
            }
        }
        self.office.shared.set_lease(None);
        if self.departed {
            self.outboxes.clear();
            tokio::time::sleep(FAREWELL).await;
        }
        self.ended.cancel();
        if let Some(done) = self.leaving.take() {
            let _ = done.send(());
        }
    }

    /// Serves a link for as long as the desk is there.
    fn spawn(&self, link: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        tokio::spawn(async move { ended.run_until_cancelled(link).await });
    }

    fn next_link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link)
    }

    fn on_inbound(&mut self, inbound: &mut Vec<Inbound>) {
        for one in inbound.drain(..) {
            match one {
                Inbound::Up { link, side, peer, outbox } => {
                    self.outboxes.insert(link, outbox);
                    self.step(clock::now(), Event::LinkUp { link, side, peer });
                }
                Inbound::Down(link) => {
                    self.outboxes.remove(&link);
                    self.step(clock::now(), Event::LinkDown(link));
                }
                Inbound::Received { link, at, message } => self.step(at, Event::Received { link, message }),
                Inbound::DialFailed { incarnation, refused } => {
                    self.step(clock::now(), Event::DialFailed { incarnation, refused });
                }
            }
        }
    }

    /// What was asked at one time travels together, in the order it was asked.
    fn on_requests(&mut self, requests: &mut Vec<Request>) {
        let now = clock::now();
        let mut claims = Vec::new();
        let mut releases = Vec::new();
        for request in requests.drain(..) {
            // A release before a claim of the same ownable must stay before it, and the other way round.
            if !matches!(request, Request::Claim { .. }) {
                self.flush(now, &mut claims, Event::Claims);
            }
            if !matches!(request, Request::Release { .. }) {
                self.flush(now, &mut releases, Event::Releases);
            }
            match request {
                Request::Claim { number, ownable, answer } => {
                    self.claims.insert(number, (now, answer));
                    claims.push((number, ownable));
                }
                Request::Release { ownable, epoch } => releases.push((ownable, epoch)),
                Request::Abandon { number, ownable } => {
                    if self.claims.remove(&number).is_some() {
                        self.step(now, Event::Abandon { request: number, ownable });
                    }
                }
                Request::ListOwners { number, answer } => {
                    self.listings.retain(|_, (_, waiting)| !waiting.is_closed());
                    self.listings.insert(number, (Vec::new(), answer));
                    self.step(now, Event::ListOwners { request: number });
                }
                Request::Drain { number, member, on, answer } => {
                    self.drains.retain(|_, waiting| !waiting.is_closed());
                    self.drains.insert(number, answer);
                    self.step(now, Event::Drain { request: number, member, on });
                }
                Request::Retire => self.step(now, Event::Retire),
                Request::Leave { done } => {
                    self.leaving = Some(done);
                    self.step(now, Event::Leave);
                }
            }
        }
        self.flush(now, &mut claims, Event::Claims);
        self.flush(now, &mut releases, Event::Releases);
    }

    fn flush<T>(&mut self, now: Moment, gathered: &mut Vec<T>, event: impl Fn(Vec<T>) -> Event) {
        if !gathered.is_empty() {
            self.step(now, event(std::mem::take(gathered)));
        }
    }

    fn step(&mut self, now: Moment, event: Event) {
        self.office.seat.ticked(self.office.shared.ticker.begun());
        for command in self.office.seat.step(now, event) {
            self.carry_out(command);
        }
    }

    /// What only the controller's member can count.
    fn observe_controller(&mut self) {
        let Some(controller) = self.office.seat.controller() else { return };
        let (term, granted) = (controller.term(), controller.granted_count());
        let before = if self.observed.0 == term { self.observed.1 } else { 0 };
        self.observed = (term, granted);
        observe::controller(granted - before, controller.owned_count());
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Ask(call) => self.office.clerk.ask(call),
            Command::Dial(peer) => {
                let link = self.next_link();
                self.spawn(self.office.links.clone().dial(link, peer));
            }
            Command::Send { link, message } => {
                // A link whose peer takes nothing any more is ended; the link's own end tells the seat.
                if self.outboxes.get(&link).is_some_and(|outbox| outbox.try_send(message).is_err()) {
                    self.outboxes.remove(&link);
                }
            }
            Command::HangUp(link) => {
                self.outboxes.remove(&link);
            }
            Command::Answer { request, outcome } => self.answer(request, outcome),
            Command::Owners { request, owned, last } => self.on_owners(request, owned, last),
            Command::Drained { request, drained } => {
                if let Some(answer) = self.drains.remove(&request) {
                    let _ = answer.send(drained);
                }
            }
            Command::Recall(ownable) => {
                let _ = self.office.recalls.send(ownable);
            }
            Command::Publish(sees) => self.office.shared.ticker.publish(sees),
            Command::Lease(until) => self.office.shared.set_lease(until),
            Command::View(view) => {
                observe::show(&view);
                self.office.view.send_replace(Arc::new(view));
            }
            Command::Departed => self.departed = true,
            Command::Notice(notice) => observe::tell(&self.me, &notice),
        }
    }

    fn answer(&mut self, request: u64, outcome: Result<Claim, Refusal>) {
        let label = match &outcome {
            Ok(Claim::Granted(_)) => "granted",
            Ok(Claim::Owned { .. }) => "owned",
            Err(_) => "refused",
        };
        metrics::counter!("laniakea_cluster_claims_total", "outcome" => label).increment(1);
        // A claim that was abandoned meanwhile: the delivery, dropped, gives the grant back.
        let delivery = Delivery { outcome: Some(outcome), requests: self.office.shared.requests.clone() };
        if let Some((asked, answer)) = self.claims.remove(&request) {
            metrics::histogram!("laniakea_cluster_claim_seconds").record(clock::now().since(asked).as_secs_f64());
            let _ = answer.send(delivery);
        }
    }

    fn on_owners(&mut self, request: u64, mut owned: Owners, last: bool) {
        let Some((listing, _)) = self.listings.get_mut(&request) else { return };
        listing.append(&mut owned);
        if last && let Some((listing, answer)) = self.listings.remove(&request) {
            let _ = answer.send(listing);
        }
    }
}

impl Shared {
    /// Makes the lease known to whoever answers reads.
    fn set_lease(&self, until: Option<Moment>) {
        self.lease.store(until.map_or(0, Moment::as_micros), Ordering::Release);
    }
}
