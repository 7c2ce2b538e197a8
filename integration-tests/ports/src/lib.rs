//! Ports for servers that are told where to listen before they do: members that come back at their old address, and
//! servers of others.
//!
//! A port that the kernel chose (port 0) and that was let go may be given to somebody's outgoing connection before the
//! server listens. These are below the range that outgoing connections get (from 32768 on Linux) and below the one that
//! `laniakea up --base-port 0` takes from (20000).

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

const FIRST: u16 = 12_000;
const COUNT: u16 = 8_000;

/// Processes with numbers next to each other begin so many ports apart.
const STRIDE: u32 = 40;

/// A loopback address whose port nobody uses now, and that this process was not given before.
///
/// # Panics
///
/// If every port of the range is in use.
#[allow(clippy::expect_used)]
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u64::from(std::process::id()) * u64::from(STRIDE);
    (0..COUNT)
        .map(|_| {
            let offset = begin + u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
            SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + (offset % u64::from(COUNT)) as u16))
        })
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("every port from 12000 to 19999 is in use")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn addresses_differ_and_are_free_and_out_of_the_way() {
        let held = TcpListener::bind(free_address()).unwrap();
        let addresses: BTreeSet<SocketAddr> = (0..100).map(|_| free_address()).collect();
        assert_eq!(addresses.len(), 100);
        assert!(!addresses.contains(&held.local_addr().unwrap()));
        for address in addresses {
            assert!((FIRST..FIRST + COUNT).contains(&address.port()));
            TcpListener::bind(address).unwrap();
        }
    }
}
