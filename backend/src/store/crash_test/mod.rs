//! Every crash there can be: workloads of a few steps, ended at every single operation by a loss of power, a dead process,
//! a failing disk or a member that stands still and goes on too late; what was not synced meets every fate; the ownable is
//! opened again, goes on, and crashes again while it is being opened.
//!
//! The witness compares each state with all that anybody was promised or shown. That the harness can fail is shown by
//! deliberate mistakes, every one of which it has to find.

mod member;
mod sequences;
mod witness;

use std::path::Path;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use self::member::{Body, DIR, Haste, Member, Outside, Shared, Step, Stop, decode};
use self::witness::Violation;
use super::check::check;
use super::fs::simulated::{Caching, Fault};
use super::{BodyRef, SimulatedFs, look};
use crate::sabotage::{self, Sabotage};

use Body::{Long, Medium, None as Plain, Short};
use Step::{Commit, Die, Expunge, Release, Snapshot, SnapshotBeside};

/// All steps there are, to be combined.
const STEPS: [Step; 8] =
    [Commit(&[Plain]), Commit(&[Short, Plain]), Commit(&[Medium]), Commit(&[Long]), Snapshot, Release, Die, Expunge(1)];

/// Workloads with more steps, for what takes longer to come about: rotation, old segments, old snapshots.
const LONG_WORKLOADS: [&[Step]; 6] = [
    &[Commit(&[Medium]), Snapshot, Commit(&[Medium]), Snapshot, Commit(&[Plain]), Snapshot, Commit(&[Short])],
    &[Commit(&[Long, Short]), Snapshot, Die, Commit(&[Medium, Long]), Snapshot, Release, Commit(&[Plain])],
    &[Commit(&[Plain]), Die, Die, Commit(&[Medium]), Die, Snapshot, Commit(&[Short]), Snapshot, Die, Snapshot],
    &[Commit(&[Medium]), Commit(&[Medium]), Snapshot, Release, Release, Commit(&[Plain]), Release, Snapshot],
    &[Commit(&[Plain]), Commit(&[Plain]), Commit(&[Plain]), Snapshot, Commit(&[Plain]), Die, Commit(&[Plain])],
    &[
        Commit(&[Medium]),
        Commit(&[Short]),
        Snapshot,
        Commit(&[Medium, Plain]),
        Snapshot,
        Die,
        Commit(&[Long]),
        Snapshot,
    ],
];

/// Workloads that free what they wrote: bodies move, segments and body files go.
const COMPACTIONS: [&[Step]; 5] = [
    &[Commit(&[Medium, Short]), Commit(&[Medium]), Expunge(1), Snapshot, Commit(&[Short]), Snapshot],
    &[Commit(&[Long, Short]), Commit(&[Long]), Snapshot, Expunge(2), Snapshot, Die, Commit(&[Plain]), Snapshot],
    &[Commit(&[Medium, Medium, Short]), Expunge(2), SnapshotBeside(&[Short]), Release, Expunge(1), Snapshot],
    &[Commit(&[Medium, Short, Medium]), Die, Expunge(1), SnapshotBeside(&[Long]), Expunge(9), Die, Snapshot],
    &[
        Commit(&[Short, Medium]),
        Expunge(1),
        SnapshotBeside(&[Medium]),
        Commit(&[Medium]),
        Expunge(2),
        Snapshot,
        Commit(&[Long]),
        Snapshot,
    ],
];

/// A batch that may have failed names a body file, and the next snapshot looks for files that nobody names.
const FAILING_BODIES: &[Step] = &[Commit(&[Long]), Commit(&[Long]), Snapshot];

/// What a successor does, to see that it can.
const GO_ON: &[Step] = &[Commit(&[Short]), Snapshot, Commit(&[Plain])];

/// Counts the states that were looked at, or tells of a broken promise.
type Outcome = Result<u64, Violation>;

fn run(fs: &SimulatedFs, steps: &[Step], outside: &Shared) -> Result<(), Violation> {
    let stopped = Member::claim(fs, outside).and_then(|member| member.run(steps)).err();
    settle(stopped, outside)
}

fn settle(stopped: Option<Stop>, outside: &Shared) -> Result<(), Violation> {
    match (stopped, outside.lock().violation.take()) {
        (Some(Stop::Violation(violation)), _) | (_, Some(violation)) => Err(violation),
        (Some(Stop::Over) | None, None) => Ok(()),
    }
}

