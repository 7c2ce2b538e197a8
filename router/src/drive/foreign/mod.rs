//! Servers of other kinds: which ones the directory may name, and how they are reached.
//!
//! The directory decides where an account lives, the configuration decides how far it may send us: a `mailHost` that is
//! neither a cluster nor allowed by the settings gets no connection, or whoever may write one entry could point the router,
//! and passwords with it, at any host.

mod login;
#[cfg(test)]
mod login_test;
mod tls;

use std::{io, net::SocketAddr, time::Duration};

use laniakea_config::{ForeignSettings, ForeignTls, split_port};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{Dialler, Stream, tls::TlsError};
use crate::{
    handoff::{Preamble, Protocol},
    session::foreign::Introduction,
};

pub use login::log_in;
#[cfg(test)]
pub(super) use tls::Anybody;
pub use tls::ClientTls;

/// How often a connection may be passed on: a router to a member to the owner, and once more if that has just changed.
/// Whoever comes round oftener goes in a circle.
pub const HOPS_MAX: u8 = 4;
/// What a connection that has passed nobody may still pass, as Dovecot counts it too.
const TTL_MAX: u8 = HOPS_MAX + 1;
/// How long one address may take to accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long a handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// The servers of other kinds that accounts may live on.
#[derive(Clone, Default)]
pub struct ForeignServers(Vec<(ForeignSettings, ClientTls)>);

/// One server, with how it wants to be spoken to.
#[derive(Clone, Copy)]
pub struct ForeignServer<'a> {
    /// What the settings say of it.
    pub settings: &'a ForeignSettings,
    tls: &'a ClientTls,
    host: &'a str,
    /// The port that `mailHost` names: IMAP's.
    port: Option<u16>,
}

