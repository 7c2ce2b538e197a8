//! LMTP on a router: the recipients are split by home cluster, the content streams to all of them at once, and every
//! recipient gets its own reply. A cluster that is down or slow costs its own recipients a temporary failure, no other.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use laniakea_directory::ClusterName;
use tokio::time::timeout;

use super::{
    Exchange, Handover, Kept, claimed,
    leg::{self, Answer, ContentCopy, Leg, Post},
    resolve,
    smtp::{count, lost},
};
use crate::{
    drive::{
        context::{Client, RouterContext},
        routes::Home,
    },
    handoff::{Protocol, TlsFacts},
    route::{Member, RouteKey},
    session::smtp::{Dialect, Envelope, Recipient},
    wire::{
        claims::Claims,
        smtp::{Mailbox, Reply},
    },
};

/// How long one cluster may hold up the others with a piece of content.
const LEG_DEADLINE: Duration = Duration::from_secs(10);

/// One client's mail on its way to several clusters.
pub(super) struct LmtpRelay {
    client: Client,
    /// What a proxy said of its client last.
    claims: Claims,
    context: Arc<RouterContext>,
    recipients: usize,
    /// Replies that are known before the content is: refusals.
    refused: Vec<Answer>,
    /// One for each home cluster.
    legs: Vec<Leg>,
    copy: ContentCopy,
    /// Left open by earlier transactions, for the next ones.
    kept: Kept,
}

/// The recipients of one home cluster.
struct Group {
    cluster: ClusterName,
    key: RouteKey,
    members: Vec<Member>,
    places: Vec<usize>,
}

impl LmtpRelay {
    pub(super) fn new(client: Client, context: Arc<RouterContext>) -> Self {
        let (refused, legs, copy, kept) = Default::default();
        Self { client, claims: Claims::default(), context, recipients: 0, refused, legs, copy, kept }
    }

    /// Splits the recipients by home cluster; what has none is refused at once.
    async fn split(&mut self, envelope: &Envelope) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (place, recipient) in envelope.recipients.iter().enumerate() {
            match self.home(recipient).await {
                Ok((cluster, key, members)) => match groups.iter_mut().find(|group| group.cluster == cluster) {
                    Some(group) => group.places.push(place),
                    None => groups.push(Group { cluster, key, members, places: vec![place] }),
                },
                Err(reply) => self.refused.push((place, reply)),
            }
        }
        groups
    }

    async fn home(&self, recipient: &Recipient) -> Result<(ClusterName, RouteKey, Vec<Member>), Reply> {
        let account = resolve(&self.context.directory, &recipient.address, &self.context.domain).await?;
        let key = RouteKey::of_account(account.id);
        let home = match self.context.routes.home(&account).await {
            // Any of our clusters can pass mail on to a foreign server.
            Ok(Home::Foreign(_)) => self.context.routes.any_home(key).await,
            other => other,
        };
        match home {
            Ok(Home::Cluster(cluster, members)) => Ok((cluster, key, members)),
            Ok(Home::Foreign(_)) | Err(_) => Err(Reply::new(451, (4, 3, 0), "home cluster unknown")),
        }
    }
}

impl Exchange for LmtpRelay {
    async fn resolve(&mut self, recipient: Recipient) -> Result<Mailbox, Reply> {
        resolve(&self.context.directory, &recipient.address, &self.context.domain).await?;
        Ok(recipient.address)
    }

    async fn begin(&mut self, mut envelope: Envelope, tls: Option<TlsFacts>) -> Result<(), Reply> {
        (self.recipients, self.refused, self.legs) = (envelope.recipients.len(), Vec::new(), Vec::new());
        self.copy = ContentCopy::begin(&self.context.memory);
        if envelope.claims != self.claims {
            // What was kept open speaks for another client.
            (self.claims, self.kept) = (envelope.claims.clone(), Kept::default());
        }
        let handover = Handover {
            preamble: claimed(&self.client, &envelope.claims).preamble(Protocol::Lmtp, tls),
            hello: envelope.hello.name.clone(),
        };
        leg::name(&mut envelope.recipients);
        let groups = self.split(&envelope).await;
        let post = Post { routes: &self.context.routes, kept: &self.kept };
        let engagements = groups.into_iter().map(|Group { key, members, places, .. }| {
            let mut candidates = post.routes.plan(key, &members, None);
            // Whoever is doubted now may be back when the member that takes the message is lost with it.
            candidates.extend(members.iter().map(|member| member.address));
            let recipients = places.iter().filter_map(|&place| envelope.recipients.get(place).cloned()).collect();
            let envelope = Envelope { recipients, ..envelope.clone() };
            let mut leg = Leg::new(Dialect::Lmtp, handover.clone(), envelope, places.clone(), candidates);
            async move {
                match leg.engage(post).await {
                    Ok(refused) => (Some(leg), refused),
                    Err(reply) => (None, places.into_iter().map(|place| (place, reply.clone())).collect()),
                }
            }
        });
        for (leg, refused) in join_all(engagements).await {
            self.legs.extend(leg);
            self.refused.extend(refused);
        }
        Ok(())
    }

    async fn content(&mut self, bytes: Vec<u8>) {
        self.copy.push(&self.context.memory, &bytes);
        let post = Post { routes: &self.context.routes, kept: &self.kept };
        let bytes = bytes.as_slice();
        join_all(self.legs.iter_mut().map(|leg| async move {
            if timeout(LEG_DEADLINE, leg.content(post, bytes)).await.is_err() {
                leg.leave();
            }
        }))
        .await;
    }

    async fn end(&mut self) -> Vec<Reply> {
        let mut replies = vec![lost(); self.recipients];
        let (legs, copy) = (std::mem::take(&mut self.legs), std::mem::take(&mut self.copy));
        let post = Post { routes: &self.context.routes, kept: &self.kept };
        let ends = join_all(legs.into_iter().map(|leg| leg.end(post, copy.bytes()))).await;
        for (place, reply) in ends.into_iter().flatten().chain(std::mem::take(&mut self.refused)) {
            if let Some(slot) = replies.get_mut(place) {
                *slot = reply;
            }
        }
        count(&replies);
        replies
    }

    async fn abort(&mut self) {
        self.legs.clear();
        self.copy = ContentCopy::default();
    }
}
