//! The tick: one thread that renames this member's entry, whenever somebody waits for it and now and then besides.
//!
//! The commit rule hangs on one thing here: whoever waits is taken off the list *before* the tick begins, so the tick that
//! satisfies a waiter began after the waiter asked. A tick that failed for other reasons than a fence is repeated; the
//! waiters stay. A stalled filesystem stalls this thread and nothing else.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use laniakea_config::ClusterTiming;

use super::Fenced;
use crate::{
    cluster::{Arbiter, Incarnation, Moment, Slots, TickError, TickName},
    drive::control::clock,
};

/// How long to wait after a tick that failed.
const RETRY: Duration = Duration::from_millis(20);

/// The tick of one incarnation. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// When the last successful tick began.
    begun: AtomicU64,
    fenced: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    waiters: Vec<oneshot::Sender<()>>,
    sees: Slots,
    /// The fellows should soon read something new.
    is_news: bool,
    stopped: bool,
}

impl Ticker {
    /// Begins to tick for an incarnation that has appeared. `fenced` is cancelled when a tick proves the fence.
    pub(super) fn start(
        arbiter: Arc<dyn Arbiter>,
        incarnation: Incarnation,
        timing: &ClusterTiming,
        fenced: CancellationToken,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            begun: AtomicU64::new(clock::now().as_micros()),
            fenced,
        });
        let (busy, idle) = (timing.tick_busy, timing.tick_idle);
        let run = Run { shared: shared.clone(), arbiter, incarnation, busy, idle };
        std::thread::Builder::new().name("cluster-tick".into()).spawn(move || run.run())?;
        Ok(Self { shared })
    }

    /// Resolves when a tick that began after this call has succeeded.
    pub(super) async fn validate(&self) -> Result<(), Fenced> {
        let (done, wait) = oneshot::channel();
        {
            let mut state = self.shared.state.lock();
            if state.stopped {
                return Err(Fenced);
            }
            state.waiters.push(done);
            // Only the first waiter wakes the thread: it takes the others along.
            if state.waiters.len() == 1 {
                self.shared.wake.notify_one();
            }
        }
        // A dropped sender means that no tick will ever come.
        wait.await.map_err(|_| Fenced)
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
        state.waiters.clear();
        self.shared.wake.notify_one();
    }
}

/// The thread's own part.
struct Run {
    shared: Arc<Shared>,
    arbiter: Arc<dyn Arbiter>,
    incarnation: Incarnation,
    busy: Duration,
    idle: Duration,
}

impl Run {
    fn run(self) {
        let mut name = TickName::default();
        let mut last: Option<Instant> = None;
        while let Some((waiters, sees)) = self.wait(last) {
            last = Some(Instant::now());
            let begun = clock::now();
            match self.arbiter.tick(&self.incarnation, &mut name, sees) {
                Ok(()) => self.succeed(begun, waiters),
                Err(TickError::Fenced) => return self.end(),
                Err(TickError::Io(error)) => {
                    tracing::warn!(incarnation = %self.incarnation, %error, "the tick failed and is tried again");
                    metrics::counter!("laniakea_cluster_tick_errors_total").increment(1);
                    self.shared.state.lock().waiters.extend(waiters);
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    /// Waits until a tick is due; takes along everybody who waits for one. Nothing when stopped.
    fn wait(&self, last: Option<Instant>) -> Option<(Vec<oneshot::Sender<()>>, Slots)> {
        let mut state = self.shared.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            let wanted = !state.waiters.is_empty() || state.is_news;
            let due = last.map(|last| last + if wanted { self.busy } else { self.idle });
            match due.filter(|due| *due > Instant::now()) {
                None => break,
                Some(due) => self.shared.wake.wait_until(&mut state, due),
            };
        }
        state.is_news = false;
        Some((std::mem::take(&mut state.waiters), state.sees))
    }

    fn succeed(&self, begun: Moment, waiters: Vec<oneshot::Sender<()>>) {
        self.shared.begun.store(begun.as_micros(), Ordering::Release);
        metrics::histogram!("laniakea_cluster_tick_seconds").record(clock::now().since(begun).as_secs_f64());
        for waiter in waiters {
            // Whoever went away does not want to know.
            let _ = waiter.send(());
        }
    }

    /// The live directory is gone. Unless we removed it ourselves, that is a fence.
    fn end(&self) {
        let mut state = self.shared.state.lock();
        if !std::mem::replace(&mut state.stopped, true) {
            tracing::error!(incarnation = %self.incarnation, "this member was fenced");
            self.shared.fenced.cancel();
        }
        state.waiters.clear();
    }
}
