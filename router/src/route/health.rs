//! Which members are worth a try, learnt from connections that failed.
//!
//! Only failures to connect count, and silence where a greeting belongs: what happens later on a connection may be one
//! client's fault, and one client must not make a member look dead for all. A member that failed is *doubted*: clients are
//! sent to others until a probe of our own has found it alive, so that a frozen member costs one client a wait, not many.
//!
//! A member that has been silent for [`LOST_AFTER`] is *lost*: its cluster goes on without it, so what it still holds can
//! be served by it no more. Silence is measured from the beginning of the oldest attempt that had no answer, and any
//! greeting since ends it: one slow answer among quick ones means nothing.
//!
//! A member that was gone, and is back, begins with nothing in memory. It is sent a growing part of its accounts, all of them
//! after [`RETURN`], so that whoever waited for it does not come all at once.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long a member may be silent. Its cluster takes a member for dead after the same time.
pub const LOST_AFTER: Duration = Duration::from_secs(2);

/// How long it takes until a member that is back is sent as many clients as before. Its cold start takes a second or two.
pub const RETURN: Duration = Duration::from_secs(5);

const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// A member that is back is to be found within a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Probes of one member before it is forgotten: after about ten minutes the directory knows better.
const PROBES_MAX: u32 = 600;
/// Members remembered at a time; more than any supercluster has, or loses at once.
const MEMBERS_MAX: usize = 4096;

/// What is known of members that failed. A member that is not listed is fine.
#[derive(Debug, Default)]
pub struct Health {
    doubted: BTreeSet<SocketAddr>,
    /// Probes sent so far, for each member that is being probed.
    probes: HashMap<SocketAddr, u32>,
    /// When each member was heard last.
    heard: HashMap<SocketAddr, Instant>,
    /// Since when members have been silent.
    silent: HashMap<SocketAddr, Instant>,
    /// Members whose process has ended, or is taken for dead by its cluster.
    gone: BTreeSet<SocketAddr>,
    /// When members that were gone came back.
    returned: HashMap<SocketAddr, Instant>,
}

/// What a member may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Everybody.
    Up,
    /// So many of 256 of its accounts: it is back since a short while.
    Returning(u8),
    /// Nobody, if there is another one.
    Doubted,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Finding {
    /// The member is doubted from now on, and was not before.
    pub is_news: bool,
    /// The member has been silent for so long that what it holds is lost.
    pub is_lost: bool,
}

impl Health {
    /// Notes that the member refused a connection.
    pub fn on_failure(&mut self, member: SocketAddr) -> Finding {
        // A refusal is a sign of the machine: who restarts may still serve the connections it has.
        self.silent.remove(&member);
        self.on_gone(member);
        Finding { is_news: self.doubt(member), is_lost: false }
    }

    /// Notes that the member has said nothing to an attempt that began at `began` and was given up at `now`.
    pub fn on_silence(&mut self, member: SocketAddr, began: Instant, now: Instant) -> Finding {
        if self.heard.get(&member).is_some_and(|heard| *heard > began) {
            return Finding::default();
        }
        if self.silent.len() >= MEMBERS_MAX {
            self.silent.clear();
        }
        let since = self.silent.entry(member).or_insert(began);
        *since = began.min(*since);
        let is_lost = now.saturating_duration_since(*since) >= LOST_AFTER;
        if is_lost {
            self.on_gone(member);
        }
        Finding { is_news: self.doubt(member), is_lost }
    }

    fn on_gone(&mut self, member: SocketAddr) {
        self.returned.remove(&member);
        if self.gone.len() < MEMBERS_MAX {
            self.gone.insert(member);
        }
    }

    fn doubt(&mut self, member: SocketAddr) -> bool {
        self.doubted.len() < MEMBERS_MAX && self.doubted.insert(member)
    }

    /// Notes that the member answered at `now`.
    pub fn on_success(&mut self, member: SocketAddr, now: Instant) {
        self.doubted.remove(&member);
        self.silent.remove(&member);
        if self.gone.remove(&member) {
            self.returned.retain(|_, since| now.saturating_duration_since(*since) < RETURN);
            self.returned.insert(member, now);
        }
        if self.heard.len() >= MEMBERS_MAX {
            self.heard.clear();
        }
        self.heard.insert(member, now);
    }

    /// Whether somebody must begin to probe the member: it is doubted, and nobody does yet.
    pub fn begin_probing(&mut self, member: SocketAddr) -> bool {
        let is_new = self.doubted.contains(&member) && !self.probes.contains_key(&member);
        if is_new {
            self.probes.insert(member, 0);
        }
        is_new
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

    /// What the member may be sent at `now`.
    #[must_use]
    pub fn standing(&self, member: SocketAddr, now: Instant) -> Standing {
        if self.doubted.contains(&member) {
            return Standing::Doubted;
        }
        let Some(since) = self.returned.get(&member) else { return Standing::Up };
        let part = now.saturating_duration_since(*since).as_millis() * 256 / RETURN.as_millis();
        u8::try_from(part).map_or(Standing::Up, Standing::Returning)
    }

    /// Whether the member was heard after `moment`.
    #[must_use]
    pub fn was_heard_since(&self, member: SocketAddr, moment: Instant) -> bool {
        self.heard.get(&member).is_some_and(|heard| *heard > moment)
    }

    /// Lists the members that clients should not be sent to.
    #[must_use]
    pub fn doubted(&self) -> Vec<SocketAddr> {
        self.doubted.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), 7143);

