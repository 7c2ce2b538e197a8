//! Takeover: a member that owns a hundred thousand accounts dies, and another claims them all at once.
//!
//! The controller is a real member in a process of its own; the others are real members of this process, and one of them
//! ends as by a crash. Accounts are owned without their logs: what is measured is the cluster, not the storage.
//! Meanwhile a bystander goes on claiming and ticking, and its longest waits show how long anybody else was held up.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use laniakea_backend::{
    cluster::{Claim, OwnableId},
    drive::control::ClusterHandle,
};
use serde::Serialize;

use super::{
    Spread,
    claims::{Controller, claim, fresh, numbered, own, prepare, start_members},
    progress,
};

/// Between two looks of the bystander.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Before an account is claimed again that is still said to be the dead member's.
const RETRY: Duration = Duration::from_millis(5);

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Takeover {
    /// Accounts of the member that dies.
    #[arg(long, default_value_t = 100_000)]
    pub owned: u64,
    /// Claims under way at once.
    #[arg(long, default_value_t = 10_000)]
    pub at_once: usize,
}

/// What was measured, from the death on.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Until an account was granted to somebody else.
    pub granted: Spread,
    /// Until all of them were, in seconds.
    pub all_s: f64,
    /// The bystander's longest wait for a claim of its own, in milliseconds.
    pub longest_claim_ms: f64,
    /// Its longest wait for a tick, in milliseconds.
    pub longest_tick_ms: f64,
    /// Processor time of the controller, in milliseconds.
    pub controller_cpu_ms: f64,
}

/// Measures. `program` is this very program, which is started again to be the controller.
///
/// # Errors
/// If a process cannot be started, or an account is not granted.
pub async fn measure(takeover: &Takeover, program: &Path) -> Result<Report> {
    let folder = prepare()?;
    let mut controller = Controller::start(program, folder.path()).await?;
    let mut members = start_members(folder.path(), 3).await?.into_iter();
    let mut member = || members.next().context("three members were started");
    let (victim, heir, bystander) = (member()?, member()?, member()?);
    let next = Arc::new(AtomicU64::new(0));
    let owning = progress(1, "owning accounts");
    own(std::slice::from_ref(&victim), &next, takeover.owned).await?;
    owning.finish_and_clear();
    let owned = next.load(Ordering::Relaxed);

    let over = Arc::new(AtomicBool::new(false));
    let stands_by = tokio::spawn(stand_by(bystander.clone(), Arc::clone(&next), Arc::clone(&over)));
    let before = controller.cpu().await?;
    let died = Instant::now();
    victim.abort();
    let bar = progress(owned, "taking over");
    let taken = stream::iter((0..owned).map(numbered)).map(|account| take_over(&heir, account));
    let granted: Vec<Duration> = taken
        .buffer_unordered(takeover.at_once)
        .inspect_ok(|_| bar.inc(1))
        .map_ok(|at| at - died)
        .try_collect()
        .await?;
    let all = died.elapsed();
    bar.finish_and_clear();
    let cpu = controller.cpu().await?.saturating_sub(before);
    over.store(true, Ordering::Relaxed);
    let (longest_claim, longest_tick) = stands_by.await??;
    ensure!(!heir.fenced().is_cancelled() && !bystander.fenced().is_cancelled(), "somebody was fenced besides");
    for member in [heir, bystander] {
        member.shutdown().await;
    }
    controller.stop().await?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(Report {
        granted: Spread::of(granted),
        all_s: all.as_secs_f64(),
        longest_claim_ms: ms(longest_claim),
        longest_tick_ms: ms(longest_tick),
        controller_cpu_ms: ms(cpu),
    })
}

/// Claims one account until it is granted; says when.
async fn take_over(heir: &ClusterHandle, account: OwnableId) -> Result<Instant> {
    loop {
        match heir.claim(account).await {
            Ok(Claim::Granted(_)) => return Ok(Instant::now()),
            // Its death is not known yet.
            Ok(Claim::Owned { .. }) => tokio::time::sleep(RETRY).await,
            Err(error) => return Err(error).context("claim what a dead member owned"),
        }
    }
}

/// Claims and ticks until it is over; the longest wait for each.
async fn stand_by(member: ClusterHandle, next: Arc<AtomicU64>, over: Arc<AtomicBool>) -> Result<(Duration, Duration)> {
    let (mut longest_claim, mut longest_tick) = (Duration::ZERO, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let account = fresh(&next);
        let asked = Instant::now();
        let epoch = claim(&member, account).await?;
        longest_claim = longest_claim.max(asked.elapsed());
        member.release(account, epoch);
        let asked = Instant::now();
        member.validate().await.context("tick")?;
        longest_tick = longest_tick.max(asked.elapsed());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok((longest_claim, longest_tick))
}
