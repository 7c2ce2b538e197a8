//! Reads PROXY headers and preambles off a connection: exactly their bytes, so that TLS or the protocol may follow.

use std::{io, net::IpAddr, time::Duration};

use ipnet::IpNet;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    handoff::{Preamble, PreambleError, TlsFacts, hops_of_header},
    wire::proxy::{Addresses, ProxyError, ProxyHeader, bytes_wanted},
};

/// Headers come with the first packet; who dribbles them is no balancer and no router.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);

/// Why a connection has no header we believe; it is to be closed without a word.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The connection broke, or ended before its header did.
    #[error("read the header: {0}")]
    Read(#[from] io::Error),
    /// No header came in time.
    #[error("no header in time")]
    TimedOut,
    /// Bytes that are no header.
    #[error("{0}")]
    Proxy(#[from] ProxyError),
    /// A header that is no preamble.
    #[error("{0}")]
    Preamble(#[from] PreambleError),
}

/// What a balancer says of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// The two ends of the client's connection; `None` for the balancer's own health checks.
    pub addresses: Option<Addresses>,
    /// The TLS it ended.
    pub tls: Option<TlsFacts>,
    /// How often the connection was passed on before, if it is one of ours that says so.
    pub hops: u8,
}

/// Whether a header from there is believed.
#[must_use]
pub fn is_trusted(peer: IpAddr, networks: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    networks.iter().any(|network| network.contains(&peer))
}

/// Receives the header of a balancer, version 1 or 2.
///
/// # Errors
///
/// If something else comes, or nothing in time. A trusted peer *must* send one: guessing would let clients send their own.
pub async fn receive_introduction(tcp: &mut TcpStream) -> Result<Introduction, HeaderError> {
    let header = receive(tcp, |bytes| Ok(ProxyHeader::decode(bytes)?.map(|(header, _)| header))).await?;
    let tls = TlsFacts::of_header(&header)?;
    Ok(Introduction { addresses: header.addresses, tls, hops: hops_of_header(&header) })
}

/// Receives the preamble of a router or a fellow member.
///
/// # Errors
///
/// If something else comes, or nothing in time.
pub async fn receive_preamble(stream: &mut (impl AsyncRead + Unpin)) -> Result<Preamble, HeaderError> {
    receive(stream, |bytes| Ok(Preamble::decode(bytes)?.map(|(preamble, _)| preamble))).await
}

async fn receive<T>(
    stream: &mut (impl AsyncRead + Unpin),
    decode: impl Fn(&[u8]) -> Result<Option<T>, HeaderError>,
) -> Result<T, HeaderError> {
    let whole = async {
        let mut bytes = Vec::with_capacity(256);
        loop {
            if let Some(value) = decode(&bytes)? {
                return Ok(value);
            }
            let start = bytes.len();
            bytes.resize(start + bytes_wanted(&bytes), 0);
            stream.read_exact(bytes.get_mut(start..).unwrap_or_default()).await?;
        }
    };
    timeout(HEADER_DEADLINE, whole).await.map_err(|_| HeaderError::TimedOut)?
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;
    use crate::handoff::{Protocol, SessionId};

    async fn received(bytes: Vec<u8>) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        near.write_all(&bytes).await.unwrap();
        (listener.accept().await.unwrap().0, near)
    }

    async fn rest_of(tcp: &mut TcpStream, length: usize) -> Vec<u8> {
        let mut rest = vec![0; length];
        tcp.read_exact(&mut rest).await.unwrap();
        rest
    }

    #[tokio::test]
    async fn what_follows_a_header_stays_unread() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 143\r\na1 NOOP\r\n".to_vec();
        let (mut tcp, _near) = received(line).await;
        let introduction = receive_introduction(&mut tcp).await.unwrap();
        assert_eq!(introduction.addresses.unwrap().source, "192.0.2.1:56324".parse().unwrap());
        assert_eq!(rest_of(&mut tcp, 9).await, b"a1 NOOP\r\n");
    }

    #[tokio::test]
    async fn what_follows_a_preamble_stays_unread() {
        let sent = Preamble {
            client: "192.0.2.1:1".parse().unwrap(),
            local: "192.0.2.2:143".parse().unwrap(),
            protocol: Protocol::Pop3,
            tls: None,
            session: SessionId(7),
            hops: 0,
            ticket: None,
        };
        let (mut tcp, _near) = received([sent.encode(), b"CAPA\r\n".to_vec()].concat()).await;
        assert_eq!(receive_preamble(&mut tcp).await.unwrap(), sent);
        assert_eq!(rest_of(&mut tcp, 6).await, b"CAPA\r\n");
    }

    #[tokio::test]
    async fn a_client_without_a_header_is_not_believed() {
        for bytes in [b"a1 LOGIN eve x\r\n".as_slice(), b"\r\n\r\n\0\r\nQUITx...."] {
            let (mut tcp, _near) = received(bytes.to_vec()).await;
            assert!(matches!(receive_preamble(&mut tcp).await, Err(HeaderError::Preamble(_))));
        }
        let (mut tcp, near) = received(b"PROXY TCP4 192".to_vec()).await;
        drop(near);
        assert!(matches!(receive_introduction(&mut tcp).await, Err(HeaderError::Read(_))));
    }

    #[test]
    fn trust_sees_through_mapped_addresses() {
        let networks = ["192.0.2.0/24".parse().unwrap()];
        assert!(is_trusted("::ffff:192.0.2.9".parse().unwrap(), &networks));
        assert!(!is_trusted("198.51.100.1".parse().unwrap(), &networks));
    }
}
