//! One fault after the other, on a cluster at work, and how long each is noticed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::{
    cluster::Cluster,
    faultfs::{Failure, Fault as FsFault, Faults, Kind},
    ledger::{Ledger, until_served},
};

/// How long it may take, at most, until everything is well after the last fault is gone. A bound on a busy machine.
const HEALED: Duration = Duration::from_secs(60);

/// How long a fault goes on after a takeover: long enough for clients to work at the new owner.
const SETTLED: Duration = Duration::from_millis(500);

/// Everything that can happen to one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Its process is killed.
    Kill,
    /// Its process sleeps until after its lease, and wakes up.
    Freeze,
    /// Its host loses power.
    PowerOff,
    /// Its cable is pulled.
    Cut,
    /// It does not hear one other member, nor that one it.
    Part,
    /// It hears nobody of the cluster, while all hear it.
    Deaf,
    /// Its link is slow.
    SlowLink,
    /// Its storage does not answer.
    StorageStalls,
    /// Its storage answers slowly.
    StorageSlow,
    /// fsync does not come back; all else is well.
    SyncStalls,
    /// Its storage is full.
    Full,
    /// Writing fails.
    WriteFails,
    /// fsync fails.
    SyncFails,
    /// Reading fails.
    ReadFails,
    /// Links and renames are done and reported as failed.
    LostAnswers,
    /// Its open files become stale.
    Stale,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Kill,
        Self::Freeze,
        Self::PowerOff,
        Self::Cut,
        Self::Part,
        Self::Deaf,
        Self::SlowLink,
        Self::StorageStalls,
        Self::StorageSlow,
        Self::SyncStalls,
        Self::Full,
        Self::WriteFails,
        Self::SyncFails,
        Self::ReadFails,
        Self::LostAnswers,
        Self::Stale,
    ];

    /// How long it lasts, if nobody takes over: longer than it takes the others to act on it.
    #[must_use]
    pub fn lasts(self) -> Duration {
        let milliseconds = match self {
            Self::Kill | Self::PowerOff => 1_000,
            Self::Freeze | Self::Cut | Self::Deaf | Self::Part => 4_500,
            Self::StorageStalls | Self::SyncStalls => 7_000,
            _ => 1_000,
        };
        Duration::from_millis(milliseconds)
    }

    /// Whether the accounts of the member are to be served by others while it lasts.
    #[must_use]
    pub fn is_survived_by_takeover(self) -> bool {
        matches!(self, Self::Kill | Self::Freeze | Self::PowerOff | Self::Cut | Self::StorageStalls)
    }

    fn begin(self, cluster: &mut Cluster, index: usize) -> Result<()> {
        let all = |fault| Faults::only(&Kind::ALL, fault);
        let faults = match self {
            Self::Kill => return cluster.member(index)?.process.kill(),
            Self::Freeze => return cluster.member(index)?.process.freeze(true),
            Self::PowerOff => return cluster.power_off(index),
            Self::Cut => return cluster.member(index)?.host.unplug(),
            Self::Part | Self::Deaf => return self.cut_links(cluster, index),
            Self::SlowLink => return cluster.member(index)?.host.slow_down(256),
            Self::StorageStalls => all(FsFault::Stall),
            Self::StorageSlow => all(FsFault::Slow(40)),
            Self::SyncStalls => Faults::only(&[Kind::Sync], FsFault::Stall),
            Self::Full => Faults::only(&Kind::TAKING_ROOM, FsFault::Fail(Failure::Full)),
            Self::WriteFails => Faults::only(&[Kind::Write], FsFault::Fail(Failure::Io)),
            Self::SyncFails => Faults::only(&[Kind::Sync], FsFault::Fail(Failure::Io)),
            Self::ReadFails => Faults::only(&[Kind::Read], FsFault::Fail(Failure::Io)),
            Self::LostAnswers => Faults::only(&[Kind::Link, Kind::Rename], FsFault::LoseAnswer(Failure::Io)),
            Self::Stale => Faults { open_files_are_stale: true, ..Faults::none() },
        };
        cluster.member(index)?.fail(&faults)
    }

    fn cut_links(self, cluster: &Cluster, index: usize) -> Result<()> {
        let members = cluster.members();
        let victim = members.get(index).context("no such member")?;
        let others = members.iter().filter(|member| member.name != victim.name);
        for other in others.take(if self == Self::Part { 1 } else { members.len() }) {
            match self {
                Self::Part => victim.host.part_from(&other.host)?,
                _ => victim.host.deafen_to(&other.host)?,
            }
        }
        Ok(())
    }
}

