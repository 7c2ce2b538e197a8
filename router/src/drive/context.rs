//! What all connections of a router share.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use laniakea_config::{Config, Limits, Mechanism};
use laniakea_directory::Directory;
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ForeignServers, HandoffTls, ServerTls,
    foreign::hops_of_ttl,
    listener::Gate,
    mail::{Budget, Smarthost},
    routes::Routes,
    tls::TlsError,
};
use crate::{
    handoff::{Preamble, Protocol, SessionId, TlsFacts},
    session::{Protection, Suspicion},
    wire::claims::Claims,
};

/// What all connections of a router share.
pub struct RouterContext {
    /// The router's name.
    pub name: String,
    /// The name that greetings carry.
    pub domain: String,
    /// Accounts and clusters.
    pub directory: Directory,
    /// Where accounts live.
    pub routes: Routes,
    /// Servers of other kinds that accounts may live on.
    pub foreign: ArcSwap<ForeignServers>,
    /// Who takes mail for other sites, if anybody.
    pub smarthost: ArcSwapOption<Smarthost>,
    /// How clients may log in.
    pub mechanisms: Arc<[Mechanism]>,
    /// Certificates.
    pub tls: ServerTls,
    /// Bounds on what one client may ask.
    pub limits: Limits,
    /// What messages on their way may take of the process's memory.
    pub memory: Budget,
    /// Counts connections.
    pub gate: Arc<Gate>,
    /// Networks that guess passwords.
    pub suspicion: Mutex<Suspicion>,
    /// Balancers whose PROXY header is believed.
    pub proxy_from: Vec<IpNet>,
    /// Proxies that are believed what they say of their clients.
    pub trust_from: Vec<IpNet>,
    /// Cancelled when no new client is to be taken and idle ones are to leave.
    pub shutdown: CancellationToken,
    /// Cancelled when forwarded connections are to end, too.
    pub drained: CancellationToken,
    /// The tasks of connections, waited for when the router drains.
    pub tasks: TaskTracker,
}

impl RouterContext {
    /// Takes from another configuration what can change while the process runs: certificates, servers of other kinds, the
    /// smarthost. Connections that live keep what they have.
    ///
    /// # Errors
    ///
    /// If any of it cannot be used; all of it then stays as it was.
    pub fn reload(&self, config: &Config) -> Result<(), TlsError> {
        let handoffs = HandoffTls::load(config, &self.name)?;
        let foreign = ForeignServers::load(&config.foreign)?;
        let smarthost = config.smarthost.as_ref().map(Smarthost::load).transpose()?;
        self.tls.reload(&config.tls)?;
        self.routes.handoffs().replace(handoffs);
        self.foreign.store(Arc::new(foreign));
        self.smarthost.store(smarthost.map(Arc::new));
        Ok(())
    }
}

/// One client connection, as far as it is known before the first command.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client's address: the balancer's word for it, if a balancer is between.
    pub address: SocketAddr,
    /// The address the client connected to.
    pub local: SocketAddr,
    /// TLS that a balancer ended.
    pub tls: Option<TlsFacts>,
    /// The session's name in every log.
    pub session: SessionId,
    /// How often the connection was passed on before.
    pub hops: u8,
    /// Whether the other end is a proxy that is believed what it says of its client.
    pub is_believed: bool,
}

impl Client {
    /// The client as a proxy describes it, as far as the proxy is believed.
    #[must_use]
    pub fn claimed(&self, claims: &Claims) -> Self {
        let mut client = self.clone();
        // Believed of anybody: it can only make us refuse.
        client.hops = client.hops.max(claims.ttl.map_or(0, hops_of_ttl));
        if self.is_believed {
            client.address = claims.client_end().unwrap_or(client.address);
            client.local = claims.local_end().unwrap_or(client.local);
            client.session = claims.session.unwrap_or(client.session);
        }
        client
    }

    /// What the client must do before it may send a password. A proxy that we trust has seen to that itself.
    #[must_use]
    pub fn protection(&self, tls: Option<TlsFacts>) -> Protection {
        match Protection::for_client(self.address.ip(), tls.or_else(|| self.tls.clone())) {
            Protection::Required if self.is_believed => Protection::Offered,
            protection => protection,
        }
    }

    /// Makes the preamble for a member: what the client's connection is, and how its own side is encrypted.
    #[must_use]
    pub fn preamble(&self, protocol: Protocol, tls: Option<TlsFacts>) -> Preamble {
        Preamble {
            client: self.address,
            local: self.local,
            protocol,
            tls: tls.or_else(|| self.tls.clone()),
            session: self.session,
            hops: self.hops,
            ticket: None,
        }
    }
}
