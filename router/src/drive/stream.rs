//! A client's or a member's connection, encrypted or not.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

use crate::handoff::TlsFacts;

/// How much is read at once where lines are spoken.
const READ_BYTES: usize = 4096;

thread_local! {
    /// Connections that wait hold no buffer, and futures that hold none are cheap to move.
    static BUFFER: RefCell<[u8; READ_BYTES]> = const { RefCell::new([0; READ_BYTES]) };
}

/// A connection; small segments are never held back (`TCP_NODELAY`).
#[derive(Debug)]
pub enum Stream {
    /// Not encrypted by us.
    Plain(TcpStream),
    /// Encrypted, we are the server or the client.
    Tls(Box<TlsStream<TcpStream>>),
    /// Encrypted between two processes of ours, which says nothing of the client.
    Handoff(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Takes a connection and makes it send small segments at once.
    ///
    /// With Nagle's algorithm a TLS handshake on loopback takes 45 ms instead of one. A socket that refuses the option is
    /// already broken, which the first read will tell.
    #[must_use]
    pub fn plain(tcp: TcpStream) -> Self {
        let _ = tcp.set_nodelay(true);
        Self::Plain(tcp)
    }

    /// Reads once, and gives `take` what came: nothing, if the other end says no more.
    ///
    /// # Errors
    ///
    /// If the connection breaks; `take` is then not called.
    pub async fn read_with<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let mut take = Some(take);
        poll_fn(|cx| {
            BUFFER.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(&mut *self).poll_read(cx, &mut read))?;
                let take = take.take().ok_or(io::ErrorKind::Other)?;
                Poll::Ready(Ok(take(read.filled())))
            })
        })
        .await
    }

    /// Returns the address of the other end.
    ///
    /// # Errors
    ///
    /// If the connection is already gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().peer_addr().map(canonical)
    }

    /// Returns the address of our end.
    ///
    /// # Errors
    ///
    /// If the connection is already gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().local_addr().map(canonical)
    }

    /// Returns how the connection is encrypted, if we did it as its server.
    #[must_use]
    pub fn tls_facts(&self) -> Option<TlsFacts> {
        let Self::Tls(tls) = self else { return None };
        let TlsStream::Server(server) = tls.as_ref() else { return None };
        let connection = server.get_ref().1;
        Some(TlsFacts {
            version: connection.protocol_version().map_or("unknown", version_name).to_owned(),
            cipher: connection
                .negotiated_cipher_suite()
                .map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
            sni: connection.server_name().map(str::to_owned),
        })
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) | Self::Handoff(tls) => tls.get_ref().0,
        }
    }
}

fn version_name(version: rustls::ProtocolVersion) -> &'static str {
    match version {
        rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
        rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "unknown",
    }
}

/// An IPv4 client of an IPv6 socket is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) | Self::Handoff(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) | Self::Handoff(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) | Self::Handoff(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) | Self::Handoff(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
