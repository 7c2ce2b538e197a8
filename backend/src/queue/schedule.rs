//! When a delivery is tried again.
//!
//! A hop inside the installation fails for as long as a takeover or a restart takes: three quick tries come first. After
//! that the intervals grow. They vary by a fifth, so that what failed together does not come back together.

use std::time::Duration;

/// How long a message is tried.
pub const LIFETIME: Duration = Duration::from_secs(5 * 24 * 3600);
/// The quick tries.
const QUICK: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];
/// The first of the growing intervals.
const FIRST: Duration = Duration::from_secs(300);
/// The longest.
const LONGEST: Duration = Duration::from_secs(4000);

/// The interval after so many failed attempts; `random` decides the variation.
#[must_use]
pub fn delay(failed_attempts: u32, random: u64) -> Duration {
    let base = base(failed_attempts.max(1) - 1);
    // Four to six fifths of it.
    base * 4 / 5 + base * 2 / 5 * u32::try_from(random % 1000).unwrap_or(0) / 1000
}

fn base(attempt: u32) -> Duration {
    if let Some(quick) = QUICK.get(attempt as usize) {
        return *quick;
    }
    let mut interval = FIRST;
    for _ in QUICK.len() as u32..attempt {
        interval = (interval * 3 / 2).min(LONGEST);
        if interval == LONGEST {
            break;
        }
    }
    interval
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_tries_come_first_then_growing_intervals() {
        let seconds: Vec<u64> = (0..12).map(|attempt| base(attempt).as_secs()).collect();
        assert_eq!(seconds, [1, 5, 30, 300, 450, 675, 1012, 1518, 2278, 3417, 4000, 4000]);
        assert_eq!(base(u32::MAX), LONGEST);
    }

    #[test]
    fn intervals_vary_by_a_fifth() {
        for random in 0..2000 {
            let delay = delay(4, random);
            assert!((240..=360).contains(&delay.as_secs()), "{delay:?}");
        }
        assert_ne!(delay(4, 0), delay(4, 999));
    }

    #[test]
    fn a_message_is_tried_about_a_hundred_times_before_it_is_given_up() {
        let total: Duration = (1..=115).map(|attempt| delay(attempt, 500)).sum();
        assert!(total > LIFETIME * 95 / 100 && total < LIFETIME * 105 / 100, "{total:?}");
    }
}
