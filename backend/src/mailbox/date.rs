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
        self.at.0.saturating_add(i64::from(self.offset_minutes) * 60).div_euclid(86_400)
    }
}

/// The day of the calendar, counted from 1970-01-01; `None` if there is no such day.
pub fn day_number(year: i16, month: i8, day: i8) -> Option<i64> {
    let date = jiff::civil::Date::new(year, month, day).ok()?;
    let since = jiff::civil::date(1970, 1, 1).until(date).ok()?;
    Some(i64::from(since.get_days()))
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

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day_number(1970, 1, 1), Some(0));
        assert_eq!(day_number(2026, 2, 28).map(|day| day * 86_400), Some(1_772_236_800));
        assert_eq!(day_number(1969, 12, 31), Some(-1));
        assert_eq!(day_number(2026, 2, 29), None);
    }
}
