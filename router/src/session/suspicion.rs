//! Which networks guess passwords: failed logins by client network, forgotten by halves.
//!
//! It slows down wrong answers and nothing else: a right password is never kept waiting, so nobody can lock another out.
//! Each process remembers for itself.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// After so long half of the failures are forgotten.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// Networks remembered; about 48 bytes each.
const NETWORKS_MAX: usize = 65_536;

/// Remembers failed logins.
#[derive(Debug, Default)]
pub struct Suspicion {
    networks: HashMap<IpAddr, Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    /// When they were last halved.
    since: Instant,
}

impl Suspicion {
    /// Counts a wrong password.
    pub fn on_failure(&mut self, now: Instant, client: IpAddr) {
        // Whoever is on this machine has other means, and programs there try more than people do.
        if client.is_loopback() {
            return;
        }
        if self.networks.len() >= NETWORKS_MAX {
            self.networks.retain(|_, failures| failures.at(now).count > 0);
        }
        if self.networks.len() >= NETWORKS_MAX {
            // So many networks at once are an attack that no table can follow.
            return;
        }
        let failures = self.networks.entry(Self::network_of(client)).or_insert(Failures { count: 0, since: now });
        *failures = failures.at(now);
        failures.count = failures.count.saturating_add(1);
    }

    /// Returns how many failures of the client's network are not forgotten.
    #[must_use]
    pub fn failures(&self, now: Instant, client: IpAddr) -> u32 {
        if self.networks.is_empty() {
            return 0;
        }
        self.networks.get(&Self::network_of(client)).map_or(0, |failures| failures.at(now).count)
    }

    /// Returns what a client can choose addresses from: one IPv4 address, or an IPv6 /64.
    #[must_use]
    pub fn network_of(client: IpAddr) -> IpAddr {
        match client.to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        }
    }
}

impl Failures {
    /// Halves the count once for each half-life that has passed.
    fn at(self, now: Instant) -> Self {
        let halvings = now.saturating_duration_since(self.since).as_secs() / HALF_LIFE.as_secs();
        let halvings = u32::try_from(halvings).unwrap_or(u32::MAX);
        let count = self.count.checked_shr(halvings).unwrap_or(0);
        Self { count, since: self.since + HALF_LIFE.saturating_mul(halvings) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_forgotten_by_halves() {
        let (mut suspicion, now) = (Suspicion::default(), Instant::now());
        let client = "192.0.2.1".parse().unwrap();
        for _ in 0..8 {
            suspicion.on_failure(now, client);
        }
        assert_eq!(suspicion.failures(now, client), 8);
        assert_eq!(suspicion.failures(now + HALF_LIFE, client), 4);
        suspicion.on_failure(now + HALF_LIFE * 2, client);
        assert_eq!(suspicion.failures(now + HALF_LIFE * 2, client), 3);
        assert_eq!(suspicion.failures(now + HALF_LIFE * 99, client), 0);
    }

    #[test]
    fn neighbours_in_one_network_are_one_and_strangers_are_not() {
        let (mut suspicion, now) = (Suspicion::default(), Instant::now());
        suspicion.on_failure(now, "2001:db8::1".parse().unwrap());
        assert_eq!(suspicion.failures(now, "2001:db8::2".parse().unwrap()), 1);
        assert_eq!(suspicion.failures(now, "2001:db8:0:1::1".parse().unwrap()), 0);
    }

    #[test]
    fn this_machine_is_not_suspected() {
        let (mut suspicion, now) = (Suspicion::default(), Instant::now());
        suspicion.on_failure(now, "127.0.0.1".parse().unwrap());
        assert!(suspicion.networks.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let (mut suspicion, now) = (Suspicion::default(), Instant::now());
        for number in 0..u32::try_from(NETWORKS_MAX).unwrap() + 9 {
            suspicion.on_failure(now, IpAddr::from((0x0a00_0000 + number).to_be_bytes()));
        }
        assert_eq!(suspicion.networks.len(), NETWORKS_MAX);
        suspicion.on_failure(now + HALF_LIFE, "192.0.2.1".parse().unwrap());
        assert_eq!(suspicion.networks.len(), 1);
    }
}
