//! LMTP on a router: the recipients are split by home cluster, the content streams to all of them at once, and every
//! recipient gets its own reply. A cluster that is down or slow costs its own recipients a temporary failure, no other.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use laniakea_directory::ClusterName;
use tokio::time::timeout;

use super::{
    Exchange, Handover, Kept, MailClient, Outgoing,
    engage::{Errand, Need, ROUNDS},
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
    wire::smtp::{Mailbox, Reply},
};

/// How long one cluster may hold up the others with a piece of content.
const LEG_DEADLINE: Duration = Duration::from_secs(10);

/// One client's mail on its way to several clusters.
pub(super) struct LmtpRelay {
    client: Client,
    context: Arc<RouterContext>,
    recipients: usize,
    /// Replies that are known before the content is: refusals.
    refused: Vec<(usize, Reply)>,
    legs: Vec<Leg>,
    /// Left open by earlier transactions, for the next ones.
    kept: Kept,
}

/// The part of a message that goes to one cluster.
struct Leg {
    member: SocketAddr,
    /// `None` once it failed.
    client: Option<MailClient>,
    /// Which recipients, by their place in the transaction.
    places: Vec<usize>,
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
        Self { client, context, recipients: 0, refused: Vec::new(), legs: Vec::new(), kept: Kept::default() }
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

    async fn begin(&mut self, envelope: Envelope, tls: Option<TlsFacts>) -> Result<(), Reply> {
        (self.recipients, self.refused, self.legs) = (envelope.recipients.len(), Vec::new(), Vec::new());
        let handover =
            Handover { preamble: self.client.preamble(Protocol::Lmtp, tls), hello: envelope.hello.name.clone() };
        let groups = self.split(&envelope).await;
        let plans: Vec<_> = groups
            .into_iter()
            .map(|group| {
                let candidates = self.context.routes.plan(group.key, &group.members, None);
                (group.places, candidates)
            })
            .collect();
        let (context, kept, envelope, handover) = (&self.context, &self.kept, &envelope, &handover);
        let engagements = plans.into_iter().map(|(places, candidates)| async move {
            let recipients: Vec<Recipient> =
                places.iter().filter_map(|&place| envelope.recipients.get(place).cloned()).collect();
            let errand = Errand {
                routes: &context.routes,
                dialect: Dialect::Lmtp,
                handover,
                outgoing: Outgoing::of(envelope, &recipients),
                need: Need::AnyRecipient,
                rounds: ROUNDS,
                kept,
            };
            (errand.engage(&candidates).await, places)
        });
        for (engaged, places) in join_all(engagements).await {
            match engaged {
                Ok(engaged) => {
                    let (accepted, refused): (Vec<_>, Vec<_>) =
                        places.into_iter().zip(engaged.recipients).partition(|(_, reply)| reply.is_success());
                    self.refused.extend(refused);
                    let places = accepted.into_iter().map(|(place, _)| place).collect();
                    self.legs.push(Leg { member: engaged.member, client: Some(engaged.client), places });
                }
                Err(reply) => self.refused.extend(places.into_iter().map(|place| (place, reply.clone()))),
            }
        }
        Ok(())
    }

    async fn content(&mut self, bytes: Vec<u8>) {
        join_all(self.legs.iter_mut().map(|leg| leg.content(&bytes))).await;
    }

    async fn end(&mut self) -> Vec<Reply> {
        let mut replies = vec![lost(); self.recipients];
        let mut legs = std::mem::take(&mut self.legs);
        let ends = join_all(legs.iter_mut().map(Leg::end)).await;
        let answers = legs.iter().zip(ends).flat_map(|(leg, answers)| leg.places.iter().copied().zip(answers));
        for (place, reply) in answers.chain(std::mem::take(&mut self.refused)) {
            if let Some(slot) = replies.get_mut(place) {
                *slot = reply;
            }
        }
        for leg in legs {
            if let Some(client) = leg.client {
                self.kept.put(leg.member, client);
            }
        }
        count(&replies);
        replies
    }

    async fn abort(&mut self) {
        self.legs.clear();
    }
}

impl Leg {
    async fn content(&mut self, bytes: &[u8]) {
        let Some(client) = &mut self.client else { return };
        if !matches!(timeout(LEG_DEADLINE, client.content(bytes)).await, Ok(Ok(()))) {
            tracing::info!(member = %self.member, "a member failed in the middle of a message");
            self.client = None;
        }
    }

    /// One reply per accepted recipient.
    async fn end(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        if let Some(client) = &mut self.client {
            let (arrived, outcome) = client.end(self.places.len()).await;
            replies = arrived;
            if let Err(error) = outcome {
                tracing::info!(member = %self.member, %error, "a member was lost before all its replies");
                self.client = None;
            }
        }
        replies.resize_with(self.places.len(), lost);
        replies
    }
}
