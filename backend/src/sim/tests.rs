//! Seeds, and the proof that mistakes are found.

use std::{
    io::IsTerminal,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use crate::{
    sabotage::{self, Sabotage},
    store::fs::simulated::Caching,
};

use super::{
    invariant::{Seen, patience},
    random::Random,
    world::{Plan, Troubles, World},
};

/// Seeds that run with the tests, unless somebody says how many.
const SEEDS: u64 = 2000;
/// After so many seeds have failed it is known that something is wrong.
const FAILURES_MAX: usize = 20;
/// How often a log is told how far it is.
const LINE_EVERY: Duration = Duration::from_secs(30);
/// A mistake that nobody misses for so long is not found.
const MISTAKE_WITHIN: Duration = Duration::from_secs(600);

/// What a seed stands for.
fn plan(seed: u64) -> Plan {
    let mut random = Random::new(seed ^ 0x5eed);
    let members = usize::try_from(if random.one_in(8) { 6 + random.below(3) } else { 1 + random.below(5) }).unwrap();
    let accounts = if random.one_in(8) { 7 + random.below(14) } else { 1 + random.below(6) };
    let drift = [0, 100, 200, 500][usize::try_from(random.below(4)).unwrap()];
    Plan {
        seed,
        members,
        accounts,
        troubled: Duration::from_secs(10),
        healing: patience(drift) + Duration::from_secs(1),
        drift,
        caching: if random.one_in(2) { Caching::Strict } else { Caching::NfsDefault },
        troubles: match random.below(8) {
            0 => Troubles::Damage,
            1 => Troubles::Controller,
            _ => Troubles::All,
        },
    }
}

/// One run, whole: what it has shown, and a digest of all that happened.
fn run(plan: Plan) -> (Seen, u64) {
    let mut world = World::new(plan);
    world.run();
    world.check_end();
    (world.witness.seen.clone(), world.digest)
}

/// One run; why it failed, if it did.
fn try_run(plan: Plan) -> Result<Seen, String> {
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| run(plan)));
    result.map(|(seen, _)| seen).map_err(|cause| match cause.downcast::<String>() {
        Ok(text) => *text,
        Err(cause) => cause.downcast::<&str>().map_or_else(|_| "a panic".to_owned(), |text| (*text).to_owned()),
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Which seeds to run: one, or as many as asked for from where one likes, or the first few.
fn seeds() -> std::ops::Range<u64> {
    if let Some(seed) = number("LANIAKEA_SEED") {
        return seed..seed + 1;
    }
    let first = number("LANIAKEA_SEEDS_FROM").unwrap_or(0);
    first..first + number("LANIAKEA_SEEDS").unwrap_or(SEEDS)
}

/// Does something once on each core, at the same time.
fn on_each_core(act: impl Fn() + Sync) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(&act))));
}

/// How far a long run is: a bar, or a line now and then where there is no terminal.
struct Progress {
    bar: ProgressBar,
    told: Mutex<Instant>,
}

impl Progress {
    fn of(seeds: u64) -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(seeds) } else { ProgressBar::hidden() };
        bar.set_length(seeds);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {per_sec}, {eta} to go, {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self { bar, told: Mutex::new(Instant::now()) }
    }

    fn advance(&self, seen: &Seen) {
        self.bar.inc(1);
        let far = format!("{:.1} simulated hours, {} faults", seen.hours(), seen.fault_count());
        let mut told = self.told.lock();
        if self.bar.is_hidden() && told.elapsed() >= LINE_EVERY {
            *told = Instant::now();
            eprintln!("{}/{} seeds, {far}", self.bar.position(), self.bar.length().unwrap_or(0));
        }
        self.bar.set_message(far);
    }
}

/// Runs every seed, one world to a core.
///
/// # Panics
/// If a seed fails, with all that did.
fn run_all(seeds: std::ops::Range<u64>) -> Seen {
    let (next, seen, failed) = (AtomicU64::new(seeds.start), Mutex::new(Seen::default()), Mutex::new(Vec::new()));
    let progress = Progress::of(seeds.end - seeds.start);
    on_each_core(|| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.lock().len() >= FAILURES_MAX {
                return;
            }
            match try_run(plan(seed)) {
                Ok(run) => {
                    let mut seen = seen.lock();
                    seen.add(&run);
                    progress.advance(&seen);
                }
                Err(cause) => {
                    eprintln!("seed {seed} fails; run it again with LANIAKEA_SEED={seed} LANIAKEA_TRACE=1: {cause}");
                    failed.lock().push((seed, cause));
                }
            }
        }
    });
    let failed = failed.into_inner();
    assert!(failed.is_empty(), "these seeds fail: {failed:#?}");
    seen.into_inner()
}

