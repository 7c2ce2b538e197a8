//! Threads for commits: each takes what waits longest, writes it, syncs it, and looks for the next.
//!
//! A thread that sleeps is woken for new work only while few are awake: under load those that are awake come by anyway, and
//! waking another costs more than the wait for them. They are joined by one more whenever something has waited for
//! [`PATIENCE`], because the storage is slow, or because a file hangs: no thread has work of its own in its hands but what
//! it is doing, so what hangs takes one thread along and nothing else. There are [`LANES_MAX`] at most, so that many files
//! of one storage may hang before its other files do.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Threads of one storage, those included whose file hangs. As many as tokio allows for what blocks.
const LANES_MAX: usize = 512;
/// So many are woken at once: while one waits for the disk, another writes.
const LANES_EAGER: usize = 2;
/// What has waited for so long wants one thread more. Longer than a sync of a local disk under load.
pub(super) const PATIENCE: Duration = Duration::from_millis(2);
/// A thread that finds nothing to do for so long ends.
const KEEP: Duration = Duration::from_secs(10);

/// Something that blocks, and may hang. It is told who runs it.
type Work = Box<dyn FnOnce(&Lanes) + Send>;

/// The threads of one storage. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Lanes {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// One piece for each owner at most: none begins a batch before the one before is done.
    waiting: VecDeque<(Instant, Work)>,
    threads: usize,
    /// How many of them sleep and were not told to wake up.
    asleep: usize,
    /// How many were told and are not awake yet.
    called: usize,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("threads", &self.shared.state.lock().threads).finish_non_exhaustive()
    }
}

impl Lanes {
    /// Has it done, soon. It is dropped undone if the system allows no thread at all. Does not block.
    pub(super) fn run(&self, work: impl FnOnce(&Self) + Send + 'static) {
        let now = Instant::now();
        let mut state = self.shared.state.lock();
        state.waiting.push_back((now, Box::new(work)));
        if state.threads - state.asleep < LANES_EAGER || state.has_waited_long(now) {
            self.call_one(state);
        }
    }

    /// Calls one thread more if something has waited for too long: to be asked by whoever waits.
    pub(super) fn hurry(&self) {
        let state = self.shared.state.lock();
        if state.has_waited_long(Instant::now()) {
            self.call_one(state);
        }
    }

    /// Whether something waits, so that one of the threads will be back soon.
    pub(super) fn has_work(&self) -> bool {
        !self.shared.state.lock().waiting.is_empty()
    }

    fn call_one(&self, mut state: MutexGuard<'_, State>) {
        if state.asleep > 0 {
            state.asleep -= 1;
            state.called += 1;
            drop(state);
            self.shared.wake.notify_one();
        } else if state.threads < LANES_MAX {
            state.threads += 1;
            drop(state);
            self.start_one();
        }
    }

    fn start_one(&self) {
        let lanes = self.clone();
        let thread = std::thread::Builder::new().name("commit".into()).spawn(move || lanes.serve());
        if let Err(error) = thread {
            let mut state = self.shared.state.lock();
            state.threads -= 1;
            tracing::error!(%error, threads = state.threads, "no thread can be started to commit with");
            // Nobody would ever come.
            let lost = if state.threads == 0 { std::mem::take(&mut state.waiting) } else { VecDeque::new() };
            drop(state);
            drop(lost);
        }
    }

    /// The life of a thread.
    fn serve(&self) {
        metrics::gauge!("laniakea_member_commit_threads").increment(1.0);
        let mut state = self.shared.state.lock();
        loop {
            let Some((_, work)) = state.waiting.pop_front() else {
                state.asleep += 1;
                if self.sleep(&mut state) { continue } else { break }
            };
            drop(state);
            // Whoever waits for the outcome sees that there is none.
            let _ = catch_unwind(AssertUnwindSafe(|| work(self)));
            state = self.shared.state.lock();
        }
        state.threads -= 1;
        drop(state);
        metrics::gauge!("laniakea_member_commit_threads").decrement(1.0);
    }

    /// Sleeps until it is called; says whether it was.
    fn sleep(&self, state: &mut MutexGuard<'_, State>) -> bool {
        let until = Instant::now() + KEEP;
        while state.called == 0 {
            if self.shared.wake.wait_until(state, until).timed_out() && state.called == 0 {
                state.asleep -= 1;
                return false;
            }
        }
        state.called -= 1;
        true
    }
}

impl State {
    fn has_waited_long(&self, now: Instant) -> bool {
        self.waiting.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// A bound on every wait, not an expectation.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn run<R: Send + 'static>(lanes: &Lanes, work: impl FnOnce() -> R + Send + 'static) -> Receiver<R> {
        let (answer, answered) = channel();
        lanes.run(move |_| drop(answer.send(work())));
        answered
    }

    /// Asks again and again, as those do who wait.
    fn ends<R>(lanes: &Lanes, answered: &Receiver<R>) -> R {
        let begun = Instant::now();
        loop {
            match answered.recv_timeout(PATIENCE) {
                Ok(outcome) => return outcome,
                Err(_) if begun.elapsed() < DEADLINE => lanes.hurry(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn what_hangs_takes_one_thread_along_and_nothing_else() {
        let lanes = Lanes::default();
        let (release, gate) = channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let hanging: Vec<_> = (0..3 * LANES_EAGER)
            .map(|_| {
                let gate = Arc::clone(&gate);
                run(&lanes, move || assert!(gate.lock().recv().is_err()))
            })
            .collect();
        for number in 0..100 {
            assert_eq!(ends(&lanes, &run(&lanes, move || number)), number);
        }
        assert!(hanging.iter().all(|one| one.try_recv().is_err()));
        drop(release);
        hanging.iter().for_each(|one| ends(&lanes, one));
    }

    #[test]
    fn no_more_threads_are_awake_than_are_of_use() {
        let lanes = Lanes::default();
        for number in 0..1_000 {
            assert_eq!(run(&lanes, move || number).recv_timeout(DEADLINE), Ok(number));
        }
        assert!(lanes.shared.state.lock().threads <= LANES_EAGER, "{lanes:?}");
    }

    #[test]
    fn a_panic_ends_neither_the_thread_nor_what_waits_behind() {
        let lanes = Lanes::default();
        for _ in 0..2 * LANES_EAGER {
            assert!(run(&lanes, || panic!("as a bug would")).recv_timeout(DEADLINE).is_err());
        }
        assert_eq!(ends(&lanes, &run(&lanes, || 7)), 7);
    }

    #[test]
    fn all_that_many_ask_for_is_done() {
        let lanes = Lanes::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..500).for_each(|number| assert_eq!(ends(&lanes, &run(&lanes, move || number)), number))
                });
            }
        });
        assert!(!lanes.has_work());
    }
}
