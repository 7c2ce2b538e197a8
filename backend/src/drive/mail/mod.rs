//! Mail at a member: SMTP and LMTP connections, deliveries, and the shards of the queue.

mod courier;
mod deliverer;
mod exchange;
#[cfg(test)]
mod mail_test;
mod runner;
mod spool;
mod submission;

use std::{net::SocketAddr, sync::Arc};

use laniakea_router::{
    drive::{
        Client, Stream,
        mail::{Connection, converse},
    },
    handoff::{Preamble, Protocol, SessionId},
    session::smtp::{Dialect, Peer, Settings},
};

pub use courier::{Courier, Origin};
pub use deliverer::Deliverer;
pub use spool::{Spool, SpoolError};

use self::{exchange::MemberExchange, runner::Workshop};
use super::member::Member;

/// Longer than any trace field of ours.
const TRACE_BYTES_MAX: u64 = 4 << 10;

/// What is fixed for all of a member's mail.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// The name in greetings and trace fields.
    pub host: String,
    /// Where this member takes handed-over connections; what fellows see as the origin of queued mail.
    pub handoff: SocketAddr,
}

/// All of a member's mail.
pub struct MailService {
    settings: MailSettings,
    member: Arc<Member>,
    courier: Arc<Courier>,
    spool: Arc<Spool>,
}

impl MailService {
    /// Mail for a member; nothing runs yet but [`MailService::run`].
    #[must_use]
    pub fn new(member: Arc<Member>, settings: MailSettings) -> Arc<Self> {
        let deliverer = Arc::clone(&member) as Arc<dyn Deliverer>;
        let courier = Arc::new(Courier::new(Arc::clone(&member.front), deliverer, member.cluster_name.clone()));
        Arc::new(Self { spool: Arc::new(Spool::new(Arc::clone(&member))), settings, member, courier })
    }

    /// Runs this member's share of the queue until the member shuts down; returns once its shards are at rest.
    pub async fn run(&self) {
        let origin = Origin {
            client: self.settings.handoff,
            local: self.settings.handoff,
            tls: None,
            session: SessionId(0),
            hello: self.settings.host.clone(),
            hops: 0,
            is_submission: false,
            awaited: false,
            kept: Arc::default(),
        };
        let memory = self.member.front.memory.clone();
        let workshop = Workshop::new(Arc::clone(&self.courier), memory, self.settings.host.clone(), origin);
        Arc::clone(&self.spool).run(Arc::new(workshop), self.member.front.shutdown.clone()).await;
    }

    /// The queue, for the admin API.
    #[must_use]
    pub fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    /// Serves a client that reached this member directly.
    pub async fn serve_client(self: Arc<Self>, stream: Stream, client: Client, dialect: Dialect) {
        let tls = stream.tls_facts().or_else(|| client.tls.clone());
        let origin = Origin {
            client: client.address,
            local: client.local,
            tls,
            session: client.session,
            hello: String::new(),
            hops: 0,
            is_submission: false,
            awaited: true,
            kept: Arc::default(),
        };
        self.serve(stream, Peer::Client, dialect, origin, client.is_believed).await;
    }

    /// Serves a connection that a router or a fellow member handed over, from behind its preamble.
    pub async fn serve_handoff(self: Arc<Self>, stream: Stream, preamble: Preamble) {
        let dialect = match preamble.protocol {
            Protocol::Lmtp => Dialect::Lmtp,
            Protocol::Smtp | Protocol::Submission | Protocol::Imap | Protocol::Pop3 | Protocol::Http => Dialect::Smtp,
        };
        let origin = Origin {
            client: preamble.client,
            local: preamble.local,
            tls: preamble.tls,
            session: preamble.session,
            hello: String::new(),
            hops: preamble.hops,
            is_submission: false,
            awaited: true,
            kept: Arc::default(),
        };
        self.serve(stream, Peer::Router, dialect, origin, false).await;
    }

    async fn serve(
        self: Arc<Self>,
        stream: Stream,
        peer: Peer,
        dialect: Dialect,
        origin: Origin,
        believes_claims: bool,
    ) {
        let front = &self.member.front;
        // What a fellow let in has grown by its trace field.
        let slack = if origin.hops > 0 { TRACE_BYTES_MAX } else { 0 };
        let starttls = (peer == Peer::Client).then(|| front.tls.clone());
        let settings = Settings {
            dialect,
            peer,
            host: self.settings.host.clone(),
            domain: front.domain.clone(),
            message_bytes_max: front.limits.message_bytes_max + slack,
            recipients_max: front.limits.recipients_max,
            starttls: starttls.is_some(),
            believes_claims,
            submitter: None,
            tls: origin.tls.is_some(),
        };
        let connection = Connection { stream, tls: starttls, unread: Vec::new(), shutdown: front.shutdown.clone() };
        let tls = origin.tls.clone();
        let exchange = MemberExchange::new(Arc::clone(&self), dialect, origin);
        let farewell = converse(connection, settings, tls, exchange).await;
        tracing::debug!(?farewell, "mail connection ended");
    }
}
