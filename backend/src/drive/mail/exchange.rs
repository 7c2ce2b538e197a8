//! SMTP and LMTP at a member: takes a message into memory, marks where it came from, and takes responsibility for it.
//!
//! **Rules.** SMTP has one reply for all recipients: a message for one recipient is delivered at once and queued only if
//! that fails for the moment; a message for several is queued first. LMTP has a reply for each: what cannot be delivered
//! now is the sender's to keep, never ours to queue as well.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use laniakea_router::{
    drive::mail::{Destination, Exchange, Share, destination, relaying_denied},
    handoff::TlsFacts,
    session::smtp::{Dialect, Envelope, Recipient},
    wire::smtp::{Mailbox, Reply},
};

use super::{
    MailService,
    courier::{Origin, no_way_out},
    spool::SpoolError,
};
use crate::{
    deliver::{Addressee, Message, Outcome, RECEIVED_MAX, Trace, name_deliveries, received_count},
    drive::clock,
    queue::{LIFETIME, NewEntry},
};

/// One connection's mail.
pub(super) struct MemberExchange {
    service: Arc<MailService>,
    dialect: Dialect,
    origin: Origin,
    incoming: Option<Incoming>,
}

/// A message whose content is coming.
struct Incoming {
    envelope: Envelope,
    content: Vec<u8>,
    share: Share,
    /// Why it cannot be taken, if so; the rest of it is not kept.
    failure: Option<Reply>,
}

impl MemberExchange {
    pub(super) fn new(service: Arc<MailService>, dialect: Dialect, origin: Origin) -> Self {
        Self { service, dialect, origin, incoming: None }
    }

    /// The trace field of a message that enters here; none if a fellow member let it in.
    fn received(&self, envelope: &Envelope, tls: Option<&TlsFacts>) -> String {
        if self.origin.hops > 0 {
            return String::new();
        }
        let only_recipient = match envelope.recipients.as_slice() {
            [recipient] => Some(&recipient.address),
            _ => None,
        };
        Trace {
            hello: &envelope.hello,
            client: self.origin.client,
            dialect: self.dialect,
            tls,
            is_submission: self.origin.is_submission,
            smtputf8: envelope.parameters.smtputf8,
            host: &self.service.settings.host,
            session: &self.origin.session.to_string(),
            only_recipient,
            now_ms: clock::unix_ms(),
        }
        .received()
    }

    /// Whether mail for other sites is taken: of an account that has logged in, and of a fellow that let it in as such.
    fn may_relay(&self) -> bool {
        self.origin.is_submission || self.origin.hops > 0
    }

    async fn take_lmtp(&self, message: &Message, addressees: &[Addressee]) -> Vec<Reply> {
        let outcomes = self.service.courier.carry(message, addressees, &self.origin).await;
        outcomes.iter().map(Outcome::reply).collect()
    }

    async fn take_smtp(&self, message: Message, mut addressees: Vec<Addressee>) -> Reply {
        let mut seen = HashSet::new();
        addressees.retain(|addressee| seen.insert(addressee.delivery_id));
        if addressees.len() > 1 {
            return self.queue(message, addressees).await;
        }
        match self.service.courier.carry(&message, &addressees, &self.origin).await.pop() {
            Some(Outcome::Temporary(_)) | None => self.queue(message, addressees).await,
            Some(outcome @ (Outcome::Delivered | Outcome::OverQuota | Outcome::Permanent(_))) => outcome.reply(),
        }
    }

    async fn queue(&self, message: Message, addressees: Vec<Addressee>) -> Reply {
        let now_ms = clock::unix_ms();
        let entry = NewEntry {
            reverse_path: message.reverse_path.clone(),
            parameters: message.parameters.clone(),
            addressees: addressees.clone(),
            arrived_ms: now_ms,
            expires_ms: now_ms.saturating_add(u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX)),
        };
        match self.service.spool.accept(entry, message.content.clone()).await {
            Ok((shard, id)) => Reply::new(250, (2, 0, 0), format!("queued as {shard:02x}.{id}")),
            Err(SpoolError::Full) => Reply::new(452, (4, 3, 1), "the storage or the queue is full"),
            // Drained, or about to leave: others have the queue.
            Err(SpoolError::NoShard) => {
                let fellows = self.service.member.registry.fellows();
                self.service.courier.entrust(&message, &addressees, &fellows, &self.origin).await
            }
            Err(SpoolError::Unavailable) => Reply::new(451, (4, 3, 0), "the queue is unavailable"),
        }
    }
}

impl Exchange for MemberExchange {
    async fn resolve(&mut self, recipient: Recipient) -> Result<Mailbox, Reply> {
        let courier = &self.service.courier;
        match destination(courier.directory(), &recipient.address, courier.domain()).await? {
            Destination::Account(_) => Ok(recipient.address),
            Destination::Outside if !self.may_relay() => Err(relaying_denied()),
            Destination::Outside if courier.has_way_out() => Ok(recipient.address),
            Destination::Outside => Err(no_way_out()),
        }
    }

    async fn begin(&mut self, envelope: Envelope, tls: Option<TlsFacts>) -> Result<(), Reply> {
        let memory = &self.service.member.front.memory;
        let share = memory.begin(envelope.parameters.size).await.map_err(|_| no_room())?;
        if let Some(client) = envelope.claims.client_end().filter(|client| *client != self.origin.client) {
            // What was kept open speaks for another client.
            (self.origin.client, self.origin.kept) = (client, Arc::default());
        }
        self.origin.hello.clone_from(&envelope.hello.name);
        self.origin.tls.clone_from(&tls);
        let content = self.received(&envelope, tls.as_ref()).into_bytes();
        self.incoming = Some(Incoming { envelope, content, share, failure: None });
        Ok(())
    }

    async fn content(&mut self, bytes: Vec<u8>) {
        let Some(incoming) = &mut self.incoming else { return };
        if incoming.failure.is_some() {
            return;
        }
        let size = incoming.content.len() as u64 + bytes.len() as u64;
        if self.service.member.front.memory.grow(&mut incoming.share, size).is_err() {
            incoming.failure = Some(no_room());
            incoming.content = Vec::new();
            return;
        }
        incoming.content.extend_from_slice(&bytes);
    }

    async fn end(&mut self) -> Vec<Reply> {
        let Some(Incoming { envelope, content, share, mut failure }) = self.incoming.take() else {
            return Vec::new();
        };
        if received_count(&content) > RECEIVED_MAX {
            failure = Some(Reply::new(554, (5, 4, 6), "too many hops, this is a loop"));
        }
        if let Some(reply) = failure {
            return vec![reply; envelope.recipients.len()];
        }
        let mut parameters = envelope.parameters;
        parameters.size = Some(content.len() as u64);
        let message = Message { reverse_path: envelope.reverse_path, parameters, content: Bytes::from(content) };
        let addressees = name_deliveries(envelope.recipients, rand::random());
        let replies = match self.dialect {
            Dialect::Lmtp => self.take_lmtp(&message, &addressees).await,
            Dialect::Smtp => vec![self.take_smtp(message, addressees).await],
        };
        drop(share);
        replies
    }

    async fn abort(&mut self) {
        self.incoming = None;
    }
}

fn no_room() -> Reply {
    Reply::new(452, (4, 3, 1), "too many messages at once, try again")
}
