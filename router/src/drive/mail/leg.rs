//! A message on its way to a member, and to another one if the first is lost with it.
//!
//! Before the reply nobody knows what became of a message whose member fell silent or broke the connection. So the same
//! transaction is repeated elsewhere, with its deliveries under the same names: an account takes each once, whether the
//! lost member had finished, is taken over in the middle, or wakes up later. Who is asked must see the names before the
//! first attempt: [`name`].

use std::{collections::HashSet, net::SocketAddr};

use super::{
    Handover, Kept, MailClient, Outgoing,
    budget::{Budget, Share},
    engage::{Engaged, Errand, Need, ROUNDS},
};
use crate::{
    drive::Routes,
    session::smtp::{Dialect, Envelope, Recipient, delivery_ids},
    wire::smtp::Reply,
};

/// Members that one message is sent to at most; that many do not die one after the other within a minute.
const TRIES_MAX: usize = 3;

/// Larger messages are not kept to be repeated: their senders try again, which costs them a duplicate at worst.
const COPY_BYTES_MAX: u64 = 1 << 20;

/// A reply, and which recipient of the client's transaction it is for.
pub(super) type Answer = (usize, Reply);

/// What the legs of one client's mail have in common.
#[derive(Clone, Copy)]
pub(super) struct Post<'a> {
    pub(super) routes: &'a Routes,
    /// Connections left open by earlier transactions, for the next ones.
    pub(super) kept: &'a Kept,
}

/// The part of a message that goes to one member.
pub(super) struct Leg {
    dialect: Dialect,
    handover: Handover,
    /// With the recipients that have no reply yet.
    envelope: Envelope,
    /// Which recipients of the client's transaction these are.
    places: Vec<usize>,
    candidates: Vec<SocketAddr>,
    /// `None` once the member is lost.
    engaged: Option<(SocketAddr, MailClient)>,
}

/// Gives the deliveries of a transaction their names.
pub(super) fn name(recipients: &mut [Recipient]) {
    let ids = delivery_ids(recipients, rand::random());
    for (recipient, id) in recipients.iter_mut().zip(ids) {
        recipient.parameters.delivery_id = Some(id);
    }
}

impl Leg {
    /// A leg that no member has taken yet. `envelope` has the recipients at `places` of the client's transaction.
    /// Of a candidate that is named more than once the first place counts.
    pub(super) fn new(
        dialect: Dialect,
        handover: Handover,
        envelope: Envelope,
        places: Vec<usize>,
        mut candidates: Vec<SocketAddr>,
    ) -> Self {
        let mut seen = HashSet::new();
        candidates.retain(|member| seen.insert(*member));
        Self { dialect, handover, envelope, places, candidates, engaged: None }
    }

    /// Finds a member that takes the message; returns its refusals of single recipients.
    ///
    /// # Errors
    /// If nobody takes it now.
    pub(super) async fn engage(&mut self, post: Post<'_>) -> Result<Vec<Answer>, Reply> {
        let errand = Errand {
            routes: post.routes,
            dialect: self.dialect,
            handover: &self.handover,
            outgoing: Outgoing::of(&self.envelope, &self.envelope.recipients),
            need: match self.dialect {
                Dialect::Smtp => Need::EveryRecipient,
                Dialect::Lmtp => Need::AnyRecipient,
            },
            rounds: ROUNDS,
            kept: post.kept,
        };
        let Engaged { member, client, recipients } = errand.engage(&self.candidates).await?;
        self.engaged = Some((member, client));
        let (places, asked) = (std::mem::take(&mut self.places), std::mem::take(&mut self.envelope.recipients));
        let mut refused = Vec::new();
        for ((place, recipient), reply) in places.into_iter().zip(asked).zip(recipients) {
            if reply.is_success() {
                self.places.push(place);
                self.envelope.recipients.push(recipient);
            } else {
                refused.push((place, reply));
            }
        }
        Ok(refused)
    }

