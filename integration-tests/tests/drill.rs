//! `laniakea drill`: every fault is done and told, and nothing that was acknowledged is lost or there twice.
//!
//! Nothing here judges how long an outage was: that is what the command is for.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use integration_tests::up::program;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What is done if nobody names a fault.
const USUAL: [&str; 6] =
    ["kill-member", "freeze-member", "cut-member", "kill-controller", "freeze-controller", "cut-controller"];

/// What an installation goes through without a cluster noticing anything amiss.
const NAMED: [&str; 3] = ["kill-router", "drain-member", "restart-member"];

/// A drill whose temporary folders are in `folder`, and which does not outlive this test.
fn drill(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program()?);
    command.arg("drill").args(arguments).env("TMPDIR", folder).env("LANIAKEA_PARENT", std::process::id().to_string());
    Ok(command)
}

#[test]
fn every_fault_is_survived_and_told() -> Result<()> {
    survive(&["--seed", "1"], &USUAL)
}

#[test]
fn a_router_that_dies_and_a_member_that_is_drained_or_restarted_are_told() -> Result<()> {
    let named: Vec<&str> = NAMED.iter().flat_map(|fault| ["--fault", fault]).collect();
    survive(&[&["--seed", "1", "--members", "2", "--accounts", "4"], &named[..]].concat(), &NAMED)
}

/// Each of these is done once and told, and nothing is lost, doubled or left behind.
fn survive(arguments: &[&str], faults: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let arguments = [&["--runs", "1", "--json"], arguments].concat();
    let output = drill(folder.path(), &arguments)?.output().context("run the drill")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}:\n{told}", output.status);

    let figures: Vec<Value> = serde_json::from_slice(&output.stdout).context("read the figures")?;
    let done: Vec<&str> = figures.iter().filter_map(|figure| figure.get("fault")?.as_str()).collect();
    assert_eq!(done, faults);
    for figure in &figures {
        let number = |key: &str| figure.get(key).and_then(Value::as_u64).with_context(|| format!("{key} of {figure}"));
        assert_eq!(number("runs")?, 1, "{figure}");
        let (median, p99, worst) = (number("median_ms")?, number("p99_ms")?, number("worst_ms")?);
        assert!(0 < worst && median <= p99 && p99 <= worst, "{figure}");
    }
    assert_eq!(told.matches(" 1/1: ").count(), faults.len(), "one line for each run:\n{told}");
    let deliveries = told.lines().find(|line| line.contains("deliveries acknowledged")).context("no deliveries")?;
    assert!(deliveries.ends_with(", 0 lost, 0 doubled") && !deliveries.starts_with("0 "), "{deliveries}");
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0, "something was left behind");
    Ok(())
}

#[test]
fn an_interrupted_drill_leaves_nothing_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut drill = drill(folder.path(), &["--runs", "9"])?.spawn()?;
    let own = drill.id();
    let processes = || -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if pid != own && String::from_utf8_lossy(&line).contains(&*folder.path().to_string_lossy()) {
                found.push(pid);
            }
        }
        Ok(found)
    };
    let begin = std::time::Instant::now();
    while processes()?.len() < 5 {
        ensure!(begin.elapsed() < Duration::from_secs(60), "directory, three members and a router never ran");
        std::thread::sleep(Duration::from_millis(100));
    }
    let pid = Pid::from_raw(own.cast_signed()).context("a pid")?;
    kill_process(pid, Signal::INT)?;
    assert_eq!(drill.wait()?.code(), Some(75));
    assert_eq!(processes()?, Vec::<u32>::new(), "its processes live on");
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0, "something was left behind");
    Ok(())
}
