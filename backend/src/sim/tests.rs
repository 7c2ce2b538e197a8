//! Seeds, and the proof that mistakes are found.

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    sabotage::{self, Sabotage},
    store::fs::simulated::Caching,
};

use super::{
    invariant::Seen,
    random::Random,
    world::{Plan, Troubles, World},
};

/// As many seeds are tried to find a mistake.
const MISTAKE_SEEDS_MAX: u64 = 2000;

/// What a seed stands for.
fn plan(seed: u64) -> Plan {
    let mut random = Random::new(seed ^ 0x5eed);
    Plan {
        seed,
        members: usize::try_from(if random.one_in(8) { 6 + random.below(3) } else { 1 + random.below(5) }).unwrap(),
        accounts: if random.one_in(8) { 7 + random.below(14) } else { 1 + random.below(6) },
        troubled: Duration::from_secs(10),
        healing: Duration::from_secs(6),
        drift: [0, 100, 200, 500][usize::try_from(random.below(4)).unwrap()],
        caching: if random.one_in(2) { Caching::Strict } else { Caching::NfsDefault },
        troubles: if random.one_in(8) { Troubles::Damage } else { Troubles::All },
    }
}

/// One run, whole: what it has shown, and a digest of all that happened.
fn run(plan: Plan) -> (Seen, u64) {
    let mut world = World::new(plan);
    world.run();
    world.check_end();
    (world.witness.seen.clone(), world.digest)
}

fn fails(plan: Plan) -> bool {
    std::panic::catch_unwind(AssertUnwindSafe(|| run(plan))).is_err()
}

/// Which seeds to run: one, or as many as asked for from where one likes, or the first few.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("LANIAKEA_SEED") {
        return seed..seed + 1;
    }
    let first = number("LANIAKEA_SEEDS_FROM").unwrap_or(0);
    first..first + number("LANIAKEA_SEEDS").unwrap_or(100)
}

/// Runs every seed, one world to a core.
fn run_all(seeds: std::ops::Range<u64>) -> Seen {
    let (next, seen) = (AtomicU64::new(seeds.start), Mutex::new(Seen::default()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = std::panic::catch_unwind(AssertUnwindSafe(|| run(plan(seed))));
                    let (run, _) = result.unwrap_or_else(|cause| {
                        eprintln!("seed {seed} fails; run it again with LANIAKEA_SEED={seed} LANIAKEA_TRACE=1");
                        std::panic::resume_unwind(cause)
                    });
                    seen.lock().add(&run);
                }
            });
        }
    });
    seen.into_inner()
}

#[test]
fn every_invariant_holds_whatever_dies_sleeps_fails_or_is_cut_off() {
    let seen = run_all(seeds());
    eprintln!("{seen:?}");
    assert!(seen.grants > 0 && seen.acknowledged > 0 && seen.terms > 0 && seen.reads > 0, "nothing happened: {seen:?}");
}

#[test]
fn a_seed_reproduces_its_run_event_by_event() {
    for seed in 0..5 {
        assert_eq!(run(plan(seed)).1, run(plan(seed)).1, "seed {seed}");
    }
}

#[test]
#[ignore = "takes minutes; run it with --release"]
fn commits_without_tick_fence_write_or_delivery_id_are_missed() {
    are_missed(&[Sabotage::SkipTick, Sabotage::SkipFence, Sabotage::AnswerUnwritten, Sabotage::ForgetDeliveries]);
}

#[test]
#[ignore = "takes minutes; run it with --release"]
fn rules_that_are_left_out_are_missed() {
    are_missed(&[
        Sabotage::GrantUngathered,
        Sabotage::GrantUnfenced,
        Sabotage::GrantLeased,
        Sabotage::LeaseWithoutFellows,
        Sabotage::LeaseWithoutTick,
        Sabotage::SkipFence,
        Sabotage::AnswerUnwritten,
        Sabotage::SkipTick,
        Sabotage::TickBeforeSync,
        Sabotage::ShowUnvalidated,
        Sabotage::ForgetDeliveries,
        Sabotage::SkipBatchSync,
        Sabotage::SkipHeaderSync,
        Sabotage::SkipSeal,
        Sabotage::SkipCarry,
        Sabotage::LinkLate,
        Sabotage::TrustFailedSync,
        Sabotage::IgnoreEpochs,
    ]);
}

/// Each rule, left out, makes some seed fail.
fn are_missed(rules: &[Sabotage]) {
    let quiet = std::panic::take_hook();
    // The panics here are what is wanted.
    std::panic::set_hook(Box::new(|_| ()));
    let started = std::time::Instant::now();
    let mut unnoticed = Vec::new();
    for rule in rules {
        sabotage::set(Some(*rule));
        let found = (0..MISTAKE_SEEDS_MAX).find(|seed| fails(plan(*seed)));
        sabotage::set(None);
        eprintln!("{rule:?} is missed by seed {found:?} ({:?} so far)", started.elapsed());
        if found.is_none() {
            unnoticed.push(rule);
        }
    }
    std::panic::set_hook(quiet);
    assert!(unnoticed.is_empty(), "nobody misses {unnoticed:?}");
}