#[test]
fn every_invariant_holds_whatever_dies_sleeps_fails_or_is_cut_off() {
    let (started, seeds) = (Instant::now(), seeds());
    let enough = seeds.end - seeds.start >= 10;
    let seen = run_all(seeds);
    eprintln!(
        "{:.1} simulated hours of a cluster, {} faults, in {:?}",
        seen.hours(),
        seen.fault_count(),
        started.elapsed()
    );
    eprintln!("{seen:?}");
    // In a single run all may be spent on waiting for a stalled storage.
    assert!(
        !enough || seen.grants > 0 && seen.acknowledged > 0 && seen.terms > 0 && seen.reads > 0,
        "nothing happened: {seen:?}"
    );
}

/// Seeds that have shown something: a member that hangs in its start, leases from before a fence, a mark before a fence.
const SHOWN: [u64; 7] = [2106, 2192, 5855, 4392, 5128, 6076, 6523];

#[test]
fn seeds_that_have_shown_something_hold() {
    for seed in SHOWN {
        assert!(try_run(plan(seed)).is_ok(), "seed {seed}");
    }
}

#[test]
fn a_seed_reproduces_its_run_event_by_event() {
    for seed in 0..5 {
        assert_eq!(run(plan(seed)).1, run(plan(seed)).1, "seed {seed}");
    }
}

/// Mistakes that the first few seeds show.
const SOON: [Sabotage; 17] = [
    Sabotage::GrantUngathered,
    Sabotage::GrantUnfenced,
    Sabotage::GrantLeased,
    Sabotage::SkipFence,
    Sabotage::IgnoreFence,
    Sabotage::OwnersNeedController,
    Sabotage::AnswerUnwritten,
    Sabotage::SkipTick,
    Sabotage::TickBeforeSync,
    Sabotage::ShowUnvalidated,
    Sabotage::OpenWithoutTick,
    Sabotage::ForgetDeliveries,
    Sabotage::SkipBatchSync,
    Sabotage::SkipHeaderSync,
    Sabotage::SkipSeal,
    Sabotage::IgnoreEpochs,
    Sabotage::TrustFailedSync,
];

/// Mistakes that need more of them.
const LATER: [Sabotage; 6] = [
    Sabotage::AcceptOldGrants,
    Sabotage::IgnoreDeposal,
    Sabotage::LeaseWithoutFellows,
    Sabotage::LeaseWithoutTick,
    Sabotage::SkipCarry,
    Sabotage::LinkLate,
];

#[test]
fn rules_whose_lack_shows_soon_are_missed() {
    are_missed(&SOON);
}

#[test]
#[ignore = "takes minutes; run it with --release"]
fn rules_that_are_left_out_are_missed() {
    let only = std::env::var("LANIAKEA_MISTAKE").ok();
    let is_wanted = |rule: &Sabotage| only.as_ref().is_none_or(|only| format!("{rule:?}") == *only);
    are_missed(&SOON.into_iter().chain(LATER).filter(is_wanted).collect::<Vec<_>>());
}

/// Each rule, left out, makes some seed fail before long.
fn are_missed(rules: &[Sabotage]) {
    be_quiet_about_mistakes();
    let (next, unnoticed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    on_each_core(|| {
        while let Some(rule) = rules.get(next.fetch_add(1, Ordering::Relaxed)) {
            let started = Instant::now();
            sabotage::set(Some(*rule));
            let seeds = (0..).take_while(|_| started.elapsed() < MISTAKE_WITHIN);
            let found = seeds.map(|seed| (seed, try_run(plan(seed)))).find_map(|(seed, run)| Some((seed, run.err()?)));
            sabotage::set(None);
            eprintln!("{rule:?} is missed after {:?}: {found:?}", started.elapsed());
            if found.is_none() {
                unnoticed.lock().push(*rule);
            }
        }
    });
    let unnoticed = unnoticed.into_inner();
    assert!(unnoticed.is_empty(), "nobody misses {unnoticed:?}");
}

/// Where a mistake is made on purpose a panic is what is wanted.
fn be_quiet_about_mistakes() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if sabotage::current().is_none() {
                loud(info);
            }
        }));
    });
}