    const NOTHING: Finding = Finding { is_news: false, is_lost: false };
    const DOUBTED: Finding = Finding { is_news: true, is_lost: false };
    const LOST: Finding = Finding { is_news: false, is_lost: true };

    #[test]
    fn a_member_is_doubted_until_it_answers() {
        let mut health = Health::default();
        assert!(health.is_up(MEMBER));
        assert_eq!(health.on_failure(MEMBER), DOUBTED);
        assert!(!health.is_up(MEMBER));
        assert_eq!(health.doubted(), [MEMBER]);
        health.on_success(MEMBER, Instant::now());
        assert!(health.is_up(MEMBER) && health.doubted().is_empty());
    }

    #[test]
    fn a_member_that_was_gone_is_sent_more_and_more_and_one_that_was_slow_is_not_spared() {
        let (mut health, begin) = (Health::default(), Instant::now());
        health.on_failure(MEMBER);
        assert_eq!(health.standing(MEMBER, begin), Standing::Doubted);
        health.on_success(MEMBER, begin);
        let standings = [0, 1, 4].map(|quarters| health.standing(MEMBER, begin + RETURN * quarters / 4));
        assert_eq!(standings, [Standing::Returning(0), Standing::Returning(64), Standing::Up]);
        // Nobody took its place in so short a time.
        let later = begin + RETURN * 2;
        health.on_silence(MEMBER, later, later);
        health.on_success(MEMBER, later);
        assert_eq!(health.standing(MEMBER, later), Standing::Up);
        health.on_silence(MEMBER, later, later + LOST_AFTER);
        health.on_success(MEMBER, later + LOST_AFTER);
        assert_eq!(health.standing(MEMBER, later + LOST_AFTER), Standing::Returning(0));
    }

    #[test]
    fn a_thousand_failures_at_once_begin_one_series_of_probes() {
        let mut health = Health::default();
        let news = (0..1000).filter(|_| health.on_failure(MEMBER) != NOTHING).count();
        let begun = (0..1000).filter(|_| health.begin_probing(MEMBER)).count();
        assert_eq!((news, begun), (1, 1));
        // It fails again before the prober has noticed that it had answered.
        health.on_success(MEMBER, Instant::now());
        assert_eq!(health.on_failure(MEMBER), DOUBTED);
        assert!(!health.begin_probing(MEMBER));
        assert!(health.next_probe(MEMBER).is_some());
    }

    #[test]
    fn a_member_that_greets_nobody_for_two_seconds_is_lost_at_once() {
        let (mut health, began) = (Health::default(), Instant::now());
        health.on_success(MEMBER, began);
        assert_eq!(health.on_silence(MEMBER, began, began + LOST_AFTER), Finding { is_news: true, is_lost: true });
        assert!(!health.is_up(MEMBER));
    }

    #[test]
    fn silence_adds_up_over_attempts_until_something_is_heard() {
        let (mut health, begin) = (Health::default(), Instant::now());
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        assert_eq!(health.on_silence(MEMBER, at(0), at(1_000)), DOUBTED);
        assert_eq!(health.on_silence(MEMBER, at(500), at(1_500)), NOTHING);
        assert_eq!(health.on_silence(MEMBER, at(1_100), at(2_100)), LOST);
        health.on_success(MEMBER, at(2_200));
        assert_eq!(health.on_silence(MEMBER, at(2_300), at(3_300)), DOUBTED);
    }

    #[test]
    fn one_slow_answer_among_quick_ones_means_nothing() {
        let (mut health, began) = (Health::default(), Instant::now());
        health.on_success(MEMBER, began + Duration::from_millis(1));
        assert_eq!(health.on_silence(MEMBER, began, began + LOST_AFTER), NOTHING);
        assert!(health.is_up(MEMBER));
    }

    #[test]
    fn a_member_that_refuses_is_not_silent() {
        let (mut health, began) = (Health::default(), Instant::now());
        health.on_silence(MEMBER, began, began);
        health.on_failure(MEMBER);
        let later = began + LOST_AFTER;
        assert_eq!(health.on_silence(MEMBER, later, later), NOTHING);
    }

    #[test]
    fn probes_come_less_and_less_often_and_end_with_an_answer() {
        let mut health = Health::default();
        health.on_failure(MEMBER);
        assert!(health.begin_probing(MEMBER));
        let pauses = [(); 6].map(|()| health.next_probe(MEMBER).unwrap().as_millis());
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        health.on_success(MEMBER, Instant::now());
        assert_eq!(health.next_probe(MEMBER), None);
        health.on_failure(MEMBER);
        assert!(health.begin_probing(MEMBER));
    }

    #[test]
    fn a_member_that_never_comes_back_is_forgotten() {
        let mut health = Health::default();
        health.on_failure(MEMBER);
        health.begin_probing(MEMBER);
        while health.next_probe(MEMBER).is_some() {}
        assert!(health.doubted().is_empty() && health.probes.is_empty());
    }
}