fn outside(haste: Option<Haste>) -> Shared {
    Arc::new(Mutex::new(Outside { haste, ..Outside::default() }))
}

/// An independent copy of what is known so far.
fn copy(of: &Shared) -> Shared {
    let of = of.lock();
    Arc::new(Mutex::new(Outside { epoch: of.epoch, witness: of.witness.clone(), haste: of.haste, violation: None }))
}

/// The fates of what was not synced: all of them, or a sample that has each single loss in it.
fn fates(chances: &[usize], most: usize) -> Vec<Vec<usize>> {
    let all = chances.iter().try_fold(1_usize, |product, ways| product.checked_mul(*ways)).unwrap_or(usize::MAX);
    let nth = |number: usize| {
        let mut rest = number;
        chances.iter().map(|ways| (rest % ways, rest /= ways).0).collect()
    };
    if all <= most {
        return (0..all).map(nth).collect();
    }
    // Steps that have no divisor in common with the number of all fates come to each in turn.
    (0..most).map(|number| nth((number * 7_368_787) % all)).collect()
}

/// Opens what a crash has left, goes on with it, and audits every byte.
fn succeed(fs: &SimulatedFs, outside: &Shared) -> Result<(), Violation> {
    let outcome = Member::claim(fs, outside).and_then(|member| member.run(GO_ON));
    let over = matches!(outcome, Err(Stop::Over));
    settle(outcome.err(), outside)?;
    if over {
        return Err(Violation("nobody can open it any more".to_owned()));
    }
    let (recovered, reader) = look(Arc::new(fs.clone()), Path::new(DIR)).unwrap();
    let needed: Vec<BodyRef> = decode(&recovered).bodies().into_iter().map(|body| reader.locate(body)).collect();
    match check(fs, Path::new(DIR), Some(&needed)) {
        Ok(audit) if audit.is_whole() => Ok(()),
        other => Err(Violation(format!("the audit finds {other:?}"))),
    }
}

/// Everything that may come of a loss of power at this moment; `deeper` times again while that is being recovered from.
fn power_fails(fs: &SimulatedFs, outside: &Shared, most: usize, deeper: u32) -> Outcome {
    let mut states = 0;
    for fate in fates(&fs.chances(), most) {
        let told = |Violation(what)| Violation(format!("{what}\n  fate {fate:?} of {:?}", fs.chances()));
        let left = fs.after_power_loss(&fate);
        succeed(&left, &copy(outside)).map_err(told)?;
        states += 1;
        if deeper == 0 {
            continue;
        }
        for at in 1..=left.operations() {
            let again = fs.after_power_loss(&fate);
            let known = copy(outside);
            again.fail_at(at, Fault::PowerLoss);
            run(&again, GO_ON, &known).map_err(told)?;
            states += power_fails(&again, &known, most.min(4), deeper - 1)?;
        }
    }
    Ok(states)
}

/// A filesystem where segments have room ahead of their batches.
fn roomy() -> SimulatedFs {
    SimulatedFs::new().overwriting_cheaply()
}

fn operations(fs: &SimulatedFs, steps: &[Step]) -> u64 {
    run(fs, steps, &outside(None)).ok();
    fs.operations()
}

fn explain(steps: &[Step], at: u64, what: &str) -> impl Fn(Violation) -> Violation + use<> {
    let place = format!("{what} at operation {at} of {steps:?}");
    move |Violation(violation)| Violation(format!("{violation}\n  {place}"))
}

/// Power is lost before each operation, with room ahead of the batches and, where that is all, without.
fn every_loss_of_power(steps: &[Step], haste: Option<Haste>, most: usize, deeper: u32) -> Outcome {
    let mut states = 0;
    let kinds: &[fn() -> SimulatedFs] = if deeper == 0 { &[SimulatedFs::new, roomy] } else { &[roomy] };
    for fresh in kinds {
        for at in 1..=operations(&fresh(), steps) + 1 {
            let (fs, outside) = (fresh(), outside(haste));
            fs.fail_at(at, Fault::PowerLoss);
            let explain = explain(steps, at, "power lost");
            run(&fs, steps, &outside).map_err(&explain)?;
            states += power_fails(&fs, &outside, most, deeper).map_err(&explain)?;
        }
    }
    Ok(states)
}