/// Why a server of another kind cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// The settings allow no such host.
    #[error("the settings allow no server called {0}")]
    NotAllowed(String),
    /// Too many proxies were passed.
    #[error("the connection goes in a circle")]
    Loop,
    /// No address, no connection, no handshake, or the connection broke.
    #[error("connect to the server")]
    Io(#[from] io::Error),
    /// It does not speak its protocol, or not in a way that can be used.
    #[error("the server cannot be used: {0}")]
    Unusable(&'static str),
}

impl From<tokio::time::error::Elapsed> for ForeignError {
    fn from(elapsed: tokio::time::error::Elapsed) -> Self {
        Self::Io(elapsed.into())
    }
}

impl ForeignServers {
    /// Prepares for what the settings allow.
    ///
    /// # Errors
    ///
    /// If a file of certificates cannot be used.
    pub fn load(settings: &[ForeignSettings]) -> Result<Self, TlsError> {
        let load = |settings: &ForeignSettings| {
            let tls = ClientTls::load(settings.tls, settings.verify, settings.ca.as_deref())?;
            Ok((settings.clone(), tls))
        };
        settings.iter().map(load).collect::<Result<_, _>>().map(Self)
    }

    /// Finds how to speak to the host that an account's `mailHost` names.
    ///
    /// # Errors
    ///
    /// If the settings allow no such host.
    pub fn find<'a>(&'a self, mail_host: &'a str) -> Result<ForeignServer<'a>, ForeignError> {
        let (host, port) = split_port(mail_host);
        let found = self.0.iter().find(|(settings, _)| settings.allows(mail_host));
        let (settings, tls) = found.ok_or_else(|| ForeignError::NotAllowed(host.to_owned()))?;
        Ok(ForeignServer { settings, tls, host, port })
    }

    /// Names some server, for logins of nobody where there is no cluster.
    #[must_use]
    pub fn any(&self) -> Option<&str> {
        let hosts = self.0.iter().flat_map(|(settings, _)| &settings.hosts);
        hosts.map(String::as_str).find(|host| !host.starts_with('*'))
    }
}

impl ForeignServer<'_> {
    /// Connects and sends what comes before the protocol: a PROXY header, TLS.
    ///
    /// # Errors
    ///
    /// See [`ForeignError`].
    pub async fn connect(&self, preamble: &Preamble) -> Result<Stream, ForeignError> {
        if preamble.hops >= HOPS_MAX {
            return Err(ForeignError::Loop);
        }
        let mut tcp = self.dial(self.port_of(preamble.protocol)).await?;
        if self.settings.proxy_header {
            let onward = Preamble { hops: preamble.hops + 1, ticket: None, ..preamble.clone() };
            // Fits into any socket's buffer, so it needs no deadline.
            tcp.write_all(&onward.encode()).await?;
        }
        let stream = Stream::Plain(tcp);
        match (self.settings.tls, preamble.protocol) {
            (ForeignTls::Implicit, Protocol::Imap | Protocol::Pop3 | Protocol::Http) => self.encrypt(stream).await,
            // HTTP has no command to begin it.
            (ForeignTls::StartTls, Protocol::Http) => self.encrypt(stream).await,
            _ => Ok(stream),
        }
    }

    /// Begins TLS on a connection.
    ///
    /// # Errors
    ///
    /// If the server speaks no TLS that we accept, or its certificate is not its own.
    pub async fn encrypt(&self, stream: Stream) -> Result<Stream, ForeignError> {
        Ok(timeout(HANDSHAKE_DEADLINE, self.tls.connect(stream, self.host)).await??)
    }

    /// Whether TLS is to be begun by a command of the protocol.
    #[must_use]
    pub fn starts_tls(&self, protocol: Protocol) -> bool {
        match (self.settings.tls, protocol) {
            (ForeignTls::Off, _) => false,
            (ForeignTls::StartTls, _) => true,
            (ForeignTls::Implicit, protocol) => !matches!(protocol, Protocol::Imap | Protocol::Pop3 | Protocol::Http),
        }
    }

    /// What the server is to be told of the client.
    #[must_use]
    pub fn introduction(&self, preamble: &Preamble) -> Option<Introduction> {
        self.settings.introduce.then(|| Introduction {
            client: preamble.client,
            local: preamble.local,
            session: preamble.session,
            ttl: TTL_MAX.saturating_sub(preamble.hops + 1),
        })
    }

    /// The first address that the protocol is spoken at.
    pub async fn address(&self, protocol: Protocol) -> Option<SocketAddr> {
        let found = timeout(CONNECT_DEADLINE, lookup_host((self.host, self.port_of(protocol)))).await;
        found.ok()?.ok()?.next()
    }

    fn port_of(&self, protocol: Protocol) -> u16 {
        let ports = self.settings.ports;
        match protocol {
            Protocol::Pop3 => ports.pop3,
            Protocol::Lmtp => ports.lmtp.unwrap_or(ports.smtp),
            Protocol::Smtp | Protocol::Submission => ports.smtp,
            Protocol::Imap => self.port.unwrap_or(ports.imap),
            // Who names none is not asked.
            Protocol::Http => ports.http.unwrap_or_default(),
        }
    }

    /// Tries the host's addresses one after the other.
    async fn dial(&self, port: u16) -> Result<TcpStream, ForeignError> {
        let addresses: Vec<SocketAddr> =
            timeout(CONNECT_DEADLINE, lookup_host((self.host, port))).await??.take(ADDRESSES_MAX).collect();
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match Dialler::default().dial(address, CONNECT_DEADLINE).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }
}

/// How often a connection was passed on, by what is left of its TTL.
#[must_use]
pub fn hops_of_ttl(ttl: u8) -> u8 {
    TTL_MAX.saturating_sub(ttl)
}

/// Servers that a test allows.
#[cfg(test)]
pub fn allowing(settings: ForeignSettings) -> ForeignServers {
    ForeignServers::load(&[settings]).unwrap()
}

impl std::fmt::Debug for ForeignServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(settings, _)| settings)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_and_what_is_left_of_them_agree() {
        assert_eq!(hops_of_ttl(TTL_MAX), 0);
        assert_eq!(hops_of_ttl(1), HOPS_MAX);
        assert_eq!(hops_of_ttl(200), 0);
    }
}
