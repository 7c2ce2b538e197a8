//! The last step: into the account, if it is ours or can be claimed.

use futures_util::future::BoxFuture;
use laniakea_directory::AccountRecord;

use crate::{
    deliver::{Delivery, DeliveryOutcome},
    drive::{
        admission::Urgency,
        member::Member,
        registry::{Access, AccessError},
    },
    mailbox::{DeliveryId, Flags, MailboxName, NewMessage, Refusal, Reply, Request},
    worker::CommitError,
};

/// How often an account that is just being given back is opened anew.
const ATTEMPTS_MAX: usize = 3;

/// Puts messages into accounts of this cluster.
pub trait Deliverer: Send + Sync + 'static {
    /// Delivers one message, or says which member can.
    fn deliver<'a>(&'a self, account: &'a AccountRecord, delivery: Delivery) -> BoxFuture<'a, DeliveryOutcome>;
}

impl Deliverer for Member {
    fn deliver<'a>(&'a self, account: &'a AccountRecord, delivery: Delivery) -> BoxFuture<'a, DeliveryOutcome> {
        Box::pin(async move {
            for _ in 0..ATTEMPTS_MAX {
                if let Some(outcome) = deliver_once(self, account, &delivery).await {
                    return outcome;
                }
            }
            DeliveryOutcome::Temporary
        })
    }
}

/// `None` when the account was given back in between.
async fn deliver_once(member: &Member, account: &AccountRecord, delivery: &Delivery) -> Option<DeliveryOutcome> {
    let urgency = if delivery.awaited { Urgency::Awaited } else { Urgency::Background };
    let pass = match member.registry.account(account.id, account.quota, urgency).await {
        Ok(Access::Here(pass)) => pass,
        Ok(Access::Elsewhere(owner)) => return Some(DeliveryOutcome::Elsewhere(owner.handoff)),
        Err(
            error @ (AccessError::Claim(_)
            | AccessError::Crowded(_)
            | AccessError::Recover(_)
            | AccessError::Quarantined
            | AccessError::Busy),
        ) => {
            tracing::info!(account = %account.id, %error, "a delivery waits: the account cannot be opened");
            return Some(DeliveryOutcome::Temporary);
        }
    };
    let request = Request::Deliver {
        id: Some(DeliveryId { transaction: delivery.id, recipient: 0 }),
        mailbox: MailboxName::inbox(),
        message: NewMessage { flags: Flags::default(), internal_date: None, body: delivery.body.clone() },
    };
    match pass.perform(request).await {
        Ok(Reply::Delivered { duplicate }) => {
            tracing::debug!(account = %account.id, duplicate, "delivered");
            Some(DeliveryOutcome::Delivered)
        }
        Ok(Reply::Refused(Refusal::OverQuota)) => Some(DeliveryOutcome::OverQuota),
        Ok(Reply::Refused(refusal)) => {
            tracing::info!(account = %account.id, %refusal, "an account refused a message");
            Some(DeliveryOutcome::Refused)
        }
        Ok(other) => {
            tracing::error!(account = %account.id, ?other, "a delivery was answered with something else");
            Some(DeliveryOutcome::Temporary)
        }
        Err(CommitError::Closed) => None,
        Err(CommitError::Full) => Some(DeliveryOutcome::StorageFull),
        Err(error @ (CommitError::Fenced | CommitError::Storage | CommitError::Busy)) => {
            tracing::info!(account = %account.id, %error, "a delivery waits: it could not be committed");
            Some(DeliveryOutcome::Temporary)
        }
    }
}
