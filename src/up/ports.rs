//! Where every listener goes: a fixed, readable place above the base port, or a free one.
//!
//! With base B (10000 unless told otherwise):
//!
//! | | port | with B = 10000 |
//! |---|---|---|
//! | directory | B + 389 (LDAP), B + 636 (LDAPS), B + 391 (metrics) | 10389, 10636, 10391 |
//! | router r | B + 1000 × (r − 1) + the service's own port | router-1: imap 10143, smtp 10025, imaps 10993 |
//! | member m of cluster c | B + 10000 + 1000 × c + 100 × m + the last two digits of the service's port | cluster-1-a: imap 21143, pop3 21110 |
//!
//! So `2` `c` `m` `43` is always IMAP of member m of cluster c. Metrics are at 90, a member's handoff at 01 and its
//! control at 02. LMTP is 24, SMTP 25.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use laniakea_config::Service;
use rand::RngExt as _;

use crate::exit::Failure;

/// The highest port in use is this far above the base: member 9 of cluster 9, last listener.
pub const SPAN: u16 = 19_999;

/// Highest base that leaves room for everything.
pub const BASE_MAX: u16 = u16::MAX - SPAN;

/// One listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Ldap,
    Ldaps,
    DirectoryMetrics,
    /// Number of the router, from 1.
    Router(u16, Service),
    /// Numbers of the cluster and the member, from 1.
    Member(u16, u16, Service),
    Control(u16, u16),
    Handoff(u16, u16),
}

impl Place {
    /// Its place above the base.
    fn offset(self) -> u16 {
        let member = |cluster: u16, member: u16| 10_000 + 1_000 * cluster + 100 * member;
        match self {
            Self::Ldap => 389,
            Self::Ldaps => 636,
            Self::DirectoryMetrics => 391,
            Self::Router(router, service) => 1_000 * (router - 1) + usual_port(service),
            // 443 would fall on 143.
            Self::Member(c, m, Service::Https) => member(c, m) + 44,
            Self::Member(c, m, service) => member(c, m) + usual_port(service) % 100,
            Self::Handoff(c, m) => member(c, m) + 1,
            Self::Control(c, m) => member(c, m) + 2,
        }
    }
}

/// The port a service has everywhere, below 1000.
fn usual_port(service: Service) -> u16 {
    match service {
        Service::Imap => 143,
        Service::Imaps => 993,
        Service::Pop3 => 110,
        Service::Pop3s => 995,
        Service::Smtp => 25,
        Service::Submission => 587,
        Service::Submissions => 465,
        Service::Lmtp => 24,
        Service::Http => 80,
        Service::Https => 443,
        Service::AuthHttp => 91,
        Service::Metrics => 90,
    }
}

/// Gives each listener its port.
pub enum Ports {
    /// At its place above the base.
    Fixed(u16),
    /// The next free one of a block of our own.
    Free(FreePorts),
}

impl Ports {
    /// As the flag says; 0 means free ports.
    pub fn new(base: u16) -> Self {
        if base == 0 { Self::Free(FreePorts::default()) } else { Self::Fixed(base) }
    }

    /// Where `place` listens.
    pub fn address(&mut self, place: Place) -> Result<SocketAddr, Failure> {
        let port = match self {
            Self::Fixed(base) => *base + place.offset(),
            Self::Free(free) => free.next().ok_or_else(|| {
                Failure::Temporary(anyhow::anyhow!("no free ports are left between {FREE_FIRST} and {FREE_LAST}"))
            })?,
        };
        Ok(local(port))
    }
}

/// Below the range from which the kernel gives outgoing connections their ports (32768 on Linux), so that a listener
/// whose process is being restarted does not find its port taken by somebody's connection.
const FREE_FIRST: u16 = 20_000;
const FREE_LAST: u16 = 32_699;

/// Ports come in blocks of this size; the first of a block is held as a sign that the block is taken, so that two `up`
/// starting at once do not choose the same ports.
const BLOCK: u16 = 100;

/// Free ports, and the signs that keep other `up` away from them.
#[derive(Default)]
pub struct FreePorts {
    signs: Vec<TcpListener>,
    next: u16,
}

impl FreePorts {
    /// Takes the blocks of ports that were chosen at an earlier start again, if they are still free.
    pub fn again(addresses: &[SocketAddr]) -> Option<Self> {
        let blocks: BTreeSet<u16> = addresses.iter().map(|address| address.port() / BLOCK * BLOCK).collect();
        let signs = blocks.into_iter().map(try_bind).collect::<Option<Vec<_>>>()?;
        let all_free = addresses.iter().all(|address| TcpListener::bind(address).is_ok());
        all_free.then_some(Self { signs, next: 0 })
    }

    fn next(&mut self) -> Option<u16> {
        for _ in 0..=BLOCK {
            if self.next.is_multiple_of(BLOCK) {
                self.take_block()?;
            }
            let port = self.next;
            self.next += 1;
            if try_bind(port).is_some() {
                return Some(port);
            }
        }
        None
    }

    fn take_block(&mut self) -> Option<()> {
        let count = (FREE_LAST - FREE_FIRST) / BLOCK;
        let first = rand::rng().random_range(0..count);
        for index in 0..count {
            let block = FREE_FIRST + (first + index) % count * BLOCK;
            if let Some(sign) = try_bind(block) {
                self.signs.push(sign);
                self.next = block + 1;
                return Some(());
            }
        }
        None
    }
}

fn try_bind(port: u16) -> Option<TcpListener> {
    TcpListener::bind(local(port)).ok()
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn all_places() -> Vec<Place> {
        let mut places = vec![Place::Ldap, Place::Ldaps, Place::DirectoryMetrics];
        for router in 1..=9 {
            places.extend(Service::ALL.map(|service| Place::Router(router, service)));
        }
        for (cluster, member) in (1..=9).flat_map(|c| (1..=9).map(move |m| (c, m))) {
            places.extend(Service::ALL.map(|service| Place::Member(cluster, member, service)));
            places.extend([Place::Control(cluster, member), Place::Handoff(cluster, member)]);
        }
        places
    }

    #[test]
    fn nine_routers_and_nine_times_nine_members_have_places_of_their_own() {
        let mut taken = BTreeMap::new();
        for place in all_places() {
            assert_eq!(taken.insert(place.offset(), place), None, "{place:?}");
            assert!(place.offset() <= SPAN, "{place:?}");
        }
    }

    #[test]
    fn places_read_like_the_ports_people_know() {
        let mut ports = Ports::new(10_000);
        for (place, port) in [
            (Place::Ldap, 10_389),
            (Place::Router(1, Service::Imap), 10_143),
            (Place::Router(2, Service::Smtp), 11_025),
            (Place::Member(1, 1, Service::Imap), 21_143),
            (Place::Member(2, 2, Service::Pop3), 22_210),
        ] {
            assert_eq!(ports.address(place).unwrap().port(), port);
        }
    }

    #[test]
    fn free_ports_differ_and_their_block_is_taken() {
        let mut one = Ports::new(0);
        let addresses: Vec<SocketAddr> = (0..150).map(|_| one.address(Place::Ldap).unwrap()).collect();
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 150);
        assert!(FreePorts::again(&addresses).is_none());
        drop(one);
        assert!(FreePorts::again(&addresses).is_some());
    }
}