/// Each operation fails once, in each way; the member opens its log again and goes on; in the end power is lost.
fn every_failing_operation(steps: &[Step], most: usize) -> Outcome {
    let kinds = [
        Fault::Halfway,
        Fault::LostAnswer,
        Fault::Error(std::io::ErrorKind::Other),
        Fault::Error(std::io::ErrorKind::StorageFull),
        Fault::Error(std::io::ErrorKind::StaleNetworkFileHandle),
    ];
    let mut states = 0;
    for (at, fault) in (1..=operations(&roomy(), steps)).flat_map(|at| kinds.map(|fault| (at, fault))) {
        let (fs, outside) = (roomy(), outside(None));
        fs.fail_at(at, fault);
        let explain = explain(steps, at, &format!("{fault:?}"));
        run(&fs, steps, &outside).map_err(&explain)?;
        states += power_fails(&fs, &outside, most, 0).map_err(&explain)?;
    }
    Ok(states)
}

/// The process dies before each operation; another member takes over, and power is lost at each of its operations.
fn every_death(steps: &[Step], most: usize) -> Outcome {
    let mut states = 0;
    for at in 1..=operations(&roomy(), steps) {
        let begin = || {
            let (fs, outside) = (roomy(), outside(None));
            fs.fail_at(at, Fault::Death);
            (run(&fs, steps, &outside), fs.join(Caching::Strict), outside)
        };
        let explain = explain(steps, at, "process killed");
        let (_, successor, known) = begin();
        succeed(&successor, &known).map_err(&explain)?;
        for later in 1..=successor.operations() + 1 {
            let (died, successor, outside) = begin();
            died.map_err(&explain)?;
            successor.fail_at(later, Fault::PowerLoss);
            run(&successor, GO_ON, &outside).map_err(&explain)?;
            states += power_fails(&successor, &outside, most, 0).map_err(&explain)?;
        }
    }
    Ok(states)
}

/// A thread that makes the same mistakes as the one that starts it.
fn start<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    let mistake = sabotage::current();
    thread::spawn(move || {
        sabotage::set(mistake);
        act()
    })
}

/// The owner stands still before each of its operations; a successor comes; before each operation of the successor, the
/// old owner goes on to its end.
fn every_sleeper(before: &[Step], steps: &'static [Step], successor: &'static [Step], most: usize) -> Outcome {
    let mut states = 0;
    for late in [false, true] {
        for at in 1.. {
            let Some(more) = sleeper(before, (steps, at), successor, late, most)? else { break };
            states += more;
        }
    }
    Ok(states)
}

fn sleeper(
    before: &[Step],
    (steps, at): (&'static [Step], u64),
    successor: &'static [Step],
    late: bool,
    most: usize,
) -> Result<Option<u64>, Violation> {
    let mut states = 0;
    for wake_at in 1.. {
        let (old, outside) = (roomy(), outside(None));
        let explain = explain(steps, at, &format!("asleep until operation {wake_at} of a successor, late {late},"));
        run(&old, before, &outside).map_err(&explain)?;
        let new = old.join(Caching::Strict);
        if late {
            old.write_back_late();
        }
        let asleep = old.pause_at(old.operations() + at);
        let sleeper = start({
            let (old, outside, asleep) = (old.clone(), Arc::clone(&outside), Arc::clone(&asleep));
            move || {
                let stopped = run(&old, steps, &outside);
                asleep.pass_by();
                stopped
            }
        });
        asleep.until_arrived();
        if sleeper.is_finished() {
            return Ok(None);
        }
        let waking = new.pause_at(wake_at);
        let owner = start({
            let (new, outside, waking) = (new.clone(), Arc::clone(&outside), Arc::clone(&waking));
            move || {
                let stopped = run(&new, successor, &outside);
                waking.pass_by();
                stopped
            }
        });
        waking.until_arrived();
        asleep.open();
        let slept = sleeper.join().unwrap();
        old.write_back();
        waking.open();
        slept.and(owner.join().unwrap()).map_err(&explain)?;
        states += power_fails(&new, &outside, most, 0).map_err(&explain)?;
        succeed(&new.join(Caching::Strict), &outside).map_err(&explain)?;
        states += 1;
        if new.operations() < wake_at {
            break;
        }
    }
    Ok(Some(states))
}

/// Two old owners stand still. The second has read before the first goes on, and goes on when a third has read and shown
/// what the first has added.
fn every_pair_of_sleepers(first: &'static [Step], second: &'static [Step]) -> Outcome {
    let mut states = 0;
    for (at, then_at) in (1..=60).flat_map(|at| (1..=30).map(move |then_at| (at, then_at))) {
        let (one, outside) = (roomy(), outside(None));
        let explain = explain(first, at, &format!("asleep, and a successor at {then_at},"));
        let two = one.join(Caching::Strict);
        let gates = [one.pause_at(at), two.pause_at(then_at)];
        let begin = |fs: &SimulatedFs, steps: &'static [Step], gate: &Arc<super::fs::simulated::Gate>| {
            let (fs, outside, gate) = (fs.clone(), Arc::clone(&outside), Arc::clone(gate));
            start(move || {
                let stopped = run(&fs, steps, &outside);
                gate.pass_by();
                stopped
            })
        };
        let first = begin(&one, first, &gates[0]);
        gates[0].until_arrived();
        let second = begin(&two, second, &gates[1]);
        gates[1].until_arrived();
        gates[0].open();
        let slept = first.join().unwrap();
        let three = Member::claim(&one.join(Caching::Strict), &outside);
        gates[1].open();
        let slept = slept.and(second.join().unwrap());
        slept.and(settle(three.and_then(|three| three.run(GO_ON)).err(), &outside)).map_err(&explain)?;
        succeed(&one.join(Caching::Strict), &outside).map_err(&explain)?;
        states += 1;
    }
    Ok(states)
}

