//! Connections to members.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Connects to members, from one address of this host or from whichever the kernel takes.
///
/// A member dials from the address it listens on: on a host with several, its fellows and their firewalls see it under
/// one address.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dialler {
    from: Option<IpAddr>,
}

impl Dialler {
    /// Dials from the address of this listener; from any, if it listens on all.
    #[must_use]
    pub fn from_listener(listener: SocketAddr) -> Self {
        Self { from: Some(listener.ip()).filter(|ip| !ip.is_unspecified()) }
    }

    /// Connects within a time.
    ///
    /// # Errors
    ///
    /// If the member refuses, cannot be reached, or is silent for too long.
    pub async fn dial(self, address: SocketAddr, within: Duration) -> io::Result<TcpStream> {
        let tcp = timeout(within, self.connect(address)).await??;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        // Of the other family there is no address to dial from.
        let Some(from) = self.from.filter(|from| from.is_ipv4() == address.is_ipv4()) else {
            return TcpStream::connect(address).await;
        };
        let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A port is taken before it is known who is dialled; connections to several may share it.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(from, 0))?;
        socket.connect(address).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    async fn source_of(dialler: Dialler) -> IpAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_dialled, accepted) = tokio::join!(dialler.dial(address, WITHIN), listener.accept());
        accepted.unwrap().1.ip()
    }

    #[tokio::test]
    async fn a_member_is_seen_under_the_address_it_listens_on() {
        let dialler = Dialler::from_listener("127.0.9.7:7001".parse().unwrap());
        assert_eq!(source_of(dialler).await.to_string(), "127.0.9.7");
    }

    #[tokio::test]
    async fn who_listens_everywhere_or_in_another_family_dials_from_anywhere() {
        for listener in ["0.0.0.0:7001", "[::]:7001", "[::1]:7001"] {
            let dialler = Dialler::from_listener(listener.parse().unwrap());
            assert_eq!(source_of(dialler).await.to_string(), "127.0.0.1", "{listener}");
        }
    }
}
