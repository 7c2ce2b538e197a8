//! The member's seat in its cluster: claims, ticks, and what it sees of its fellows.
//!
//! [`ClusterHandle`] is what the rest of a member uses. Everything is decided by the machines in [`crate::cluster`]; here
//! are the threads, sockets and queues that carry it out: `desk` runs the seat, `ticker` the tick, `link` and `auth` the
//! connections between members, `probing` whether the storage may be used at all, `observe` tells of it.

pub(in crate::drive) mod auth;
mod clock;
mod desk;
mod error;
mod link;
mod observe;
mod probing;
mod settings;
mod ticker;
#[cfg(test)]
mod ticker_test;

use std::{
    collections::BTreeSet,
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use laniakea_directory::MemberName;
use laniakea_router::drive::Dialler;

use crate::{
    cluster::{
        Arbiter, Claim, ClusterView, Epoch, Incarnation, JoinStep, Joining, MemberView, Newcomer, OwnableId, Peer,
        Refusal, Roster, Seat,
    },
    drive::{
        arbiter::{FileArbiter, check_storage},
        probe::{Correspondence, Examiner, Report},
    },
};

use auth::Credentials;
use desk::{Clerk, Delivery, Desk, Office, Request};
use link::LinkMaker;
use probing::Prober;
use ticker::Ticker;

pub(crate) use clock::now;
pub use error::{ClaimError, Fenced, NoController, OwnersError, StartError};
pub use settings::ControlSettings;

/// How long joining may wait for the shared filesystem.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);

/// How long a clean leave may take before the process ends anyhow.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the owners may take to be listed.
const OWNERS_PATIENCE: Duration = Duration::from_secs(5);

/// How long a change of who is drained may take, through changes of the controller …
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// … and how long one controller may take to answer.
const DRAIN_RETRY: Duration = Duration::from_secs(1);

/// How much what links say may run ahead of the desk.
const INBOX: usize = 4096;

/// A member's seat in its cluster. Cheap to clone.
///
/// Dropping every clone ends the seat as a crash would; [`ClusterHandle::shutdown`] leaves cleanly.
#[derive(Clone, Debug)]
pub struct ClusterHandle {
    shared: Arc<Shared>,
    view: watch::Receiver<Arc<ClusterView>>,
    unsound: watch::Receiver<Option<Arc<Report>>>,
    _presence: Arc<Presence>,
}

/// What handles and the desk share.
#[derive(Debug)]
pub(crate) struct Shared {
    requests: mpsc::UnboundedSender<Request>,
    ticker: Ticker,
    /// Until when reads need no tick, as [`crate::cluster::Moment`]; 0 for not at all.
    lease: AtomicU64,
    fenced: CancellationToken,
    aborted: CancellationToken,
    recalls: Mutex<Option<mpsc::Receiver<OwnableId>>>,
    next_request: AtomicU64,
    claim_patience: Duration,
    /// How old the last tick may be before claims are not waited for.
    storage_patience: Duration,
}

impl ClusterHandle {
    /// Joins the cluster: checks the storage, takes an incarnation, appears among the living, meets the fellows.
    ///
    /// Returns once the seat is taken; whether a controller has registered it is in the view.
    ///
    /// # Errors
    /// When the storage is not the cluster's volume or breaks what a cluster relies on, the key is unusable, or the control
    /// address is taken.
    pub async fn start(settings: ControlSettings) -> Result<Self, StartError> {
        check_storage(&settings.storage, &settings.cluster)?;
        let arbiter = Arc::new(FileArbiter::new(&settings.storage));
        Self::start_with(settings, arbiter, DeskPlace::Thread).await
    }

    /// The same, with the desk as a task beside the caller's: for a process that does little else, such as a benchmark. In
    /// a member, load would delay its signs of life.
    ///
    /// # Errors
    /// As above.
    pub async fn start_beside(settings: ControlSettings) -> Result<Self, StartError> {
        check_storage(&settings.storage, &settings.cluster)?;
        let arbiter = Arc::new(FileArbiter::new(&settings.storage));
        Self::start_with(settings, arbiter, DeskPlace::Task).await
    }

    /// The same, with any arbiter.
    async fn start_with(
        settings: ControlSettings,
        arbiter: Arc<dyn Arbiter>,
        place: DeskPlace,
    ) -> Result<Self, StartError> {
        let key = read_key(&settings.key).map_err(|source| StartError::Key { path: settings.key.clone(), source })?;
        // Listening comes first: a fellow that reads of us must never be refused, and a second process with our
        // address ends here.
        let listener = std::net::TcpListener::bind(settings.control).map_err(StartError::Listen)?;
        listener.set_nonblocking(true).map_err(StartError::Listen)?;
        let newcomer = Newcomer {
            member: settings.member.clone(),
            control: match settings.advertise.control.port() {
                0 => listener.local_addr().map_err(StartError::Listen)?,
                _ => settings.advertise.control,
            },
            handoff: settings.advertise.handoff,
        };
        let examiner = Examiner::new(settings.storage.clone());
        let prober = prober(&settings, &newcomer, &key, examiner.clone());
        let is_probed = prober.before_joining(arbiter.clone()).await?;
        let fenced = CancellationToken::new();
        let joined = Joined::join(newcomer, &settings, arbiter, &fenced).await?;

        let (requests, queue) = mpsc::unbounded_channel();
        let (recall, recalled) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            requests,
            ticker: joined.ticker,
            lease: AtomicU64::new(0),
            fenced,
            aborted: CancellationToken::new(),
            recalls: Mutex::new(Some(bounded(recalled))),
            next_request: AtomicU64::new(0),
            claim_patience: settings.timing.claim,
            storage_patience: settings.timing.dead,
        });
        let (view, watched) = watch::channel(Arc::new(first_view(joined.seat.me())));
        let (inbox, inbound) = mpsc::channel(INBOX);
        let links = LinkMaker {
            credentials: Credentials::new(&key, settings.cluster.as_str()),
            me: joined.seat.me().clone(),
            dialler: Dialler::from_listener(settings.control),
            examiner,
            inbox,
            patience: settings.timing.suspect,
        };
        let office = |listener| Office {
            seat: joined.seat,
            clerk: joined.clerk,
            listener,
            links,
            inbox: inbound,
            requests: queue,
            shared: shared.clone(),
            view,
            recalls: recall,
        };
        run_desk(place, listener, office)?;
        let presence = Arc::new(Presence { shared: shared.clone() });
        let (tell, unsound) = watch::channel(None);
        if !is_probed {
            tokio::spawn(prober.later(watched.clone(), tell));
        }
        Ok(Self { shared, view: watched, unsound, _presence: presence })
    }

    /// Asks for an ownable. Retries through changes of the controller until the claim deadline.
    ///
    /// If the owner's fate is uncertain, or the ownable is being asked back, the answer waits for the outcome.
    ///
    /// # Errors
    /// [`ClaimError`] says what to do next.
    pub async fn claim(&self, ownable: OwnableId) -> Result<Claim, ClaimError> {
        let number = self.shared.next_request.fetch_add(1, Ordering::Relaxed);
        let (answer, wait) = oneshot::channel();
        let request = Request::Claim { number, ownable, answer };
        self.shared.requests.send(request).map_err(|_| ClaimError::Left)?;
        let abandon = AbandonOnDrop { shared: &self.shared, number, ownable };
        let answered = tokio::select! {
            answered = tokio::time::timeout(self.shared.claim_patience, wait) => answered,
            () = self.storage_stalls() => return Err(ClaimError::NoStorage),
        };
        let Ok(answered) = answered else { return Err(ClaimError::Unavailable) };
        // The desk has forgotten it already: telling would only wake it.
        std::mem::forget(abandon);
        match answered.ok().and_then(Delivery::take) {
            Some(Ok(claim)) => Ok(claim),
            Some(Err(Refusal::Draining)) => Err(ClaimError::Draining),
            Some(Err(Refusal::Leaving)) => Err(ClaimError::Leaving),
            None => Err(ClaimError::Left),
        }
    }

    /// Gives an ownable back, after its worker has drained and committed all. The [`crate::cluster::Grant`] must be gone.
    pub fn release(&self, ownable: OwnableId, epoch: Epoch) {
        let _ = self.shared.requests.send(Request::Release { ownable, epoch });
    }

    /// Resolves once a tick *begun after this call* has succeeded: when it was called, this member was not fenced.
    ///
    /// # Errors
    /// [`Fenced`] when this member may promise nothing any more.
    pub async fn validate(&self) -> Result<(), Fenced> {
        let (done, answer) = oneshot::channel();
        self.shared.ticker.validate(move |validated| {
            // Whoever went away does not want to know.
            let _ = done.send(validated);
        });
        answer.await.unwrap_or(Err(Fenced))
    }

    /// The same from a thread that may block: it makes the tick itself if one is due, and calls nobody otherwise. Whoever
    /// is the last to ask has to [`ClusterHandle::hurry`]. `then` is told, once, on this thread or another, and must not
    /// block.
    pub(crate) fn validate_when_due(&self, then: impl FnOnce(Result<(), Fenced>) + Send + 'static) {
        self.shared.ticker.validate_when_due(then);
    }

    /// Sees to it that whoever waits for a tick gets one.
    pub(crate) fn hurry(&self) {
        self.shared.ticker.hurry();
    }

    /// Permits the answer to a read: at once within the read lease, else like [`ClusterHandle::validate`].
    ///
    /// # Errors
    /// [`Fenced`] when this member may answer nothing any more.
    pub async fn read_permit(&self) -> Result<(), Fenced> {
        if clock::now().as_micros() < self.shared.lease.load(Ordering::Acquire) {
            return Ok(());
        }
        self.validate().await
    }

    /// Resolves when the storage has not answered this member for as long as makes a silent one count as dead.
    pub async fn storage_stalls(&self) {
        self.shared.ticker.stalls(self.shared.storage_patience).await;
    }

    /// What this member sees of its cluster now.
    #[must_use]
    pub fn view(&self) -> Arc<ClusterView> {
        self.view.borrow().clone()
    }

    /// The same, to be watched.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.view.clone()
    }

    /// Cancelled once: the process must drop everything and exit with code 75.
    #[must_use]
    pub fn fenced(&self) -> CancellationToken {
        self.shared.fenced.clone()
    }

    /// Resolves, if ever, when a probe with a fellow has found that the storage breaks what the cluster relies on: this
    /// member is to give everything back and leave.
    pub async fn unsound(&self) -> Arc<Report> {
        let mut unsound = self.unsound.clone();
        let found = unsound.wait_for(Option::is_some).await.ok().and_then(|report| report.clone());
        match found {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }

    /// Ownables the controller asks back. Each must be drained and released within the release time, or this member is
    /// fenced. Taken once; later calls get a receiver that is closed.
    #[must_use]
    pub fn recalls(&self) -> mpsc::Receiver<OwnableId> {
        self.shared.recalls.lock().take().unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Everything that is owned, as the controller knows it.
    ///
    /// # Errors
    /// When no controller answers in time.
    pub async fn owners(&self) -> Result<Vec<(OwnableId, MemberName, Epoch)>, OwnersError> {
        let number = self.shared.next_request.fetch_add(1, Ordering::Relaxed);
        let (answer, wait) = oneshot::channel();
        let request = Request::ListOwners { number, answer };
        self.shared.requests.send(request).map_err(|_| OwnersError::Unavailable)?;
        match tokio::time::timeout(OWNERS_PATIENCE, wait).await {
            Ok(Ok(owners)) => Ok(owners),
            Ok(Err(_)) | Err(_) => Err(OwnersError::Unavailable),
        }
    }

    /// Asks the controller to move everything away from a member and to give it nothing new, or to end that. Returns who
    /// is being drained once that is recorded: if somebody else has said the contrary, one of the two has won, and both are
    /// told the same. Progress shows in [`ClusterHandle::owners`]; saying it again does no harm.
    ///
    /// # Errors
    /// When no controller has recorded it in time. It may come to count nevertheless.
    pub async fn drain(&self, member: &MemberName, on: bool) -> Result<BTreeSet<MemberName>, NoController> {
        let give_up = tokio::time::Instant::now() + DRAIN_PATIENCE;
        while tokio::time::Instant::now() < give_up {
            let number = self.shared.next_request.fetch_add(1, Ordering::Relaxed);
            let (answer, wait) = oneshot::channel();
            let request = Request::Drain { number, member: member.clone(), on, answer };
            self.shared.requests.send(request).map_err(|_| NoController)?;
            match tokio::time::timeout(DRAIN_RETRY, wait).await {
                Ok(Ok(drained)) => return Ok(drained),
                Ok(Err(_)) => return Err(NoController),
                // The controller changed, or cannot reach the storage.
                Err(_) => {}
            }
        }
        Err(NoController)
    }

    /// Says that this member is about to leave: it gets nothing new, and what it owns is asked back.
    pub fn retire(&self) {
        let _ = self.shared.requests.send(Request::Retire);
    }

    /// Leaves: releases all that is still owned, removes this member's place among the living, tells the fellows. Call it
    /// when the workers have drained; what they try to validate afterwards fails.
    pub async fn shutdown(self) {
        // The tick ends first: nothing may be promised for what is about to be given back.
        self.shared.ticker.stop();
        let (done, wait) = oneshot::channel();
        if self.shared.requests.send(Request::Leave { done }).is_ok() {
            let _ = tokio::time::timeout(LEAVE_PATIENCE, wait).await;
        }
        self.abort();
    }

    /// Ends at once, as a crash would: sockets close, nothing is released.
    pub fn abort(&self) {
        self.shared.end();
    }
}

impl Shared {
    fn end(&self) {
        self.ticker.stop();
        self.aborted.cancel();
    }
}

/// What probes the storage, in the name of a member that has no number yet.
fn prober(settings: &ControlSettings, newcomer: &Newcomer, key: &[u8; 32], examiner: Examiner) -> Prober {
    let Newcomer { member, control, handoff } = newcomer.clone();
    let me = Peer { incarnation: Incarnation { member, number: 0 }, slot: 0, control, handoff };
    let credentials = Credentials::new(key, settings.cluster.as_str());
    Prober {
        storage: settings.storage.clone(),
        policy: settings.probe,
        me: settings.member.clone(),
        correspondence: Correspondence::of_member(credentials, me, Dialler::from_listener(settings.control)),
        examiner,
    }
}

/// Ends the threads when the last handle is gone.
#[derive(Debug)]
struct Presence {
    shared: Arc<Shared>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// Takes a claim back if its task goes away before the answer.
struct AbandonOnDrop<'a> {
    shared: &'a Shared,
    number: u64,
    ownable: OwnableId,
}

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        let abandon = Request::Abandon { number: self.number, ownable: self.ownable };
        let _ = self.shared.requests.send(abandon);
    }
}