fn workloads(steps: usize) -> Vec<Vec<Step>> {
    let shorter = if steps == 0 { return vec![Vec::new()] } else { workloads(steps - 1) };
    shorter.iter().flat_map(|workload| STEPS.map(|step| [workload.as_slice(), &[step]].concat())).collect()
}

fn total(outcomes: impl Iterator<Item = Outcome>) -> u64 {
    outcomes.map(|outcome| outcome.unwrap_or_else(|violation| panic!("{violation}"))).sum()
}

#[test]
fn nothing_promised_is_lost_whenever_power_fails() {
    let short = (1..=2).flat_map(workloads);
    let long = LONG_WORKLOADS.iter().map(|steps| steps.to_vec());
    let states = total(short.chain(long).map(|steps| every_loss_of_power(&steps, None, 60, 0)));
    println!("{states} crash states");
    assert!(states > 10_000, "{states}");
}

#[test]
fn nothing_promised_is_lost_when_power_fails_again_during_recovery() {
    let states = total(LONG_WORKLOADS.iter().skip(2).take(1).map(|steps| every_loss_of_power(steps, None, 3, 1)));
    println!("{states} crash states");
    assert!(states > 5_000, "{states}");
}

#[test]
fn nothing_promised_is_lost_whatever_operation_fails() {
    let states = total(LONG_WORKLOADS.iter().map(|steps| every_failing_operation(steps, 4)));
    println!("{states} crash states");
    assert!(states > 2_000, "{states}");
}

#[test]
fn nothing_seen_is_taken_back_when_a_process_dies_and_power_fails_afterwards() {
    let states = total(LONG_WORKLOADS.iter().map(|steps| every_death(&steps[..4], 2)));
    println!("{states} crash states");
    assert!(states > 5_000, "{states}");
}

#[test]
fn compaction_loses_nothing_whatever_happens() {
    let power = total(COMPACTIONS.iter().map(|steps| every_loss_of_power(steps, None, 12, 0)));
    let errors = total(COMPACTIONS.iter().map(|steps| every_failing_operation(steps, 2)))
        + total([every_failing_operation(FAILING_BODIES, 32)].into_iter());
    let deaths = total(COMPACTIONS.iter().map(|steps| every_death(&steps[..4], 1)));
    println!("{power} + {errors} + {deaths} crash states");
    assert!(power > 1_000 && errors > 1_000 && deaths > 1_000, "{power} {errors} {deaths}");
}

#[test]
fn an_owner_that_falls_asleep_while_it_compacts_deletes_nothing_that_is_needed() {
    const COMPACTING: &[Step] = &[Commit(&[Medium, Long]), Commit(&[Short]), Expunge(2), SnapshotBeside(&[Long])];
    const NEXT: &[Step] = &[Commit(&[Long]), Expunge(1), Snapshot];
    let states = total([every_sleeper(&[Commit(&[Medium, Long]), Release], COMPACTING, NEXT, 0)].into_iter());
    println!("{states} crash states");
    assert!(states > 500, "{states}");
}

