//! Accept loops that never take more connections than the process can bear.
//!
//! Two limits: in total, where accepting pauses and the kernel's queue holds the rest; and per client network, where the
//! connection is closed at once. Running out of descriptors pauses too, it never ends the loop.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dashmap::DashMap;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

use crate::session::Suspicion;

/// Pause after `accept` failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections the kernel holds while accepting pauses.
const BACKLOG: i32 = 1024;
/// Silence after which the kernel asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// Counts the connections of a process, in total and per client network.
#[derive(Debug)]
pub struct Gate {
    total: Arc<Semaphore>,
    /// What one client connection counts: two where each needs another one to a member.
    weight: u32,
    per_network_max: usize,
    networks: DashMap<IpAddr, usize>,
}

/// One place in the total; given back when dropped.
#[derive(Debug)]
pub struct Admission {
    _permit: OwnedSemaphorePermit,
}

/// One place among a client network's connections; given back when dropped.
#[derive(Debug)]
pub struct NetworkPlace {
    gate: Arc<Gate>,
    network: IpAddr,
}

impl Gate {
    /// Makes a gate for so many connections, each of which counts `weight`.
    #[must_use]
    pub fn new(connections_max: usize, weight: u32, per_network_max: usize) -> Arc<Self> {
        let permits = connections_max.clamp(weight as usize, Semaphore::MAX_PERMITS);
        Arc::new(Self { total: Arc::new(Semaphore::new(permits)), weight, per_network_max, networks: DashMap::new() })
    }

    /// Counts the clients that have a place.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.networks.iter().map(|count| *count.value()).sum()
    }

    /// Waits for a place in the total.
    async fn admit(&self) -> Option<Admission> {
        let permit = self.total.clone().acquire_many_owned(self.weight).await.ok()?;
        Some(Admission { _permit: permit })
    }

    /// Takes a place for a client, or says that its network has too many already.
    #[must_use]
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Option<NetworkPlace> {
        let network = Suspicion::network_of(client);
        let mut count = self.networks.entry(network).or_insert(0);
        if *count >= self.per_network_max {
            return None;
        }
        *count += 1;
        Some(NetworkPlace { gate: self.clone(), network })
    }
}

impl Drop for NetworkPlace {
    fn drop(&mut self) {
        if let dashmap::Entry::Occupied(mut entry) = self.gate.networks.entry(self.network) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// Opens a listening socket.
///
/// # Errors
///
/// If the address is taken or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted process must not wait for old connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    // Inherited by what is accepted: a client that vanished behind a dead network is noticed.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until shutdown, calling `serve` for each connection; `serve` starts the task.
pub async fn accept_loop(
    listener: TcpListener,
    gate: Arc<Gate>,
    shutdown: CancellationToken,
    mut serve: impl FnMut(TcpStream, SocketAddr, Admission),
) {
    // Inherited by what is accepted, which then need not be told: see `Stream`.
    let _ = socket2::SockRef::from(&listener).set_tcp_nodelay(true);
    loop {
        let next = async {
            let admission = gate.admit().await?;
            Some((listener.accept().await, admission))
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = next => accepted,
        };
        match accepted {
            None => return,
            Some((Ok((tcp, peer)), admission)) => serve(tcp, peer, admission),
            Some((Err(error), _)) => pause_after(&error).await,
        }
    }
}

async fn pause_after(error: &io::Error) {
    // The client gave up while it was queued: nothing is wrong with us.
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::warn!(%error, "accepting pauses");
    tokio::time::sleep(PAUSE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_so_many_places_and_no_more() {
        let gate = Gate::new(10, 1, 2);
        let client = "2001:db8::1".parse().unwrap();
        let neighbour = "2001:db8::2".parse().unwrap();
        let first = gate.enter(client).unwrap();
        let _second = gate.enter(neighbour).unwrap();
        assert!(gate.enter(client).is_none());
        assert!(gate.enter("2001:db8:0:1::1".parse().unwrap()).is_some());
        drop(first);
        assert!(gate.enter(client).is_some());
    }

    #[test]
    fn an_empty_network_is_forgotten() {
        let gate = Gate::new(10, 1, 2);
        drop(gate.enter("192.0.2.1".parse().unwrap()));
        assert!(gate.networks.is_empty());
    }

    #[tokio::test]
    async fn the_total_is_given_back_with_the_admission() {
        let gate = Gate::new(2, 2, 9);
        let first = gate.admit().await.unwrap();
        assert_eq!(gate.total.available_permits(), 0);
        drop(first);
        assert_eq!(gate.total.available_permits(), 2);
    }
}
