//! Dates as clients write them (RFC 3501 §9, `date` and `date-time`).

use crate::wire::imap::cursor::{Bad, Cursor, Parsed};

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CivilDate {
    /// The year, 0 to 9999.
    pub year: i16,
    /// The month, 1 to 12.
    pub month: u8,
    /// The day of the month.
    pub day: u8,
}

/// A moment with the zone it was told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub unix_seconds: i64,
    /// Minutes east of UTC.
    pub offset_minutes: i16,
}

/// The names of the months, in RFC 3501's spelling.
pub const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl CivilDate {
    /// Takes `date`: `1-Feb-1994`, perhaps quoted.
    pub fn parse(cursor: &mut Cursor<'_>) -> Parsed<CivilDate> {
        let text = cursor.astring()?;
        std::str::from_utf8(&text).ok().and_then(CivilDate::from_text).ok_or(Bad("not a date"))
    }

    fn from_text(text: &str) -> Option<CivilDate> {
        let mut fields = text.split('-');
        let (day, month, year) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() || year.len() != 4 || day.is_empty() || day.len() > 2 {
            return None;
        }
        let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))?;
        let date = CivilDate {
            year: i16::try_from(digits(year)?).ok()?,
            month: u8::try_from(month + 1).ok()?,
            day: u8::try_from(digits(day)?).ok()?,
        };
        (1..=days_in_month(date.year, date.month)).contains(&date.day).then_some(date)
    }

    /// Days since 1970-01-01 of the proleptic Gregorian calendar.
    pub fn unix_days(self) -> i64 {
        // The year is taken to begin in March, so that the leap day is its last.
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let month = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        365 * year + leap_days + day_of_year - 719_468
    }

    /// The day `days` after 1970-01-01.
    pub fn from_unix_days(days: i64) -> CivilDate {
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        CivilDate { year: i16::try_from(year).unwrap_or(i16::MAX), month: month as u8, day: day as u8 }
    }
}

impl DateTime {
    /// Takes `date-time`: `" 1-Feb-1994 21:52:25 -0800"`.
    pub fn parse(cursor: &mut Cursor<'_>) -> Parsed<DateTime> {
        let text = cursor.string()?;
        std::str::from_utf8(&text).ok().and_then(DateTime::from_text).ok_or(Bad("not a date-time"))
    }

    fn from_text(text: &str) -> Option<DateTime> {
        // `date-day-fixed` is padded with a space.
        let mut words = text.trim_start_matches(' ').split(' ');
        let (date, time, zone) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        let date = CivilDate::from_text(date)?;
        let seconds = seconds_of_day(time)?;
        let offset_minutes = zone_minutes(zone)?;
        let unix_seconds = date.unix_days() * 86_400 + seconds - i64::from(offset_minutes) * 60;
        Some(DateTime { unix_seconds, offset_minutes })
    }
}

/// `hh:mm:ss`; a leap second counts as the second before it.
fn seconds_of_day(time: &str) -> Option<i64> {
    let mut fields = time.split(':').map(|field| match field.len() {
        2 => digits(field),
        _ => None,
    });
    let (hour, minute, second) = (fields.next()??, fields.next()??, fields.next()??);
    let fits = fields.next().is_none() && hour < 24 && minute < 60 && second <= 60;
    fits.then(|| i64::from(hour * 3600 + minute * 60 + second.min(59)))
}

/// `+hhmm` or `-hhmm`.
fn zone_minutes(zone: &str) -> Option<i16> {
    let (sign, rest) = zone.split_at_checked(1)?;
    let (hours, minutes) = rest.split_at_checked(2).filter(|_| rest.len() == 4)?;
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = i16::try_from(hours * 60 + minutes).ok()?;
    match sign {
        "+" => Some(offset),
        "-" => Some(-offset),
        _ => None,
    }
}

/// A number of at most four digits and nothing else.
fn digits(text: &str) -> Option<u32> {
    let all = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok())?
}

fn days_in_month(year: i16, month: u8) -> u8 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfc_example_is_understood() {
        let date = DateTime::from_text(" 7-Feb-1994 21:52:25 -0800").unwrap();
        assert_eq!(date.unix_seconds, 760_686_745);
        assert_eq!(date.offset_minutes, -480);
    }

    #[test]
    fn days_and_dates_agree_both_ways() {
        for days in (-719_000..2_900_000).step_by(37) {
            assert_eq!(CivilDate::from_unix_days(days).unix_days(), days);
        }
        let leap_day = CivilDate::from_text("29-feb-2000").unwrap();
        assert_eq!(leap_day.unix_days(), 11_016);
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in ["29-Feb-1900", "31-Apr-2020", "0-Jan-2020", "1-Foo-2020", "1-Jan-20", "1-Jan", "é"] {
            assert_eq!(CivilDate::from_text(text), None, "{text}");
        }
        for text in [
            "1-Jan-2020",
            "1-Jan-2020 24:00:00 +0000",
            "1-Jan-2020 1:00:00 +0000",
            "1-Jan-2020 01:00:00 0000",
            "1-Jan-2020 01:00:00 +00é",
        ] {
            assert_eq!(DateTime::from_text(text), None, "{text}");
        }
    }
}
