//! Carries one message to its recipients: into accounts owned here, to the owners of others, to other clusters.
//!
//! All recipients at once, each with an outcome of its own. Whatever goes wrong is temporary unless somebody positively
//! knows better; delivery ids make it safe to come again.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all, stream};
use laniakea_directory::{AccountRecord, ClusterName, Directory, LookupError};
use laniakea_router::{
    drive::{
        RouterContext,
        mail::{Destination, Engaged, Errand, Handover, Kept, MailClient, Need, Outgoing, destination, engage_foreign},
    },
    handoff::{Preamble, Protocol, SessionId, TlsFacts},
    route::RouteKey,
    session::smtp::{Dialect, Recipient},
    wire::smtp::Reply,
};

use super::deliverer::Deliverer;
use crate::{
    deliver::{Addressee, Delivery, DeliveryOutcome, HOPS_MAX, Message, NextHop, Outcome, group, return_path},
    mailbox::BodyRecord,
};

/// Deliveries of one message under way at once.
const DELIVERIES_MAX: usize = 16;
/// How often a recipient is tried whose owner could not be reached: as long as a takeover takes, about.
const ROUNDS_MAX: usize = 5;
/// Between two rounds.
const ROUND_PAUSE: Duration = Duration::from_millis(400);
/// Messages up to this size are summarised where they are; the pass over larger ones would hold up other connections.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Knows the ways mail goes.
pub struct Courier {
    front: Arc<RouterContext>,
    deliverer: Arc<dyn Deliverer>,
    cluster: ClusterName,
}

/// Whose mail it is and how it came here; goes along to the next member.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Where the client connected from.
    pub client: SocketAddr,
    /// What it connected to.
    pub local: SocketAddr,
    /// How its side is encrypted.
    pub tls: Option<TlsFacts>,
    /// The session's name in every log.
    pub session: SessionId,
    /// What it called itself.
    pub hello: String,
    /// How often the mail was passed on between members.
    pub hops: u8,
    /// Whether an account of ours has logged in to send it.
    pub is_submission: bool,
    /// Whether the sender waits: not for what the queue tries again.
    pub awaited: bool,
    /// Connections to other members that carry this origin.
    pub kept: Arc<Kept>,
}

/// A recipient of whom it is known who is next.
struct Routed {
    place: usize,
    /// What members are chosen by; none for other sites.
    key: Option<RouteKey>,
    hop: NextHop,
}

impl Courier {
    /// A courier for the members of one cluster.
    #[must_use]
    pub fn new(front: Arc<RouterContext>, deliverer: Arc<dyn Deliverer>, cluster: ClusterName) -> Self {
        Self { front, deliverer, cluster }
    }

