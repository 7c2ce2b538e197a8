//! Which members are worth a try, learnt from connections that failed.
//!
//! Only failures to connect count, and silence where a greeting belongs: what happens later on a connection may be one
//! client's fault, and one client must not make a member look dead for all. A member that failed is *doubted*: clients are
//! sent to others until a probe of our own has found it alive, so that a frozen member costs one client a wait, not many.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::Duration,
};

const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// A member that is back takes part within this time; one probe a second costs nothing.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Probes of one member before it is forgotten: after about ten minutes the directory knows better.
const PROBES_MAX: u32 = 600;
/// Members doubted at a time; more than any supercluster loses at once.
const DOUBTED_MAX: usize = 4096;

/// What is known of members that failed. A member that is not listed is fine.
#[derive(Debug, Default)]
pub struct Health {
    doubted: BTreeSet<SocketAddr>,
    /// Probes sent so far, for each member that is being probed.
    probes: HashMap<SocketAddr, u32>,
}

impl Health {
    /// Notes that the member could not be reached; whether somebody must begin to probe it.
    pub fn on_failure(&mut self, member: SocketAddr) -> bool {
        if self.doubted.len() >= DOUBTED_MAX {
            return false;
        }
        self.doubted.insert(member);
        let is_probed = self.probes.contains_key(&member);
        self.probes.entry(member).or_insert(0);
        !is_probed
    }

    /// Notes that the member answered.
    pub fn on_success(&mut self, member: SocketAddr) {
        self.doubted.remove(&member);
    }

    /// Returns how long to wait before the next probe; `None` if no more is needed.
    pub fn next_probe(&mut self, member: SocketAddr) -> Option<Duration> {
        let sent = self.probes.get_mut(&member)?;
        if *sent >= PROBES_MAX {
            self.doubted.remove(&member);
        }
        if !self.doubted.contains(&member) {
            self.probes.remove(&member);
            return None;
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << (*sent).min(10)).min(PAUSE_MAX);
        *sent += 1;
        Some(pause)
    }

    /// Whether clients should be sent to the member.
    #[must_use]
    pub fn is_up(&self, member: SocketAddr) -> bool {
        !self.doubted.contains(&member)
    }

    /// Lists the members that clients should not be sent to.
    #[must_use]
    pub fn doubted(&self) -> Vec<SocketAddr> {
        self.doubted.iter().copied().collect()
    }

    /// Whether no member is known to fail.
    #[must_use]
    pub fn is_all_well(&self) -> bool {
        self.doubted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), 7143);

    #[test]
    fn a_member_is_doubted_until_it_answers() {
        let mut health = Health::default();
        assert!(health.is_up(MEMBER) && health.is_all_well());
        health.on_failure(MEMBER);
        assert!(!health.is_up(MEMBER));
        assert_eq!(health.doubted(), [MEMBER]);
        health.on_success(MEMBER);
        assert!(health.is_up(MEMBER) && health.is_all_well());
    }

    #[test]
    fn a_thousand_failures_at_once_begin_one_series_of_probes() {
        let mut health = Health::default();
        let begun = (0..1000).filter(|_| health.on_failure(MEMBER)).count();
        assert_eq!(begun, 1);
        // It fails again before the prober has noticed that it had answered.
        health.on_success(MEMBER);
        assert!(!health.on_failure(MEMBER));
        assert!(health.next_probe(MEMBER).is_some());
    }

    #[test]
    fn probes_come_less_and_less_often_and_end_with_an_answer() {
        let mut health = Health::default();
        health.on_failure(MEMBER);
        let pauses = [(); 6].map(|()| health.next_probe(MEMBER).unwrap().as_millis());
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        health.on_success(MEMBER);
        assert_eq!(health.next_probe(MEMBER), None);
        assert!(health.on_failure(MEMBER));
    }

    #[test]
    fn a_member_that_never_comes_back_is_forgotten() {
        let mut health = Health::default();
        health.on_failure(MEMBER);
        while health.next_probe(MEMBER).is_some() {}
        assert!(health.is_all_well() && health.probes.is_empty());
    }
}
