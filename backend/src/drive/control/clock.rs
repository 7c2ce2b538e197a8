//! The one reader of the time for the cluster's machines.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::cluster::Moment;

/// Now, on a clock that never goes back and goes on while the machine sleeps.
#[must_use]
pub(crate) fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Moment::new(Duration::new(seconds, nanoseconds))
}