    /// The directory that says who is who.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.front.directory
    }

    /// The installation's domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.front.domain
    }

    /// Whether mail for other sites has somebody who takes it.
    #[must_use]
    pub fn has_way_out(&self) -> bool {
        self.front.smarthost.load().is_some()
    }

    /// Carries a message to its recipients; one outcome for each, in order.
    pub async fn carry(&self, message: &Message, addressees: &[Addressee], origin: &Origin) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::unavailable(); addressees.len()];
        let record = self.record(message, addressees).await;
        let mut waiting: Vec<usize> = (0..addressees.len()).collect();
        for round in 0..ROUNDS_MAX {
            if round > 0 {
                tokio::time::sleep(ROUND_PAUSE).await;
            }
            let tried = self.round(message, record.as_ref(), addressees, &waiting, origin).await;
            waiting.clear();
            for (place, outcome, try_again) in tried {
                if try_again {
                    waiting.push(place);
                }
                if let Some(slot) = outcomes.get_mut(place) {
                    *slot = outcome;
                }
            }
            if waiting.is_empty() {
                break;
            }
        }
        for outcome in &outcomes {
            metrics::counter!("laniakea_member_deliveries_total", "result" => outcome.label()).increment(1);
        }
        outcomes
    }

    /// Tries some recipients once: where, what became of it, and whether a moment's patience may help.
    async fn round(
        &self,
        message: &Message,
        record: Option<&BodyRecord>,
        addressees: &[Addressee],
        places: &[usize],
        origin: &Origin,
    ) -> Vec<(usize, Outcome, bool)> {
        let mut results = Vec::with_capacity(places.len());
        let mut onward = Vec::new();
        let first_steps =
            stream::iter(places.iter().copied())
                .map(|place| async move {
                    (place, self.first_step(record, addressees.get(place), place, origin.awaited).await)
                })
                .buffer_unordered(DELIVERIES_MAX);
        let mut first_steps = std::pin::pin!(first_steps);
        while let Some((place, step)) = first_steps.next().await {
            match step {
                Ok(routed) => onward.push(routed),
                Err(outcome) => results.push((place, outcome, false)),
            }
        }
        let keys: Vec<(usize, Option<RouteKey>)> = onward.iter().map(|routed| (routed.place, routed.key)).collect();
        let groups = group(onward.into_iter().map(|routed| (routed.place, routed.hop)));
        let legs = groups.into_iter().map(|(hop, places)| {
            let key = keys.iter().find(|(place, _)| Some(place) == places.first()).and_then(|(_, key)| *key);
            let recipients: Vec<Recipient> = places.iter().filter_map(|place| named(addressees.get(*place)?)).collect();
            async move {
                // The owner may have died: the next round claims the account anew.
                let try_again = matches!(hop, NextHop::Owner(_));
                let outcomes = self.pass_on(message, &recipients, hop, key, origin).await;
                let temporary = |outcome: &Outcome| matches!(outcome, Outcome::Temporary(_));
                places.into_iter().zip(outcomes).map(move |(place, outcome)| {
                    let again = try_again && temporary(&outcome);
                    (place, outcome, again)
                })
            }
        });
        for leg in join_all(legs).await {
            results.extend(leg);
        }
        results
    }

    /// Finds a recipient's account and, if it is of this cluster, delivers: the outcome, or who is next.
    async fn first_step(
        &self,
        record: Option<&BodyRecord>,
        addressee: Option<&Addressee>,
        place: usize,
        awaited: bool,
    ) -> Result<Routed, Outcome> {
        let addressee = addressee.ok_or_else(Outcome::unavailable)?;
        let recipient = &addressee.recipient.address;
        let account = match destination(self.directory(), recipient, self.domain()).await.map_err(Outcome::of_reply)? {
            Destination::Account(account) => account,
            Destination::Outside => return Ok(Routed { place, key: None, hop: NextHop::Outside }),
        };
        let key = Some(RouteKey::of_account(account.id));
        let hop = self.next_hop(&account).await.map_err(|error| {
            tracing::info!(account = %account.id, %error, "the home of an account could not be looked up");
            Outcome::unavailable()
        })?;
        if let NextHop::Account(_) = hop {
            let body = record.cloned().ok_or_else(too_large)?;
            let delivery = Delivery { id: addressee.delivery_id, body, awaited };
            return match self.deliverer.deliver(&account, delivery).await {
                DeliveryOutcome::Delivered => Err(Outcome::Delivered),
                DeliveryOutcome::Elsewhere(owner) => Ok(Routed { place, key, hop: NextHop::Owner(owner) }),
                DeliveryOutcome::Temporary => Err(Outcome::unavailable()),
                DeliveryOutcome::StorageFull => {
                    Err(Outcome::Temporary(Reply::new(452, (4, 3, 1), "the storage is full")))
                }
                DeliveryOutcome::OverQuota => Err(Outcome::OverQuota),
                DeliveryOutcome::Refused => Err(Outcome::Permanent(Reply::new(550, (5, 2, 0), "account refuses mail"))),
            };
        }
        Ok(Routed { place, key, hop })
    }

    async fn next_hop(&self, account: &AccountRecord) -> Result<NextHop, LookupError> {
        let home = ClusterName::new(&account.mail_host);
        if home == self.cluster {
            return Ok(NextHop::Account(account.id));
        }
        Ok(match self.front.directory.cluster(&home).await? {
            Some(_) => NextHop::Cluster(home),
            None => NextHop::Foreign(account.mail_host.clone()),
        })
    }

    /// Has one of these fellow members take responsibility for the whole message, in its accounts or its queue.
    pub async fn entrust(
        &self,
        message: &Message,
        addressees: &[Addressee],
        fellows: &[SocketAddr],
        origin: &Origin,
    ) -> Reply {
        let unavailable = || Reply::new(451, (4, 3, 0), "no queue is available");
        if origin.hops >= HOPS_MAX || fellows.is_empty() {
            return unavailable();
        }
        let recipients: Vec<Recipient> = addressees.iter().filter_map(named).collect();
        let outgoing = Outgoing {
            reverse_path: message.reverse_path.as_ref(),
            parameters: &message.parameters,
            recipients: &recipients,
        };
        // What was kept open speaks LMTP.
        let origin = Origin { kept: Arc::default(), ..origin.clone() };
        match self.engage(Dialect::Smtp, fellows, outgoing, &origin).await {
            Ok(Engaged { member, client, recipients }) => {
                let transferred = self.front.routes.unless_lost(member, transfer(client, recipients, message));
                let outcomes = transferred.await.map(|(outcomes, _)| outcomes).unwrap_or_default();
                outcomes.first().map_or_else(unavailable, Outcome::reply)
            }
            Err(reply) => reply,
        }
    }

    /// Hands the message to another server, for some of its recipients.
    async fn pass_on(
        &self,
        message: &Message,
        recipients: &[Recipient],
        hop: NextHop,
        key: Option<RouteKey>,
        origin: &Origin,
    ) -> Vec<Outcome> {
        let all = |outcome: Outcome| vec![outcome; recipients.len()];
        if origin.hops >= HOPS_MAX {
            return all(Outcome::Temporary(Reply::new(451, (4, 4, 6), "passed on too often")));
        }
        let outgoing =
            Outgoing { reverse_path: message.reverse_path.as_ref(), parameters: &message.parameters, recipients };
        let engaged = match hop {
            NextHop::Account(_) => return all(Outcome::unavailable()),
            NextHop::Owner(owner) => self.engage(Dialect::Lmtp, &[owner], outgoing, origin).await.map(at_member),
            NextHop::Cluster(cluster) => {
                let members = self.front.routes.members(&cluster).await.unwrap_or_default();
                let key = key.unwrap_or_else(|| RouteKey::of_name(cluster.as_str()));
                let candidates = self.front.routes.plan(key, &members, None);
                self.engage(Dialect::Lmtp, &candidates, outgoing, origin).await.map(at_member)
            }
            NextHop::Foreign(host) => {
                let Handover { preamble, .. } = origin.handover(Dialect::Smtp);
                let servers = self.front.foreign.load_full();
                let engaged = engage_foreign(&servers, &host, &preamble, self.domain(), outgoing).await;
                engaged.map(|(client, recipients)| (None, client, recipients))
            }
            NextHop::Outside => match self.front.smarthost.load_full() {
                Some(smarthost) => {
                    let engaged = smarthost.engage(self.domain(), outgoing).await;
                    engaged.map(|(client, recipients)| (None, client, recipients))
                }
                None => Err(no_way_out()),
            },
        };
        match engaged {
            // A server of another kind is not spoken to often enough to be kept, and is not looked after.
            Ok((None, client, recipients)) => transfer(client, recipients, message).await.0,
            Ok((Some(member), client, recipients)) => {
                // What it did with the message nobody knows; delivery ids make it safe to come again.
                let transferred = self.front.routes.unless_lost(member, transfer(client, recipients, message));
                let Some((outcomes, client)) = transferred.await else { return all(Outcome::unavailable()) };
                if let Some(client) = client {
                    origin.kept.put(member, client);
                }
                outcomes
            }
            Err(reply) => all(Outcome::of_reply(reply)),
        }
    }

    async fn engage(
        &self,
        dialect: Dialect,
        candidates: &[SocketAddr],
        outgoing: Outgoing<'_>,
        origin: &Origin,
    ) -> Result<Engaged, Reply> {
        let handover = origin.handover(dialect);
        let need = match dialect {
            Dialect::Smtp => Need::EveryRecipient,
            Dialect::Lmtp => Need::AnyRecipient,
        };
        let errand = Errand {
            routes: &self.front.routes,
            dialect,
            handover: &handover,
            outgoing,
            need,
            rounds: 1,
            kept: &origin.kept,
        };
        errand.engage(candidates).await
    }

    /// The message as accounts keep it; one pass over it, shared by all recipients of this cluster.
    async fn record(&self, message: &Message, addressees: &[Addressee]) -> Option<BodyRecord> {
        if addressees.is_empty() {
            return None;
        }
        let mut content = return_path(message.reverse_path.as_ref()).into_bytes();
        content.extend_from_slice(&message.content);
        if content.len() <= INLINE_BYTES_MAX {
            return BodyRecord::new(&content);
        }
        tokio::task::spawn_blocking(move || BodyRecord::new(&content)).await.ok().flatten()
    }
}

