//! What all connections of a router share.

use std::{net::SocketAddr, sync::Arc};

use ipnet::IpNet;
use laniakea_config::Limits;
use laniakea_directory::Directory;
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{ServerTls, listener::Gate, mail::Budget, routes::Routes};
use crate::{
    handoff::{Preamble, Protocol, SessionId, TlsFacts},
    session::Suspicion,
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
    /// Cancelled when no new client is to be taken and idle ones are to leave.
    pub shutdown: CancellationToken,
    /// Cancelled when forwarded connections are to end, too.
    pub drained: CancellationToken,
    /// The tasks of connections, waited for when the router drains.
    pub tasks: TaskTracker,
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
}

impl Client {
    /// Makes the preamble for a member: what the client's connection is, and how its own side is encrypted.
    #[must_use]
    pub fn preamble(&self, protocol: Protocol, tls: Option<TlsFacts>) -> Preamble {
        Preamble {
            client: self.address,
            local: self.local,
            protocol,
            tls: tls.or_else(|| self.tls.clone()),
            session: self.session,
            hops: 0,
            ticket: None,
        }
    }
}
