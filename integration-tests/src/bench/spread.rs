//! Many measured times, as a few numbers.

use std::time::Duration;

use serde::Serialize;

/// How a set of times is spread, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
}

impl Spread {
    /// Of these times; zero if there are none.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        Self { p50_us: at(50), p99_us: at(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_tail_of_a_hundred_times() {
        let times = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(Spread::of(times), Spread { p50_us: 51.0, p99_us: 100.0 });
        assert_eq!(Spread::of(Vec::new()), Spread { p50_us: 0.0, p99_us: 0.0 });
    }
}
