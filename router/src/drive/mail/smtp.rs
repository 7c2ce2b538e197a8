//! SMTP on a router: the whole message goes to one member, which delivers what is its own and queues the rest.

use std::{net::SocketAddr, sync::Arc};

use laniakea_directory::AccountRecord;

use super::{
    Exchange, Handover, Kept, claimed,
    leg::{self, ContentCopy, Leg, Post},
    resolve,
};
use crate::{
    drive::{
        context::{Client, RouterContext},
        routes::Home,
    },
    handoff::{Protocol, TlsFacts},
    route::RouteKey,
    session::smtp::{Dialect, Envelope, Recipient},
    wire::{
        claims::Claims,
        smtp::{Mailbox, Reply},
    },
};

/// One client's mail on its way to members.
pub(super) struct SmtpRelay {
    client: Client,
    /// What a proxy said of its client last.
    claims: Claims,
    context: Arc<RouterContext>,
    /// The message at hand.
    leg: Option<Leg>,
    copy: ContentCopy,
    /// Left open by earlier transactions, for the next ones.
    kept: Kept,
}

impl SmtpRelay {
    pub(super) fn new(client: Client, context: Arc<RouterContext>) -> Self {
        Self {
            client,
            claims: Claims::default(),
            context,
            leg: None,
            copy: ContentCopy::default(),
            kept: Kept::default(),
        }
    }

    /// The members to try: those of the first recipient's home cluster, then everybody else, for any cluster can queue
    /// mail for any other.
    async fn candidates(&self, account: &AccountRecord) -> Vec<SocketAddr> {
        let (routes, key) = (&self.context.routes, RouteKey::of_account(account.id));
        let (mut candidates, mut at_home) = (Vec::new(), Vec::new());
        if let Ok(Home::Cluster(_, members)) = routes.home(account).await {
            candidates = routes.plan(key, &members, Some(account.id));
            at_home = members;
        }
        for cluster in self.context.directory.clusters().await.unwrap_or_default() {
            if let Ok(members) = routes.members(&cluster.name).await {
                candidates.extend(routes.plan(key, &members, None));
            }
        }
        // Whoever is doubted now may be back when the member that takes the message is lost with it.
        candidates.extend(at_home.iter().map(|member| member.address));
        candidates
    }
}

impl Exchange for SmtpRelay {
    async fn resolve(&mut self, recipient: Recipient) -> Result<Mailbox, Reply> {
        resolve(&self.context.directory, &recipient.address, &self.context.domain).await?;
        Ok(recipient.address)
    }

    async fn begin(&mut self, mut envelope: Envelope, tls: Option<TlsFacts>) -> Result<(), Reply> {
        let first = envelope.recipients.first().ok_or_else(|| Reply::new(503, (5, 5, 1), "no valid recipients"))?;
        let account = resolve(&self.context.directory, &first.address, &self.context.domain).await?;
        if envelope.claims != self.claims {
            // What was kept open speaks for another client.
            (self.claims, self.kept) = (envelope.claims.clone(), Kept::default());
        }
        let handover = Handover {
            preamble: claimed(&self.client, &envelope.claims).preamble(Protocol::Smtp, tls),
            hello: envelope.hello.name.clone(),
        };
        leg::name(&mut envelope.recipients);
        let places = (0..envelope.recipients.len()).collect();
        let mut leg = Leg::new(Dialect::Smtp, handover, envelope, places, self.candidates(&account).await);
        leg.engage(Post { routes: &self.context.routes, kept: &self.kept }).await?;
        self.copy = ContentCopy::begin(&self.context.memory);
        self.leg = Some(leg);
        Ok(())
    }

    async fn content(&mut self, bytes: Vec<u8>) {
        let Some(leg) = &mut self.leg else { return };
        self.copy.push(&self.context.memory, &bytes);
        leg.content(Post { routes: &self.context.routes, kept: &self.kept }, &bytes).await;
    }

    async fn end(&mut self) -> Vec<Reply> {
        let (leg, copy) = (self.leg.take(), std::mem::take(&mut self.copy));
        let Some(leg) = leg else { return vec![lost()] };
        let answers = leg.end(Post { routes: &self.context.routes, kept: &self.kept }, copy.bytes()).await;
        // Without a reply nobody knows whether a member took it; the client must come again (RFC 5321 §6.1).
        let reply = answers.into_iter().next().map_or_else(lost, |(_, reply)| reply);
        count(std::slice::from_ref(&reply));
        vec![reply]
    }

    async fn abort(&mut self) {
        (self.leg, self.copy) = Default::default();
    }
}

/// Counts what members said to messages.
pub(super) fn count(replies: &[Reply]) {
    for reply in replies {
        let result = if reply.is_success() {
            "accepted"
        } else if reply.is_temporary() {
            "deferred"
        } else {
            "refused"
        };
        metrics::counter!("laniakea_router_mail_replies_total", "result" => result).increment(1);
    }
}

/// The member died with the message.
pub(super) fn lost() -> Reply {
    metrics::counter!("laniakea_router_mail_replies_total", "result" => "lost").increment(1);
    Reply::new(451, (4, 3, 0), "the member was lost, try again")
}
