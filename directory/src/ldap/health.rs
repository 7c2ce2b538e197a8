//! Whether a server is worth trying. Pure: the time is passed in, chance too.

use std::time::{Duration, Instant};

/// The first pause after a failure; it doubles with each one that follows.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Unanswered operations in a row that count as a failure of the server: one alone may be a slow search.
const SILENCES_MAX: u32 = 2;

/// What is known of one server.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
    silences: u32,
    pause_until: Option<Instant>,
}

impl Health {
    /// Whether the server may be tried now.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        self.pause_until.is_none_or(|until| now >= until)
    }

    /// It answered.
    pub(super) fn on_answer(&mut self) {
        *self = Self::default();
    }

    /// An operation was not answered in time.
    pub(super) fn on_silence(&mut self, now: Instant, chance: f64) {
        self.silences += 1;
        if self.silences >= SILENCES_MAX {
            self.on_failure(now, chance);
        }
    }

    /// It cannot be reached, or refuses us. `chance` between 0 and 1 keeps many clients from coming back at once.
    pub(super) fn on_failure(&mut self, now: Instant, chance: f64) {
        let pause = PAUSE_FIRST.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.pause_until = Some(now + pause.mul_f64(0.75 + chance.clamp(0.0, 1.0) / 2.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_with_an_answer() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert!(health.may_try(now));
        health.on_failure(now, 0.5);
        assert!(!health.may_try(now + Duration::from_millis(249)));
        assert!(health.may_try(now + Duration::from_millis(250)));
        for _ in 0..20 {
            health.on_failure(now, 1.0);
        }
        assert!(!health.may_try(now + PAUSE_MAX));
        assert!(health.may_try(now + PAUSE_MAX.mul_f64(1.25)));
        health.on_answer();
        assert!(health.may_try(now));
    }

    #[test]
    fn one_silence_is_forgiven() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.on_silence(now, 0.5);
        assert!(health.may_try(now));
        health.on_silence(now, 0.5);
        assert!(!health.may_try(now));
    }
}
