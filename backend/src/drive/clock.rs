//! The only reader of the time in this crate's drivers.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::mailbox::Timestamp;

/// The monotonic clock, for deadlines.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970-01-01 UTC, for tickets.
#[must_use]
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The wall clock as the mailbox model wants it: seconds since 1970-01-01 UTC.
#[must_use]
pub fn timestamp() -> Timestamp {
    Timestamp(i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX))
}
