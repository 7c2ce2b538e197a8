//! How connections are handed over: dialled to a member's handoff listener, and accepted there.
//!
//! Where the settings of a cluster say so, inside mutual TLS: whoever dials shows a certificate of the cluster's authority and
//! wants to see one that carries the member's name. TLS 1.3 alone, and nothing is resumed: everybody shows a certificate that is
//! valid now, each time. What the settings say is by address, and an address that no member of the configuration has gets no
//! connection as soon as any cluster is encrypted: nobody is spoken to in the clear by mistake.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use laniakea_config::{Config, HandoffTlsSettings};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::aws_lc_rs,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    Dialler, Stream,
    login::DialError,
    routes::CONNECT_DEADLINE,
    tls::{TlsError, load_authorities, load_pair},
};
use crate::route::LOST_AFTER;

/// How long a handshake may take, at either end. It takes a process that runs a millisecond.
const HANDSHAKE_DEADLINE: std::time::Duration = LOST_AFTER;

/// Dials handoff listeners, and is one's door.
#[derive(Default)]
pub struct Handoffs {
    dialler: Dialler,
    tls: ArcSwap<HandoffTls>,
}

/// What the settings say of the encryption of handoffs.
#[derive(Default)]
pub struct HandoffTls {
    /// How each member of the configuration is dialled.
    ways: HashMap<SocketAddr, Way>,
    /// How this process's own listener is entered, if it is a member of a cluster that is encrypted.
    door: Option<TlsAcceptor>,
}

/// How one member is dialled.
#[derive(Clone)]
enum Way {
    Plain,
    Tls(TlsConnector, ServerName<'static>),
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The handshake was not finished.
    #[error("no handshake in time")]
    TimedOut,
    /// Somebody who has not been told.
    #[error("it speaks no TLS, which `handoff_tls` demands: do both sides have the same configuration?")]
    NotTls,
    /// No certificate, or one that does not count.
    #[error("{0}")]
    Certificate(rustls::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(io::Error),
}

impl Handoffs {
    /// Dials with `dialler`.
    #[must_use]
    pub fn new(dialler: Dialler, tls: HandoffTls) -> Self {
        Self { dialler, tls: ArcSwap::from_pointee(tls) }
    }

    /// Takes other settings for the connections to come.
    pub fn replace(&self, tls: HandoffTls) {
        self.tls.store(Arc::new(tls));
    }

    /// Connects to a member, and encrypts the connection if its cluster wants that.
    ///
    /// # Errors
    ///
    /// If there is no connection, no TLS, or no member at this address that we know.
    pub async fn dial(&self, member: SocketAddr) -> Result<Stream, DialError> {
        let way = self.tls.load().way(member).map_err(DialError::Tls)?;
        let tcp = self.dialler.dial(member, CONNECT_DEADLINE).await.map_err(DialError::Connect)?;
        let Way::Tls(connector, name) = way else { return Ok(Stream::Plain(tcp)) };
        let tls = timeout(HANDSHAKE_DEADLINE, connector.connect(name, tcp)).await.map_err(|_| DialError::Silent)?;
        Ok(Stream::Handoff(Box::new(tls.map_err(DialError::Tls)?.into())))
    }

    /// Lets a router or a fellow in: at once, or after it has shown a certificate.
    ///
    /// # Errors
    ///
    /// If it has none that counts. TLS has told it so.
    pub async fn accept(&self, tcp: TcpStream) -> Result<Stream, DoorError> {
        let Some(door) = self.tls.load().door.clone() else { return Ok(Stream::Plain(tcp)) };
        let shaken = timeout(HANDSHAKE_DEADLINE, door.accept(tcp)).await.map_err(|_| DoorError::TimedOut)?;
        Ok(Stream::Handoff(Box::new(shaken.map_err(DoorError::of)?.into())))
    }
}

impl HandoffTls {
    /// Loads the certificates of every cluster, for the process called `name`.
    ///
    /// # Errors
    ///
    /// If a file is unreadable, holds something else, or a key is not its certificate's.
    pub fn load(config: &Config, name: &str) -> Result<Self, TlsError> {
        let mut tls = Self::default();
        for cluster in &config.clusters {
            let connector = cluster.handoff_tls.as_ref().map(connector).transpose()?;
            for member in &cluster.members {
                let way = match &connector {
                    Some(connector) => Way::Tls(connector.clone(), server_name(&member.name)?),
                    None => Way::Plain,
                };
                tls.ways.insert(member.advertise.handoff, way);
            }
        }
        let own = config.member(name).and_then(|(cluster, _)| cluster.handoff_tls.as_ref());
        tls.door = own.map(acceptor).transpose()?;
        Ok(tls)
    }

    fn way(&self, member: SocketAddr) -> io::Result<Way> {
        let is_encrypted = |way: &Way| matches!(way, Way::Tls(..));
        match self.ways.get(&member) {
            Some(way) => Ok(way.clone()),
            None if self.ways.values().any(is_encrypted) => Err(io::Error::other(
                "no member of the configuration has this handoff address, and `handoff_tls` is set",
            )),
            None => Ok(Way::Plain),
        }
    }
}

impl DoorError {
    fn of(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls,
            Some(tls) => Self::Certificate(tls.clone()),
            None => Self::Io(error),
        }
    }
}

fn connector(settings: &HandoffTlsSettings) -> Result<TlsConnector, TlsError> {
    let (chain, key) = load_pair(&settings.own)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(authorities(settings)?)
        .with_client_auth_cert(chain, key)
        .map_err(|source| TlsError::Certificate { path: settings.own.certificate.clone(), source })?;
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn acceptor(settings: &HandoffTlsSettings) -> Result<TlsAcceptor, TlsError> {
    let (chain, key) = load_pair(&settings.own)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(settings)?), provider.clone());
    let verifier = verifier.build().map_err(|_| TlsError::NoAuthority(settings.ca.clone()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Certificate { path: settings.own.certificate.clone(), source })?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn authorities(settings: &HandoffTlsSettings) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    load_authorities(&settings.ca, &mut roots)?;
    if roots.is_empty() { Err(TlsError::NoAuthority(settings.ca.clone())) } else { Ok(roots) }
}

/// The name of a member is one of a host, by the rules for names.
fn server_name(member: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(member.to_owned()).map_err(|_| rustls::Error::UnsupportedNameType.into())
}

#[cfg(test)]
#[path = "handoffs_test.rs"]
mod tests;
