//! How much processor time was used.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time that this process has used so far, in all its threads.
#[must_use]
pub fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}
