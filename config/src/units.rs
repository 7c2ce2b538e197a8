//! Durations and sizes as people write them: `200ms`, `5s`, `10min`, `1h`, `50 MiB`.
//!
//! What is printed is read back as the same value; units are always written out, so that `60` is never taken for
//! minutes by one reader and for seconds by another.

use std::time::Duration;

/// What a duration may look like, for messages.
pub const DURATION_FORM: &str = "a duration with its unit, such as `200ms`, `5s`, `10min`, `1h` or `2d`";

/// What a size may look like, for messages.
pub const SIZE_FORM: &str = "a size with its unit, such as `512 KiB`, `50 MiB`, `1 GiB` or `100 MB`";

/// Reads `200ms`, `1.5s`, `10 min`, `1h`, `2d`. `None` when it is anything else.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let nanoseconds = match unit {
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" | "sec" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    scale(number, nanoseconds).map(Duration::from_nanos)
}

/// Prints a duration in the largest unit that needs no fraction.
#[must_use]
pub fn print_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let units: [(u128, &str); 5] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "min"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
    ];
    for (size, name) in units {
        if nanoseconds >= size && nanoseconds.is_multiple_of(size) {
            return format!("{}{name}", nanoseconds / size);
        }
    }
    if nanoseconds == 0 { "0s".into() } else { format!("{}us", nanoseconds / 1_000) }
}

/// Reads `50 MiB`, `512KiB`, `100 MB`, `4096 B`. `None` when it is anything else.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let bytes = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    scale(number, bytes)
}

/// Prints a size in the largest binary unit that needs no fraction.
#[must_use]
pub fn print_size(bytes: u64) -> String {
    for (shift, name) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >> shift > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{} {name}", bytes >> shift);
        }
    }
    format!("{bytes} B")
}

fn split_unit(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    (!number.is_empty()).then(|| (number, unit.trim()))
}

/// `number × unit`, exact: digits after the point are scaled as integers.
fn scale(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let mut value = whole.checked_mul(unit)?;
    if !fraction.is_empty() {
        if fraction.len() > 9 {
            return None;
        }
        let scaled =
            fraction.parse::<u128>().ok()? * u128::from(unit) / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        value = value.checked_add(u64::try_from(scaled).ok()?)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, milliseconds) in
            [("200ms", 200), ("5s", 5_000), ("10min", 600_000), ("1.2s", 1_200), ("1 h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn a_number_without_a_unit_is_not_a_duration() {
        for text in ["60", "", "s", "5 parsecs", "-1s", "1.2.3s", "99999999999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_unit() {
        for (text, bytes) in
            [("50 MiB", 52_428_800), ("512KiB", 524_288), ("100 MB", 100_000_000), ("1.5 KiB", 1_536), ("7 B", 7)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["50", "MiB", "1 MiX", "99999999999 TiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for milliseconds in [0, 1, 200, 1_200, 5_000, 60_000, 90_000, 3_600_000, 86_400_000] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(&print_duration(duration)), Some(duration));
        }
        for bytes in [0, 1, 1_023, 1_024, 52_428_800, 1 << 30, u64::MAX] {
            assert_eq!(parse_size(&print_size(bytes)), Some(bytes));
        }
    }
}
