//! Time as the machines see it: passed in, never read.

use std::{ops::Add, time::Duration};

use serde::{Deserialize, Serialize};

/// A point on one member's own clock, which never goes back and counts sleep. Moments of two members are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Moment {
    microseconds: u64,
}

impl Moment {
    /// The point `since` after the clock's beginning.
    #[must_use]
    pub fn new(since: Duration) -> Self {
        Self { microseconds: u64::try_from(since.as_micros()).unwrap_or(u64::MAX) }
    }

    /// How long after `earlier` this is; nothing if it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.microseconds.saturating_sub(earlier.microseconds))
    }

    /// Microseconds since the clock's beginning.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.microseconds
    }

    /// What [`Moment::as_micros`] gave.
    #[must_use]
    pub const fn from_micros(microseconds: u64) -> Self {
        Self { microseconds }
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self { microseconds: self.microseconds.saturating_add(span) }
    }
}
