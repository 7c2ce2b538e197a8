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
