//! Moments as the model keeps them. The time is always passed in; nothing here reads a clock.

use serde::{Deserialize, Serialize};

/// Seconds since the beginning of 1970, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

/// When a message was received, as RFC 9051 §2.3.3 keeps it: a moment together with the zone it was told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InternalDate {
    /// The moment.
    pub at: Timestamp,
    /// Minutes east of UTC of the zone it is shown in.
    pub offset_minutes: i16,
}

impl InternalDate {
    /// The moment told in UTC.
    pub fn utc(at: Timestamp) -> Self {
        Self { at, offset_minutes: 0 }
    }

    /// The calendar day of the moment in its own zone, counted from 1970-01-01. SEARCH disregards time and zone
    /// (RFC 9051 §6.4.4, BEFORE, ON, SINCE).
    pub fn day(self) -> i64 {
        (self.at.0 + i64::from(self.offset_minutes) * 60).div_euclid(86_400)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_that_of_the_messages_own_zone() {
        let late = Timestamp(86_400 - 1);
        assert_eq!(InternalDate::utc(late).day(), 0);
        assert_eq!(InternalDate { at: late, offset_minutes: 60 }.day(), 1);
        assert_eq!(InternalDate { at: Timestamp(0), offset_minutes: -1 }.day(), -1);
    }
}
