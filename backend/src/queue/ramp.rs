//! How fast a backlog is begun: what waited in the shards of a dead member, or through an outage, does not go out at once.
//!
//! All shards that a member runs share one ramp: 50 attempts in about the first second, 50 more in each further one. New
//! mail is not held up by it, nor what was tried here before: that comes back spread out by its own intervals.

use std::time::{Duration, Instant};

/// Attempts in the first second; also how many more there are each further second.
const PER_SECOND: u128 = 50;
/// A ramp of which nobody has wanted anything for so long is over; the next backlog begins at its foot.
const OVER_AFTER: Duration = Duration::from_secs(10);

/// The ramp of one member.
#[derive(Debug, Default)]
pub struct Ramp(Option<Run>);

#[derive(Debug)]
struct Run {
    began: Instant,
    /// When somebody wanted to begin something last.
    wanted: Instant,
    begun: u128,
}

impl Ramp {
    /// Says whether one more of a backlog may be begun at `now`; who may not asks again.
    pub fn may_begin(&mut self, now: Instant) -> bool {
        let run = self.0.take().filter(|run| now.saturating_duration_since(run.wanted) < OVER_AFTER);
        let run = self.0.insert(run.unwrap_or(Run { began: now, wanted: now, begun: 0 }));
        run.wanted = now;
        let may = run.begun < allowed(now.saturating_duration_since(run.began));
        run.begun += u128::from(may);
        may
    }
}

/// How many may have been begun after so long: one at once, and the sum of a rate that rises evenly.
fn allowed(elapsed: Duration) -> u128 {
    let ms = elapsed.as_millis();
    1 + PER_SECOND * (2000 * ms + ms * ms) / 2_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many begin in each second, if somebody asks all the time.
    fn begun_in(ramp: &mut Ramp, from: Instant, seconds: u64) -> Vec<usize> {
        let in_second = |second: u64| {
            let at = |ms: u64| from + Duration::from_millis(second * 1000 + ms);
            (0..1000).map(|ms| (0..3).filter(|_| ramp.may_begin(at(ms))).count()).sum()
        };
        (0..seconds).map(in_second).collect()
    }

    #[test]
    fn a_backlog_begins_slowly_and_then_faster() {
        let (mut ramp, from) = (Ramp::default(), Instant::now());
        assert_eq!(begun_in(&mut ramp, from, 4), [75, 125, 175, 225]);
    }

    #[test]
    fn the_next_backlog_begins_at_the_foot_again_and_a_rest_within_one_does_not() {
        let (mut ramp, from) = (Ramp::default(), Instant::now());
        begun_in(&mut ramp, from, 3);
        assert!(begun_in(&mut ramp, from + Duration::from_secs(5), 1)[0] > 500);
        assert_eq!(begun_in(&mut ramp, from + Duration::from_secs(16), 1), [75]);
    }
}