const OLD_OWNER: &[Step] =
    &[Commit(&[Short]), Commit(&[Long]), Snapshot, Commit(&[Medium]), Snapshot, Commit(&[Plain])];
const SUCCESSOR: &[Step] = &[Commit(&[Plain]), Snapshot, Commit(&[Medium])];

#[test]
fn an_owner_that_wakes_up_too_late_changes_nothing() {
    let before: [&[Step]; 2] = [&[Commit(&[Plain]), Release], &[Commit(&[Short]), Snapshot, Die]];
    let states = total(before.iter().map(|before| every_sleeper(before, OLD_OWNER, SUCCESSOR, 1)));
    println!("{states} crash states");
    assert!(states > 2_000, "{states}");
}

#[test]
fn two_owners_that_wake_up_too_late_change_nothing() {
    let states = total([every_pair_of_sleepers(OLD_OWNER, &[Commit(&[Short]), Commit(&[Plain])])].into_iter());
    println!("{states} crash states");
}

/// All that the tests above do, with less of each, until a promise is broken.
fn is_caught(haste: Option<Haste>) -> bool {
    let bodies: &'static [Step] = &[Commit(&[Short]), Commit(&[Medium, Long]), Snapshot, Commit(&[Plain])];
    every_loss_of_power(bodies, haste, 20, 0).is_err()
        || every_failing_operation(bodies, 4).is_err()
        || every_failing_operation(FAILING_BODIES, 32).is_err()
        || every_death(bodies, 4).is_err()
        || COMPACTIONS.iter().any(|steps| every_loss_of_power(steps, haste, 4, 0).is_err())
        || (haste.is_none() && every_sleeper(&[], bodies, SUCCESSOR, 1).is_err())
        || (haste.is_none() && every_pair_of_sleepers(OLD_OWNER, &[Commit(&[Short]), Commit(&[Plain])]).is_err())
}

#[test]
fn every_deliberate_mistake_of_the_store_is_caught() {
    let mistakes = [
        Sabotage::SkipBatchSync,
        Sabotage::SkipHeaderSync,
        Sabotage::SkipBodySync,
        Sabotage::SkipBodyNameSync,
        Sabotage::SkipSeal,
        Sabotage::SkipCarry,
        Sabotage::SkipOldNameSync,
        Sabotage::LinkLate,
        Sabotage::TrustFailedSync,
        Sabotage::IgnoreEpochs,
        Sabotage::DeleteUnvalidated,
        Sabotage::DropLiving,
        Sabotage::ForgetMoves,
    ];
    for mistake in mistakes {
        sabotage::set(Some(mistake));
        let caught = is_caught(None);
        sabotage::set(None);
        assert!(caught, "{mistake:?} goes unnoticed");
    }
    assert!(!is_caught(None));
}

#[test]
fn a_worker_that_promises_too_early_is_caught() {
    assert!(is_caught(Some(Haste::PromiseBeforeSync)));
}

/// A second owner shows what it has, and the first one goes on: only the tick keeps it from promising.
#[test]
fn a_worker_that_does_without_the_tick_is_caught() {
    for haste in [Haste::PromiseWithoutTick, Haste::ShowWithoutTick] {
        let caught = (1..=40).any(|at| hasty_sleeper(at, haste).is_err());
        assert!(caught, "{haste:?} goes unnoticed");
    }
}

/// The owner stands still, a successor goes all its way, the owner goes on.
fn hasty_sleeper(at: u64, haste: Haste) -> Result<(), Violation> {
    let (old, outside) = (roomy(), outside(Some(haste)));
    run(&old, &[Commit(&[Short]), Release], &outside)?;
    let new = old.join(Caching::Strict);
    let asleep = old.pause_at(old.operations() + at);
    let sleeper = start({
        let (old, outside, asleep) = (old.clone(), Arc::clone(&outside), Arc::clone(&asleep));
        move || {
            let stopped = run(&old, OLD_OWNER, &outside);
            asleep.pass_by();
            stopped
        }
    });
    asleep.until_arrived();
    let succeeded = run(&new, SUCCESSOR, &outside);
    asleep.open();
    succeeded.and(sleeper.join().unwrap())?;
    succeed(&new.join(Caching::Strict), &outside)
}