/// A seat that was taken, and what was started on the way.
struct Joined {
    seat: Seat,
    clerk: Clerk,
    ticker: Ticker,
}

impl Joined {
    async fn join(
        newcomer: Newcomer,
        settings: &ControlSettings,
        arbiter: Arc<dyn Arbiter>,
        fenced: &CancellationToken,
    ) -> Result<Self, StartError> {
        let mut clerk = Clerk::start(arbiter.clone()).map_err(StartError::Thread)?;
        let (mut joining, call) = Joining::begin(newcomer, settings.timing);
        let mut ticker: Option<Ticker> = None;
        clerk.ask(call);
        let seat = loop {
            let answer = tokio::time::timeout(JOIN_PATIENCE, clerk.answer()).await;
            let Ok(Some((began, answer))) = answer else {
                break Err(StartError::Storage(io::ErrorKind::TimedOut.into()));
            };
            match joining.step(clock::now(), began, answer) {
                JoinStep::Ask(call) => clerk.ask(call),
                JoinStep::Appeared(peer, call) => {
                    let (incarnation, fenced) = (peer.incarnation, fenced.clone());
                    let (arbiter, entry) = (arbiter.clone(), incarnation.clone());
                    let rename = move |name: &mut _, sees| arbiter.tick(&entry, name, sees);
                    match Ticker::start(rename, incarnation, &settings.timing, fenced) {
                        Ok(started) => ticker = Some(started),
                        Err(error) => break Err(StartError::Thread(error)),
                    }
                    clerk.ask(call);
                }
                JoinStep::Seated(seat) => break Ok(*seat),
                JoinStep::Failed(error) => break Err(StartError::Storage(error)),
            }
        };
        match (seat, ticker) {
            (Ok(seat), Some(ticker)) => Ok(Self { seat, clerk, ticker }),
            (Ok(_), None) => Err(StartError::Storage(io::Error::other("seated without having appeared"))),
            (Err(error), ticker) => {
                ticker.iter().for_each(Ticker::stop);
                Err(error)
            }
        }
    }
}

