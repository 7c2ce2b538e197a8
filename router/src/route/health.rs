//! Which members are worth a try, learnt from connections that failed.
//!
//! Only failures to connect count, and silence where a greeting belongs: what happens later on a connection may be one
//! client's fault, and one client must not make a member look dead for all.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// Addresses remembered; more members than any cluster has.
const ADDRESSES_MAX: usize = 4096;

/// What is known of members that failed. A member that is not listed is fine.
#[derive(Debug, Default)]
pub struct Health {
    failing: HashMap<SocketAddr, Breaker>,
}

/// One member that failed.
#[derive(Debug)]
struct Breaker {
    failures: u32,
    /// Until when the member is not tried if another one can be.
    until: Instant,
}

impl Health {
    /// Notes that the member could not be reached.
    pub fn on_failure(&mut self, now: Instant, member: SocketAddr) {
        if self.failing.len() >= ADDRESSES_MAX {
            self.failing.retain(|_, breaker| breaker.until > now);
        }
        let breaker = self.failing.entry(member).or_insert(Breaker { failures: 0, until: now });
        // Many connections fail in one moment when a member dies: that is one failure.
        if breaker.until <= now {
            breaker.until = now + back_off(breaker.failures);
            breaker.failures += 1;
        }
    }

    /// Notes that the member answered.
    pub fn on_success(&mut self, member: SocketAddr) {
        self.failing.remove(&member);
    }

    /// Whether the member should be tried now.
    #[must_use]
    pub fn is_up(&self, now: Instant, member: SocketAddr) -> bool {
        self.failing.get(&member).is_none_or(|breaker| breaker.until <= now)
    }

    /// Lists the members that should not be tried now.
    #[must_use]
    pub fn doubted(&self, now: Instant) -> Vec<SocketAddr> {
        let mut doubted: Vec<_> = self.failing.iter().filter(|(_, breaker)| breaker.until > now).map(|(member, _)| *member).collect();
        doubted.sort();
        doubted
    }

    /// Whether no member is known to fail.
    #[must_use]
    pub fn is_all_well(&self) -> bool {
        self.failing.is_empty()
    }
}

fn back_off(failures: u32) -> Duration {
    BACK_OFF_FIRST.saturating_mul(1 << failures.min(10)).min(BACK_OFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), 7143);

    #[test]
    fn a_failure_counts_until_the_back_off_ends_or_the_member_answers() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert!(health.is_up(now, MEMBER));
        health.on_failure(now, MEMBER);
        assert!(!health.is_up(now, MEMBER));
        assert_eq!(health.doubted(now), [MEMBER]);
        assert!(health.is_up(now + BACK_OFF_FIRST, MEMBER));
        health.on_success(MEMBER);
        assert!(health.is_up(now, MEMBER) && health.is_all_well());
    }

    #[test]
    fn a_thousand_failures_at_once_are_one() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..1000 {
            health.on_failure(now, MEMBER);
        }
        assert!(health.is_up(now + BACK_OFF_FIRST, MEMBER));
    }

    #[test]
    fn the_back_off_grows_to_its_limit() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            health.on_failure(now, MEMBER);
            now += Duration::from_millis(expected - 1);
            assert!(!health.is_up(now, MEMBER), "{expected}");
            now += Duration::from_millis(1);
            assert!(health.is_up(now, MEMBER), "{expected}");
        }
    }
}
