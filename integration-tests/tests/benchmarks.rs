//! The benchmarks run and measure something. What they measure is for BENCHMARKS.md; nothing here looks at a time.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

fn bench(arguments: &[&str]) -> Result<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).arg("--json").output()?;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "bench {arguments:?}: {}\n{said}{complained}", output.status);
    serde_json::from_str(&said).with_context(|| format!("bench {arguments:?} printed {said}"))
}

fn is_positive(report: &Value, pointer: &str) -> Result<()> {
    let value = report.pointer(pointer).and_then(Value::as_f64);
    ensure!(value.is_some_and(|value| value > 0.0), "{pointer} is {value:?} in {report}");
    Ok(())
}

#[test]
fn claims_are_granted_and_timed() -> Result<()> {
    let few = ["claims", "--members", "2", "--owned", "256", "--at-once", "8", "--seconds", "0.2", "--singles", "100"];
    let report = bench(&few)?;
    for pointer in ["/link/ratio", "/member/ratio", "/loads/0/per_second", "/loads/0/per_controller_core"] {
        is_positive(&report, pointer)?;
    }
    Ok(())
}

#[test]
fn a_cluster_and_as_many_members_alone_are_compared() -> Result<()> {
    let report = bench(&["growth", "--members", "2", "--accounts", "2", "--rate", "20", "--seconds", "1"])?;
    for pointer in ["/0/per_second", "/0/cpu_us", "/0/alone_us", "/0/ratio", "/0/desks_share"] {
        is_positive(&report, pointer)?;
    }
    Ok(())
}

#[test]
fn mail_is_kept_by_owners_and_under_every_kind_of_lock() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let storage = folder.path().to_str().context("the folder's name")?;
    for contend in [&[][..], &["--contend"]] {
        let few =
            ["locks", "--storage", storage, "--processes", "2", "--accounts", "4", "--seconds", "0.2", "--rounds", "1"];
        let report = bench(&[&few[..], contend].concat())?;
        let schemes = report.as_array().context("a list")?;
        ensure!(schemes.len() == if contend.is_empty() { 7 } else { 6 }, "{report}");
        for index in 0..schemes.len() {
            is_positive(&report, &format!("/{index}/per_second"))?;
            is_positive(&report, &format!("/{index}/owner_is_faster"))?;
        }
    }
    ensure!(std::fs::read_dir(folder.path())?.next().is_none(), "something is left behind");
    Ok(())
}
