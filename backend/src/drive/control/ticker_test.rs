//! The tick, with a rename that the test holds in its hand.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use laniakea_config::ClusterTiming;

use super::{Fenced, ticker::Ticker};
use crate::cluster::{Incarnation, TickError};

/// A bound on every wait, not an expectation.
const PATIENCE: Duration = Duration::from_secs(20);

/// A ticker whose every rename says that it began, then waits to be told how it ends.
struct Bench {
    ticker: Ticker,
    fenced: CancellationToken,
    begun: Receiver<std::thread::ThreadId>,
    ends: Sender<Result<(), TickError>>,
}

impl Bench {
    fn new() -> Self {
        let (begins, begun) = channel();
        let (ends, end) = channel();
        let (begins, end) = (Mutex::new(begins), Mutex::new(end));
        let rename = move |_: &mut _, _| {
            let _ = begins.lock().send(std::thread::current().id());
            // The test is over: as if the storage stood still.
            end.lock().recv().unwrap_or_else(|_| Err(TickError::Io(io::ErrorKind::TimedOut.into())))
        };
        let fenced = CancellationToken::new();
        // The idle tick does not come by itself while a test looks on.
        let timing = ClusterTiming { tick_idle: Duration::from_secs(3600), ..ClusterTiming::default() };
        let incarnation = Incarnation::parse("a.1").unwrap();
        let ticker = Ticker::start(rename, incarnation, &timing, fenced.clone()).unwrap();
        let bench = Self { ticker, fenced, begun, ends };
        // The first tick comes by itself.
        bench.begins();
        bench.ends(Ok(()));
        bench
    }

    fn begins(&self) -> std::thread::ThreadId {
        self.begun.recv_timeout(PATIENCE).unwrap()
    }

    fn ends(&self, how: Result<(), TickError>) {
        self.ends.send(how).unwrap();
    }

    fn ask(&self) -> Receiver<Result<(), Fenced>> {
        let (answer, answered) = channel();
        self.ticker.validate(move |validated| answer.send(validated).unwrap());
        answered
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.ticker.stop();
    }
}

#[test]
fn a_tick_under_way_satisfies_nobody_who_comes_later() {
    let bench = Bench::new();
    let early = bench.ask();
    bench.begins();
    let late = bench.ask();
    bench.ends(Ok(()));
    assert_eq!(early.recv_timeout(PATIENCE), Ok(Ok(())));
    // The next tick has begun, so the first one is over and done with.
    bench.begins();
    assert!(late.try_recv().is_err());
    bench.ends(Ok(()));
    assert_eq!(late.recv_timeout(PATIENCE), Ok(Ok(())));
}

#[test]
fn who_may_block_makes_the_tick_itself_also_for_others() {
    let bench = Bench::new();
    std::thread::sleep(ClusterTiming::default().tick_busy);
    let ticker = bench.ticker.clone();
    let (answer, answered) = channel();
    let blocking =
        std::thread::spawn(move || ticker.validate_when_due(move |validated| answer.send(validated).unwrap()));
    assert_eq!(bench.begins(), blocking.thread().id());
    let late = bench.ask();
    bench.ends(Ok(()));
    assert_eq!(answered.recv_timeout(PATIENCE), Ok(Ok(())));
    assert_ne!(bench.begins(), blocking.thread().id());
    bench.ends(Ok(()));
    assert_eq!(late.recv_timeout(PATIENCE), Ok(Ok(())));
}

#[test]
fn a_failed_tick_keeps_who_waits_for_the_next() {
    let bench = Bench::new();
    let asked = bench.ask();
    bench.begins();
    bench.ends(Err(TickError::Io(io::ErrorKind::TimedOut.into())));
    bench.begins();
    assert!(asked.try_recv().is_err());
    bench.ends(Ok(()));
    assert_eq!(asked.recv_timeout(PATIENCE), Ok(Ok(())));
    assert!(!bench.fenced.is_cancelled());
}

#[test]
fn a_fence_refuses_everybody_from_then_on() {
    let bench = Bench::new();
    let early = bench.ask();
    bench.begins();
    let late = bench.ask();
    bench.ends(Err(TickError::Fenced));
    assert_eq!(early.recv_timeout(PATIENCE), Ok(Err(Fenced)));
    assert_eq!(late.recv_timeout(PATIENCE), Ok(Err(Fenced)));
    assert!(bench.fenced.is_cancelled());
    assert_eq!(bench.ask().recv_timeout(PATIENCE), Ok(Err(Fenced)));
}

#[test]
fn a_member_that_leaves_takes_its_last_rename_for_no_fence() {
    let bench = Bench::new();
    let asked = bench.ask();
    bench.begins();
    bench.ticker.stop();
    bench.ends(Err(TickError::Fenced));
    assert_eq!(asked.recv_timeout(PATIENCE), Ok(Err(Fenced)));
    assert!(!bench.fenced.is_cancelled());
}

/// Every tick serves all who waited when it began, whichever threads they are on.
#[test]
fn nobody_is_forgotten_between_the_threads() {
    let rename = |_: &mut _, _| Ok(());
    let incarnation = Incarnation::parse("a.1").unwrap();
    let ticker =
        Arc::new(Ticker::start(rename, incarnation, &ClusterTiming::default(), CancellationToken::new()).unwrap());
    std::thread::scope(|scope| {
        for number in 0..8 {
            let ticker = &ticker;
            scope.spawn(move || {
                for round in 0..500 {
                    let (answer, answered) = channel();
                    let then = move |validated| answer.send(validated).unwrap();
                    if (number + round) % 2 == 0 {
                        ticker.validate(then)
                    } else {
                        ticker.validate_when_due(then);
                        ticker.hurry();
                    }
                    assert_eq!(answered.recv_timeout(PATIENCE), Ok(Ok(())));
                }
            });
        }
    });
    ticker.stop();
}