    /// Sends some content; what goes wrong here shows at the end.
    pub(super) async fn content(&mut self, post: Post<'_>, bytes: &[u8]) {
        let Some((member, client)) = &mut self.engaged else { return };
        let member = *member;
        match post.routes.unless_lost(member, client.content(bytes)).await {
            Some(Ok(())) => return,
            Some(Err(error)) => tracing::info!(%member, %error, "a member failed in the middle of a message"),
            None => tracing::info!(%member, "a member fell silent in the middle of a message"),
        }
        self.lose(member, post.routes);
    }

    /// Gives the member up; without its end it forgets the message.
    pub(super) fn leave(&mut self) {
        self.engaged = None;
    }

    /// Ends the message and hears what became of it, at other members if need be; `copy` is all of its content.
    /// In SMTP one answer is for all recipients. Who has none was lost.
    pub(super) async fn end(mut self, post: Post<'_>, copy: Option<&[u8]>) -> Vec<Answer> {
        let mut answers = self.hear(post).await;
        for _ in 1..TRIES_MAX {
            let Some(copy) = copy.filter(|_| !self.places.is_empty()) else { break };
            metrics::counter!("laniakea_router_mail_repeated_total").increment(1);
            match self.engage(post).await {
                Ok(refused) => answers.extend(refused),
                Err(reply) => {
                    answers.extend(self.places.iter().map(|place| (*place, reply.clone())));
                    break;
                }
            }
            self.content(post, copy).await;
            answers.extend(self.hear(post).await);
        }
        answers
    }

    /// Ends the content and waits for what the member says to it.
    async fn hear(&mut self, post: Post<'_>) -> Vec<Answer> {
        let Some((member, mut client)) = self.engaged.take() else { return Vec::new() };
        let expected = match self.dialect {
            Dialect::Smtp => 1,
            Dialect::Lmtp => self.places.len(),
        };
        let Some((replies, outcome)) = post.routes.unless_lost(member, client.end(expected)).await else {
            tracing::info!(%member, "a member fell silent before its reply");
            self.lose(member, post.routes);
            return Vec::new();
        };
        match outcome {
            Ok(()) => post.kept.put(member, client),
            Err(error) => {
                tracing::info!(%member, %error, "a member was lost before all its replies");
                self.lose(member, post.routes);
            }
        }
        let answered = match self.dialect {
            Dialect::Smtp if !replies.is_empty() => self.places.len(),
            Dialect::Smtp | Dialect::Lmtp => replies.len().min(self.places.len()),
        };
        self.envelope.recipients.drain(..answered.min(self.envelope.recipients.len()));
        self.places.drain(..answered).zip(replies).collect()
    }

    /// The member is lost with the message: others come first now, and whoever is doubted only if nobody else is left.
    fn lose(&mut self, member: SocketAddr, routes: &Routes) {
        self.engaged = None;
        self.candidates.sort_by_key(|candidate| *candidate == member);
        if self.candidates.iter().any(|candidate| routes.is_up(*candidate)) {
            self.candidates.retain(|candidate| routes.is_up(*candidate));
        }
    }
}

/// The content of a message as far as it has come, for as long as it may have to be sent again.
#[derive(Default)]
pub(super) struct ContentCopy(Option<(Vec<u8>, Share)>);

impl ContentCopy {
    /// Begins with nothing.
    pub(super) fn begin(memory: &Budget) -> Self {
        Self(memory.nothing().ok().map(|share| (Vec::new(), share)))
    }

    /// Takes in some content. A message that has grown too large, or for which there is no room, is forgotten.
    pub(super) fn push(&mut self, memory: &Budget, bytes: &[u8]) {
        let Some((copy, share)) = &mut self.0 else { return };
        let size = copy.len() as u64 + bytes.len() as u64;
        if size > COPY_BYTES_MAX || memory.grow(share, size).is_err() {
            self.0 = None;
            return;
        }
        copy.extend_from_slice(bytes);
    }

    /// All of the content, if it was kept.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        self.0.as_ref().map(|(copy, _)| copy.as_slice())
    }
}