impl Origin {
    fn handover(&self, dialect: Dialect) -> Handover {
        let preamble = Preamble {
            client: self.client,
            local: self.local,
            protocol: match dialect {
                Dialect::Smtp => Protocol::Smtp,
                Dialect::Lmtp => Protocol::Lmtp,
            },
            tls: self.tls.clone(),
            session: self.session,
            hops: self.hops.saturating_add(1),
            ticket: None,
        };
        Handover { preamble, hello: self.hello.clone() }
    }
}

/// A connection that another message may follow on.
fn at_member(engaged: Engaged) -> (Option<SocketAddr>, MailClient, Vec<Reply>) {
    (Some(engaged.member), engaged.client, engaged.recipients)
}

/// The recipient with the name of its delivery.
fn named(addressee: &Addressee) -> Option<Recipient> {
    let mut recipient = addressee.recipient.clone();
    recipient.parameters.delivery_id = Some(addressee.delivery_id);
    Some(recipient)
}

/// Sends the content: the outcomes of all recipients, refused ones included, and the connection if it is still good.
async fn transfer(
    mut client: MailClient,
    recipients: Vec<Reply>,
    message: &Message,
) -> (Vec<Outcome>, Option<MailClient>) {
    let accepted = recipients.iter().filter(|reply| reply.is_success()).count();
    let expected = match client.dialect() {
        Dialect::Smtp => 1,
        Dialect::Lmtp => accepted,
    };
    let (mut replies, outcome) = match client.content(&message.content).await {
        Ok(()) => client.end(expected).await,
        Err(error) => (Vec::new(), Err(error)),
    };
    if let Err(error) = &outcome {
        tracing::info!(%error, "a server was lost in the middle of a message");
    }
    if let (Dialect::Smtp, Some(reply)) = (client.dialect(), replies.first().cloned()) {
        replies = vec![reply; accepted];
    }
    let mut answers = replies.into_iter();
    let settle = |reply: Reply| match reply.is_success() {
        true => answers.next().map_or_else(Outcome::unavailable, Outcome::of_reply),
        false => Outcome::of_reply(reply),
    };
    (recipients.into_iter().map(settle).collect(), outcome.is_ok().then_some(client))
}

/// Mail for other sites, and nobody to take it.
pub(super) fn no_way_out() -> Reply {
    Reply::new(550, (5, 7, 1), "no mail to other sites from here: no smarthost is configured")
}

fn too_large() -> Outcome {
    Outcome::Permanent(Reply::new(552, (5, 3, 4), "message too large"))
}
