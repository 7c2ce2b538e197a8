//! Seeds, and the proof that mistakes are found.

use std::{panic::AssertUnwindSafe, time::Duration};

use crate::cluster::sabotage::{self, Sabotage};

use super::{
    invariant::Seen,
    random::Random,
    world::{Mistake, Plan, World},
};

fn plan(seed: u64) -> Plan {
    let mut random = Random::new(seed ^ 0x5eed);
    Plan {
        seed,
        members: usize::try_from(1 + random.below(5)).unwrap(),
        accounts: 1 + random.below(6),
        troubled: Duration::from_secs(10),
        healing: Duration::from_secs(8),
        mistake: None,
    }
}

fn run(plan: Plan) -> (Seen, u64, u64) {
    let mut world = World::new(plan);
    world.run();
    if plan.mistake.is_none() {
        world.check_liveness();
    }
    (world.invariants.seen, world.digest, world.events)
}

/// Which seeds to run: one, or as many as asked for from where one likes, or the first few.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("LANIAKEA_SEED") {
        return seed..seed + 1;
    }
    let first = number("LANIAKEA_SEEDS_FROM").unwrap_or(0);
    first..first + number("LANIAKEA_SEEDS").unwrap_or(60)
}

#[test]
fn one_owner_whatever_dies_sleeps_or_is_cut_off() {
    let mut seen = Seen::default();
    let mut events = 0;
    for seed in seeds() {
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| run(plan(seed))));
        let (run, _, count) = result.unwrap_or_else(|cause| {
            eprintln!("seed {seed} fails; run it again with LANIAKEA_SEED={seed} LANIAKEA_TRACE=1");
            std::panic::resume_unwind(cause)
        });
        seen.grants += run.grants;
        seen.takeovers += run.takeovers;
        seen.acknowledged += run.acknowledged;
        seen.terms += run.terms;
        seen.fences += run.fences;
        seen.leases += run.leases;
        events += count;
    }
    eprintln!("{events} events, {seen:?}");
    assert!(seen.grants > 0 && seen.acknowledged > 0 && seen.terms > 0, "nothing happened: {seen:?}");
}

#[test]
fn a_seed_reproduces_its_run_event_by_event() {
    for seed in 0..5 {
        assert_eq!(run(plan(seed)).1, run(plan(seed)).1, "seed {seed}");
    }
}

#[test]
fn rules_that_are_left_out_are_missed() {
    are_missed(&[
        Sabotage::GrantUngathered,
        Sabotage::GrantUnfenced,
        Sabotage::GrantLeased,
        Sabotage::LeaseWithoutFellows,
        Sabotage::LeaseWithoutTick,
    ]);
}

fn are_missed(rules: &[Sabotage]) {
    for rule in rules {
        sabotage::set(Some(*rule));
        let found = (0..5000).find(|seed| std::panic::catch_unwind(AssertUnwindSafe(|| run(plan(*seed)))).is_err());
        sabotage::set(None);
        eprintln!("{rule:?} is missed by seed {found:?}");
        assert!(found.is_some(), "{rule:?} is not missed");
    }
}

#[test]
fn mistakes_are_found() {
    // Silence: the panics here are what is wanted.
    for mistake in [Mistake::NoTick, Mistake::EarlyTick, Mistake::NoFence] {
        let found = (0..2000).find(|seed| {
            let plan = Plan { mistake: Some(mistake), members: 3, ..plan(*seed) };
            std::panic::catch_unwind(AssertUnwindSafe(|| run(plan))).is_err()
        });
        eprintln!("{mistake:?} is found by seed {found:?}");
        assert!(found.is_some(), "{mistake:?} is not found");
    }
}
