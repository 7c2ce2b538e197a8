//! The tick: this member's entry is renamed whenever somebody waits for it, and now and then besides.
//!
//! The commit rule hangs on one thing here: whoever waits is taken off the list *before* the tick begins, so the tick that
//! satisfies a waiter began after the waiter asked. A tick that failed for other reasons than a fence is repeated; the
//! waiters stay. One tick at a time is under way. Who has a thread that may block, and finds a tick due, makes it there
//! and then; everybody else leaves it to the thread `cluster-tick`. A stalled filesystem stalls these threads and nothing
//! else.
//!
//! Ticks follow one another at a distance of [`SHARE`] times what the last one took, `tick_busy` at most: a fast filesystem
//! is asked as soon as somebody waits, a slow one gathers who waits, and neither is kept busy with ticks alone.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use laniakea_config::ClusterTiming;

use super::Fenced;
use crate::{
    cluster::{Incarnation, Moment, Slots, TickError, TickName},
    drive::control::clock,
};

/// How long to wait after a tick that failed.
const RETRY: Duration = Duration::from_millis(20);

/// A tick begins this many times the length of the last one after it began: an eighth of one thread at most renames.
const SHARE: u32 = 8;

/// What is to happen when a tick that began after the question has succeeded, or when none will.
type Waiter = Box<dyn FnOnce(Result<(), Fenced>) + Send>;

/// Renames the entry once: [`crate::cluster::Arbiter::tick`].
type Rename = Box<dyn Fn(&mut TickName, Slots) -> Result<(), TickError> + Send + Sync>;

/// The tick of one incarnation. Clones share it.
#[derive(Clone)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    rename: Rename,
    incarnation: Incarnation,
    busy: Duration,
    idle: Duration,
    /// When the last successful tick began.
    begun: AtomicU64,
    fenced: CancellationToken,
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticker").field(&self.shared.incarnation).finish()
    }
}

#[derive(Default)]
struct State {
    waiters: Vec<Waiter>,
    sees: Slots,
    /// The fellows should soon read something new.
    is_news: bool,
    stopped: bool,
    is_under_way: bool,
    /// The thread was woken for whoever waits.
    is_called: bool,
    name: TickName,
    /// Not before, even if somebody waits. Nothing before the first tick.
    soonest: Option<Instant>,
    /// Then, even if nobody waits.
    latest: Option<Instant>,
}

impl State {
    /// When the next tick is due; nothing when that is now. A tick under way is waited for elsewhere.
    fn due(&self) -> Option<Instant> {
        let is_wanted = !self.waiters.is_empty() || self.is_news;
        if is_wanted { self.soonest } else { self.latest }.filter(|due| *due > Instant::now())
    }
}

impl Ticker {
    /// Begins to tick for an incarnation that has appeared. `fenced` is cancelled when a tick proves the fence.
    pub(super) fn start(
        rename: impl Fn(&mut TickName, Slots) -> Result<(), TickError> + Send + Sync + 'static,
        incarnation: Incarnation,
        timing: &ClusterTiming,
        fenced: CancellationToken,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            rename: Box::new(rename),
            incarnation,
            busy: timing.tick_busy,
            idle: timing.tick_idle,
            begun: AtomicU64::new(clock::now().as_micros()),
            fenced,
        });
        let ticking = Arc::clone(&shared);
        std::thread::Builder::new().name("cluster-tick".into()).spawn(move || ticking.run())?;
        Ok(Self { shared })
    }

    /// Calls `then`, on any thread and once, when a tick that began after this call has succeeded, or when none will. It
    /// must not block. Never blocks itself.
    pub(super) fn validate(&self, then: impl FnOnce(Result<(), Fenced>) + Send + 'static) {
        if let Some(state) = self.shared.wait_in_line(Box::new(then)) {
            self.shared.call(state);
        }
    }

    /// The same for a thread that may block: it makes the tick itself when one is due. Otherwise it calls nobody: of several
    /// that come one after the other, the last has to [`Ticker::hurry`].
    pub(super) fn validate_when_due(&self, then: impl FnOnce(Result<(), Fenced>) + Send + 'static) {
        let Some(state) = self.shared.wait_in_line(Box::new(then)) else { return };
        if !state.is_under_way && state.due().is_none() {
            self.shared.tick(state);
        }
    }

    /// Has the thread make a tick as soon as one is due, if anybody waits for it.
    pub(super) fn hurry(&self) {
        let state = self.shared.state.lock();
        if !state.waiters.is_empty() {
            self.shared.call(state);
        }
    }

    /// Resolves when the last successful tick is older than `patience`: the storage does not answer this member.
    pub(super) async fn stalls(&self, patience: Duration) {
        loop {
            let age = clock::now().since(self.begun());
            match patience.checked_sub(age) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                Some(_) | None => return,
            }
        }
    }

    /// Says in the next tick, which comes soon, who answers us.
    pub(super) fn publish(&self, sees: Slots) {
        let mut state = self.shared.state.lock();
        state.sees = sees;
        state.is_news = true;
        self.shared.wake.notify_one();
    }

    /// When the last successful tick began.
    pub(super) fn begun(&self) -> Moment {
        Moment::from_micros(self.shared.begun.load(Ordering::Acquire))
    }

    /// Ends the ticking: nothing can be validated any more, and what the next rename finds is nobody's fence.
    pub(super) fn stop(&self) {
        let mut state = self.shared.state.lock();
        state.stopped = true;
        self.shared.wake.notify_one();
        refuse(state);
    }
}

