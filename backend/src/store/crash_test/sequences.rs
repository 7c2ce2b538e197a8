//! Exhaustive: every sequence of up to three operations of the store, ended by every crash there is (the idea of ACE: almost
//! all bugs of this kind that were ever found in filesystems show with three operations). The long workloads of the other
//! tests go further along few ways; these go a short way along all.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Outcome, Step, every_death, every_failing_operation, every_loss_of_power, total, workloads};

/// How many fates of unsynced bytes and names are looked at after one crash, if there are more.
#[derive(Debug, Clone, Copy)]
struct Fates {
    after_power_loss: usize,
    after_failure: usize,
    after_death: usize,
    /// How often power is lost again during recovery.
    deeper: u32,
}

/// Every end that a sequence can come to.
fn every_end(steps: &[Step], fates: Fates) -> Outcome {
    Ok(every_loss_of_power(steps, None, fates.after_power_loss, fates.deeper)?
        + every_failing_operation(steps, fates.after_failure)?
        + every_death(steps, fates.after_death)?)
}

#[test]
fn a_sample_of_all_sequences_of_three_operations_survives_every_crash() {
    // A stride that has no divisor in common with the number of operations comes to each of them in every place.
    const STRIDE: usize = 29;
    let sample: Vec<_> = workloads(3).into_iter().step_by(STRIDE).collect();
    let fates = Fates { after_power_loss: 8, after_failure: 2, after_death: 1, deeper: 0 };
    let states = total(sample.iter().map(|steps| every_end(steps, fates)));
    println!("{states} crash states of {} sequences", sample.len());
    assert!(states > 10_000, "{states}");
}

/// The gate of a release:
///
/// ```text
/// nice -n 19 cargo test --release -p laniakea-backend --lib every_sequence -- --ignored --nocapture
/// ```
#[test]
#[ignore = "takes minutes with --release, hours without"]
fn every_sequence_of_up_to_three_operations_survives_every_crash() {
    let sequences: Vec<_> = (1..=3).flat_map(workloads).collect();
    let fates = Fates { after_power_loss: 60, after_failure: 8, after_death: 8, deeper: 1 };
    let states = explore(&sequences, fates);
    println!("{states} crash states of {} sequences", sequences.len());
    assert!(states > 1_000_000, "{states}");
}

/// All of them, on all processors, saying now and then how far it is.
fn explore(sequences: &[Vec<Step>], fates: Fates) -> u64 {
    let (next, states) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        while let Some(steps) = sequences.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = total([every_end(steps, fates)].into_iter());
            states.fetch_add(found, Ordering::Relaxed);
        }
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        let mut told = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            thread::sleep(Duration::from_millis(20));
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                let begun = next.load(Ordering::Relaxed).min(sequences.len());
                println!("{begun} of {} sequences, {} states", sequences.len(), states.load(Ordering::Relaxed));
            }
        }
    });
    states.into_inner()
}