/// What one fault did.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Which.
    pub fault: Fault,
    /// Whether the member was the controller.
    pub of_controller: bool,
    /// How long the accounts of the member were not served, in seconds: the longest; none if it owned nothing.
    pub outage: Option<f64>,
    /// How long it took, after the fault was gone, until all members were ready and all accounts served, in seconds.
    pub healed: f64,
}

/// Lets one fault happen to the controller, or to another member that owns something, and takes it back. Afterwards
/// everything runs and every account is served.
///
/// # Errors
/// If that is not so in time.
pub async fn strike(cluster: &mut Cluster, ledger: &Ledger, fault: Fault, of_controller: bool) -> Result<Outcome> {
    let struck = strike_inside(cluster, ledger, fault, of_controller).await;
    struck.map_err(|error| error.context(format!("{fault:?}, of the controller: {of_controller}\n{}", cluster.logs())))
}

async fn strike_inside(cluster: &mut Cluster, ledger: &Ledger, fault: Fault, of_controller: bool) -> Result<Outcome> {
    let controller = cluster.controller().await?;
    let owned = victims(cluster, controller, of_controller).await?;
    let index = owned.0;
    let begin = Instant::now();
    fault.begin(cluster, index)?;
    let mut outage = None;
    if fault.is_survived_by_takeover() {
        let deadline = Duration::from_secs(45);
        for account in &owned.1 {
            let served = until_served(cluster.imap(), account, ledger, deadline).await?;
            outage = Some(outage.unwrap_or(0.0_f64).max(served.as_secs_f64()));
        }
    }
    // Where others serve what it owned, they have acted on it.
    let rest = if outage.is_some() { SETTLED } else { fault.lasts().saturating_sub(begin.elapsed()) };
    tokio::time::sleep(rest).await;
    let gone = Instant::now();
    heal(cluster, index).await?;
    for account in cluster.accounts() {
        until_served(cluster.imap(), &account, ledger, HEALED).await?;
    }
    Ok(Outcome { fault, of_controller, outage, healed: gone.elapsed().as_secs_f64() })
}

/// The member to be struck and the accounts it owns: one account at least, if any member like that owns one.
async fn victims(cluster: &Cluster, controller: usize, of_controller: bool) -> Result<(usize, Vec<String>)> {
    let mut owned = vec![Vec::new(); cluster.members().len()];
    for account in cluster.accounts() {
        if let Some(owner) = cluster.owner(&account).await?
            && let Some(list) = owned.get_mut(owner)
        {
            list.push(account);
        }
    }
    let fits = |index: &usize| (*index == controller) == of_controller;
    let busiest = (0..owned.len()).filter(fits).max_by_key(|index| owned.get(*index).map_or(0, Vec::len));
    let index = busiest.context("there is no other member than the controller")?;
    Ok((index, owned.get(index).cloned().unwrap_or_default()))
}

/// Takes every fault back, and starts what has ended, until every member is ready.
///
/// # Errors
/// If a member does not become ready in time.
pub async fn heal(cluster: &mut Cluster, index: usize) -> Result<()> {
    let member = cluster.member(index)?;
    if member.host.init().is_ok() {
        member.host.plug()?;
        // It may not be slow; then there is nothing to take back.
        let _ = member.host.speed_up();
        if member.mount.is_some() {
            member.fail(&Faults::none())?;
        }
        if member.process.is_running()? {
            member.process.freeze(false)?;
        }
    }
    for member in cluster.members().iter().filter(|member| member.host.init().is_ok()) {
        member.host.hear_all()?;
    }
    let deadline = Instant::now() + HEALED;
    loop {
        // Who finds itself fenced ends, a moment after it is back.
        for index in 0..cluster.members().len() {
            if !cluster.is_running(index)? {
                cluster.start_member(index)?;
            }
        }
        if cluster.all_registered().await {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not every member is ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
