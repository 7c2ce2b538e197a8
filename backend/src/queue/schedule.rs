//! When a delivery is tried again, and when it is given up.
//!
//! A hop inside the installation fails for as long as a takeover or a restart takes: three quick tries come first. After
//! that the intervals grow. They vary by a fifth, so that what failed together does not come back together.
//!
//! **The wall clock alone decides nothing.** It is all that members have in common, and it may be wrong or set anew. So a
//! message is given up for its age only after as many attempts as take days, each at least one interval after the one
//! before: a clock that leaps ahead makes everything due once, and no more. A clock that was set back leaves times to try
//! again that lie further ahead than any interval reaches: these are due.

use std::time::Duration;

/// How long a message is tried.
pub const LIFETIME: Duration = Duration::from_secs(5 * 24 * 3600);
/// Attempts before a message can be given up for its age: they take three days at least. In its five days it sees 115.
const ATTEMPTS_MIN: u32 = 80;
/// Attempts after which it is given up whatever the clock says: they take six days at least.
const ATTEMPTS_MAX: u32 = 160;
/// The quick tries.
const QUICK: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];
/// The first of the growing intervals.
const FIRST: Duration = Duration::from_secs(300);
/// The longest.
const LONGEST: Duration = Duration::from_secs(4000);
/// No interval reaches further, whatever the variation.
pub(super) const DELAY_MS_MAX: u64 = 4000 * 1000 * 6 / 5;

/// The interval after so many failed attempts, no shorter than `at_least` before the variation that `random` decides.
#[must_use]
pub(super) fn delay(failed_attempts: u32, at_least: Duration, random: u64) -> Duration {
    let base = base(failed_attempts.max(1) - 1).max(at_least).min(LONGEST);
    // Four to six fifths of it.
    base * 4 / 5 + base * 2 / 5 * u32::try_from(random % 1000).unwrap_or(0) / 1000
}

/// Says whether a recipient that was tried so often in vain is given up for its age.
#[must_use]
pub(super) fn is_over(failed_attempts: u32, now_ms: u64, expires_ms: u64) -> bool {
    failed_attempts >= ATTEMPTS_MAX || (now_ms >= expires_ms && failed_attempts >= ATTEMPTS_MIN)
}

/// Says whether it is time for what is to be tried at `next_ms`.
#[must_use]
pub(super) fn is_due(next_ms: u64, now_ms: u64) -> bool {
    next_ms <= now_ms || next_ms - now_ms > DELAY_MS_MAX
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
            let delay = delay(4, Duration::ZERO, random);
            assert!((240..=360).contains(&delay.as_secs()), "{delay:?}");
        }
        assert_ne!(delay(4, Duration::ZERO, 0), delay(4, Duration::ZERO, 999));
        let hour = Duration::from_secs(3600);
        assert_ne!(delay(1, hour, 0), delay(1, hour, 999));
    }

    #[test]
    fn a_message_is_tried_about_a_hundred_times_before_it_is_given_up() {
        let total: Duration = (1..=115).map(|attempt| delay(attempt, Duration::ZERO, 500)).sum();
        assert!(total > LIFETIME * 95 / 100 && total < LIFETIME * 105 / 100, "{total:?}");
    }

    #[test]
    fn attempts_take_days_however_their_intervals_vary() {
        let shortest = |attempts| (1..attempts).map(|attempt| delay(attempt, Duration::ZERO, 0)).sum::<Duration>();
        let day = Duration::from_secs(24 * 3600);
        assert!(shortest(ATTEMPTS_MIN) > day * 5 / 2 && shortest(ATTEMPTS_MAX) > LIFETIME);
        let longest = delay(u32::MAX, LONGEST, 999);
        assert!(longest.as_millis() <= u128::from(DELAY_MS_MAX));
    }
}
