//! Every fault that a member or the controller can have, on hosts with a storage that fails on command, while clients
//! work: nothing acknowledged is lost, nothing is there twice, nothing shown is taken back, no account has two owners.
//!
//! Times are printed, not asserted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration_tests::{
    cluster::{Cluster, Plan, Storage},
    faultfs::{self, Faults},
    hosts,
    ledger::Work,
    nemesis::{Fault, heal, strike},
    tool,
};
use laniakea_config::ProbePolicy;

/// How long queued mail may be on its way after everything is well.
const PATIENCE: Duration = Duration::from_secs(90);

/// Lets faults happen one after the other, to members or to controllers. Whether members that start again probe their storage
/// each time is the caller's: once in this file is enough.
async fn survive(faults: &[Fault], of_controller: bool, probe: ProbePolicy) -> Result<()> {
    if !faultfs::is_possible()? {
        return Ok(());
    }
    let mut cluster = Cluster::start(Plan { storage: Storage::STRICT, accounts: 4, probe, ..Plan::default() }).await?;
    let work = Work::begin(&cluster, 2).await?;
    for fault in faults {
        let outcome = strike(&mut cluster, &work.ledger, *fault, of_controller).await?;
        println!("  {fault:?}: not served for {:.2?} s, all well after {:.2} s", outcome.outage, outcome.healed);
    }
    let ledger = work.end().await;
    let count = ledger.judge(&cluster, PATIENCE).await.map_err(|error| error.context(cluster.logs()))?;
    println!("  {count:?} acknowledged: none lost, none doubled, no account with two owners");
    cluster.stop_and_check()
}

/// Faults of processes, power and links.
const OUTSIDE: [Fault; 7] =
    [Fault::Kill, Fault::Freeze, Fault::PowerOff, Fault::Cut, Fault::Part, Fault::Deaf, Fault::SlowLink];

/// Faults of the storage.
const STORAGE: [Fault; 9] = [
    Fault::StorageStalls,
    Fault::StorageSlow,
    Fault::SyncStalls,
    Fault::Full,
    Fault::WriteFails,
    Fault::SyncFails,
    Fault::ReadFails,
    Fault::LostAnswers,
    Fault::Stale,
];

#[tokio::test]
async fn a_member_dies_sleeps_and_is_cut_off() -> Result<()> {
    survive(&OUTSIDE, false, ProbePolicy::default()).await
}

#[tokio::test]
async fn the_controller_dies_sleeps_and_is_cut_off() -> Result<()> {
    survive(&OUTSIDE, true, ProbePolicy::Off).await
}

#[tokio::test]
async fn the_storage_of_a_member_fails() -> Result<()> {
    survive(&STORAGE, false, ProbePolicy::Off).await
}

#[tokio::test]
async fn the_storage_of_the_controller_fails() -> Result<()> {
    survive(&STORAGE, true, ProbePolicy::Off).await
}

#[tokio::test]
async fn of_two_processes_of_one_name_the_older_is_fenced_and_ends() -> Result<()> {
    if !hosts::are_possible()? {
        return Ok(());
    }
    let mut cluster = Cluster::start(Plan::default()).await?;
    let work = Work::begin(&cluster, 2).await?;
    let spare = cluster.spare_host("twin")?;
    let name = cluster.member(0)?.name.clone();
    let (mut twin, _mount) = cluster.start_twin(&name, &spare)?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while cluster.is_running(0)? {
        ensure!(Instant::now() < deadline, "the older goes on\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(twin.is_running()?, "the later ended as well\n{}", cluster.logs());
    twin.kill()?;
    heal(&mut cluster, 0).await?;
    work.end().await.judge(&cluster, PATIENCE).await.map(drop)
}

#[tokio::test]
async fn clocks_that_differ_and_jump_do_not_matter() -> Result<()> {
    if !hosts::are_possible()? {
        return Ok(());
    }
    let Some(library) = tool::library("libfaketime.so.1", "faketime", "faketime")? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "+0\n")?;
    let words = ["env", &format!("LD_PRELOAD={library}"), "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"];
    let mut wrapper: Vec<String> = words.map(str::to_owned).into();
    wrapper.push(format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()));
    // One member was started a day ago, one a year ago, and one wall clock jumps.
    let wrappers = vec![Vec::new(), wrapper.clone(), wrapper];
    let mut cluster =
        Cluster::start(Plan { clocks: vec![86_400, 31_536_000], wrappers, probe: ProbePolicy::Off, ..Plan::default() })
            .await?;
    let work = Work::begin(&cluster, 2).await?;
    for jump in ["+90d", "-400d", "+1h"] {
        std::fs::write(&clock, format!("{jump}\n"))?;
        let outcome = strike(&mut cluster, &work.ledger, Fault::Freeze, false).await?;
        println!("  wall clocks jump to {jump}, a member sleeps: not served for {:.2?} s", outcome.outage);
    }
    // Tickets from one member to another are dated. An hour apart members refuse them, and verify logins anew.
    work.end().await.judge(&cluster, PATIENCE).await.map_err(|error| error.context(cluster.logs())).map(drop)
}

/// The one thing that nobody can survive, and thus shows that the ledger finds what is lost.
#[tokio::test]
async fn a_disk_that_lies_about_fsync_loses_mail_with_its_power_and_the_ledger_finds_it() -> Result<()> {
    if !faultfs::is_possible()? {
        return Ok(());
    }
    let mut cluster =
        Cluster::start(Plan { storage: Storage::STRICT, members: 2, accounts: 2, ..Plan::default() }).await?;
    for index in 0..2 {
        cluster.member(index)?.fail(&Faults { sync_lies: true, ..Faults::none() })?;
    }
    let work = Work::begin(&cluster, 2).await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while work.ledger.count().messages < 200 {
        ensure!(Instant::now() < deadline, "only {:?} acknowledged", work.ledger.count());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for index in 0..2 {
        cluster.power_off(index)?;
    }
    let ledger = work.end().await;
    heal(&mut cluster, 0).await?;
    let judged = ledger.judge(&cluster, Duration::from_secs(3)).await;
    let Err(error) = judged else { panic!("nothing is missing: the storage does not lose what it says it does") };
    println!("  {:.120}", error.to_string().replace('\n', " "));
    Ok(())
}
