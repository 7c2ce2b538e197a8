//! How slowly content may come (slowloris): no piece may take longer than RFC 5321 §4.5.3.2.5 allows, and all of it
//! together must come at some rate. Only time spent waiting for the client counts.

use std::time::{Duration, Instant};

/// How long the next piece may take (RFC 5321 §4.5.3.2.5).
const PIECE_WAIT: Duration = Duration::from_secs(180);
/// What everybody may wait in sum.
const GRACE: Duration = Duration::from_secs(60);
/// What has to come per second beyond that, in bytes.
const RATE: u64 = 500;

/// The pace of one message.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    waited: Duration,
    received: u64,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, waited: Duration::ZERO, received: 0 }
    }

    /// From now on it is the client that is waited for.
    pub(crate) fn wait_from(&mut self, now: Instant) {
        self.since = now;
    }

    pub(crate) fn on_bytes(&mut self, now: Instant, bytes: usize) {
        self.waited += now.saturating_duration_since(self.since);
        self.received += bytes as u64;
        self.since = now;
    }

    pub(crate) fn deadline(&self) -> Instant {
        let allowed = GRACE + Duration::from_secs(self.received / RATE);
        self.since + PIECE_WAIT.min(allowed.saturating_sub(self.waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dribble_ends_after_the_grace_and_a_slow_line_does_not() {
        let start = Instant::now();
        let (mut dribble, mut slow) = (Pace::new(start), Pace::new(start));
        let mut now = start;
        for _ in 0..6 {
            now += Duration::from_secs(10);
            dribble.on_bytes(now, 1);
            slow.on_bytes(now, 6000);
        }
        assert!(dribble.deadline() <= now);
        assert!(slow.deadline() >= now + Duration::from_secs(60));
    }

    #[test]
    fn what_we_kept_the_client_waiting_for_is_not_its_fault() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.on_bytes(start, 1);
        pace.wait_from(start + Duration::from_secs(600));
        assert_eq!(pace.deadline(), start + Duration::from_secs(660));
    }
}