/// Where the desk runs.
enum DeskPlace {
    /// On a thread of its own.
    Thread,
    /// As a task of the runtime that starts it.
    Task,
}

fn run_desk(
    place: DeskPlace,
    listener: std::net::TcpListener,
    office: impl FnOnce(tokio::net::TcpListener) -> Office,
) -> Result<(), StartError> {
    let desk = |listener| tokio::net::TcpListener::from_std(listener).map(office).map(Desk::new);
    match place {
        DeskPlace::Task => {
            tokio::spawn(desk(listener).map_err(StartError::Listen)?.run());
        }
        DeskPlace::Thread => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
            let desk = {
                let _entered = runtime.enter();
                desk(listener).map_err(StartError::Listen)?
            };
            let thread = std::thread::Builder::new().name("cluster-desk".into());
            // As a task like the links beside it: they wake it without a call to the kernel, as they could not wake what
            // the thread blocks on.
            let run = move || runtime.block_on(async { drop(tokio::spawn(desk.run()).await) });
            thread.spawn(run).map_err(StartError::Thread)?;
        }
    }
    Ok(())
}

/// The recalls as the rest of the process takes them. The controller bounds how many are under way.
fn bounded(mut recalled: mpsc::UnboundedReceiver<OwnableId>) -> mpsc::Receiver<OwnableId> {
    let (forward, recalls) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Some(ownable) = recalled.recv().await {
            if forward.send(ownable).await.is_err() {
                return;
            }
        }
    });
    recalls
}

/// What is to be seen before the desk has taken its first step.
fn first_view(me: &Peer) -> ClusterView {
    let member = MemberView {
        name: me.incarnation.member.clone(),
        incarnation: me.incarnation.number,
        control: me.control,
        handoff: me.handoff,
    };
    ClusterView {
        member: me.incarnation.member.clone(),
        incarnation: me.incarnation.number,
        term: 0,
        controller: None,
        registered: false,
        members: vec![member],
        roster: Roster::default(),
    }
}

fn read_key(path: &Path) -> io::Result<[u8; 32]> {
    let bytes = fs::read(path)?;
    <[u8; 32]>::try_from(bytes)
        .map_err(|bytes| io::Error::new(io::ErrorKind::InvalidData, format!("{} bytes instead of 32", bytes.len())))
}

#[cfg(test)]
mod tests;