/// Nobody who waits will be satisfied.
fn refuse(mut state: MutexGuard<'_, State>) {
    let waiters = std::mem::take(&mut state.waiters);
    drop(state);
    for then in waiters {
        then(Err(Fenced));
    }
}

impl Shared {
    /// Puts somebody on the list; refused at once when no tick will come.
    fn wait_in_line(&self, then: Waiter) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        if state.stopped {
            drop(state);
            then(Err(Fenced));
            return None;
        }
        state.waiters.push(then);
        Some(state)
    }

    /// Wakes the thread for whoever waits. Whoever makes a tick now does that when it has ended.
    fn call(&self, mut state: MutexGuard<'_, State>) {
        if !state.is_under_way && !std::mem::replace(&mut state.is_called, true) {
            self.wake.notify_one();
        }
    }

    /// The thread's own part.
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.stopped {
            if state.is_under_way {
                // Somebody else makes it. Nobody wakes this thread when it has ended and nobody waits.
                self.wake.wait_for(&mut state, self.idle);
            } else if let Some(due) = state.due() {
                self.wake.wait_until(&mut state, due);
            } else {
                self.tick(state);
                state = self.state.lock();
            }
        }
    }

    /// Ticks, for everybody who waits now and nobody who comes later.
    fn tick(&self, mut state: MutexGuard<'_, State>) {
        state.is_under_way = true;
        state.is_called = false;
        state.is_news = false;
        let (waiters, mut name, sees) =
            (std::mem::take(&mut state.waiters), std::mem::take(&mut state.name), state.sees);
        drop(state);
        let (at, begun) = (Instant::now(), clock::now());
        let ticked = (self.rename)(&mut name, sees);

        let took = at.elapsed();
        let mut state = self.state.lock();
        state.is_under_way = false;
        state.name = name;
        state.latest = Some(at + self.idle);
        state.soonest = Some(at + self.busy.min(took * SHARE));
        match ticked {
            Ok(()) => {
                self.begun.store(begun.as_micros(), Ordering::Release);
                self.wake_for_others(&mut state);
                drop(state);
                metrics::histogram!("laniakea_cluster_tick_seconds").record(took.as_secs_f64());
                for then in waiters {
                    then(Ok(()));
                }
            }
            Err(TickError::Fenced) => {
                state.waiters.extend(waiters);
                self.end(state);
            }
            Err(TickError::Io(error)) => {
                state.waiters.extend(waiters);
                let retry = Instant::now() + RETRY;
                (state.soonest, state.latest) = (Some(retry), Some(retry));
                self.wake_for_others(&mut state);
                drop(state);
                tracing::warn!(incarnation = %self.incarnation, %error, "the tick failed and is tried again");
                metrics::counter!("laniakea_cluster_tick_errors_total").increment(1);
            }
        }
    }

    /// Whoever came while a tick was under way relied on this.
    fn wake_for_others(&self, state: &mut State) {
        state.is_called = !state.waiters.is_empty();
        if state.is_called || state.is_news || state.stopped {
            self.wake.notify_one();
        }
    }

    /// The live directory is gone. Unless we removed it ourselves, that is a fence.
    fn end(&self, mut state: MutexGuard<'_, State>) {
        if !std::mem::replace(&mut state.stopped, true) {
            tracing::error!(incarnation = %self.incarnation, "this member was fenced");
            self.fenced.cancel();
        }
        self.wake.notify_one();
        refuse(state);
    }
}
