//! How much processor time was used.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Processor time that this process has used so far, in all its threads.
#[must_use]
pub fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

/// Processor time of another process, by what its threads are called.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessCpu {
    /// All of it, threads that have ended included; exact to a hundredth of a second.
    pub whole: Duration,
    /// Its desk: ownership, and what members tell one another.
    pub desk: Duration,
    /// Its tick: the proof of every commit.
    pub tick: Duration,
}

impl ProcessCpu {
    /// What process `pid` has used so far.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: i32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read the process's times")?;
        // The name, in parentheses, may hold anything; the times are fields 14 and 15 (proc(5)).
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        let mut cpu = Self { whole: Duration::from_millis(ticks * 10), ..Self::default() };
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            // A thread may end while we look at it.
            let (Ok(name), Ok(times)) =
                (fs::read_to_string(task.join("comm")), fs::read_to_string(task.join("schedstat")))
            else {
                continue;
            };
            let used = Duration::from_nanos(times.split_whitespace().next().unwrap_or_default().parse()?);
            match name.trim_end() {
                "cluster-desk" => cpu.desk += used,
                "cluster-tick" => cpu.tick += used,
                _ => {}
            }
        }
        Ok(cpu)
    }

    /// What all of these have used so far.
    ///
    /// # Errors
    /// If one of them is not there.
    pub fn of_all(pids: &[i32]) -> Result<Self> {
        pids.iter().try_fold(Self::default(), |sum, pid| {
            let one = Self::of(*pid)?;
            Ok(Self { whole: sum.whole + one.whole, desk: sum.desk + one.desk, tick: sum.tick + one.tick })
        })
    }

    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            whole: self.whole.saturating_sub(before.whole),
            desk: self.desk.saturating_sub(before.desk),
            tick: self.tick.saturating_sub(before.tick),
        }
    }
}
