//! What can become of one delivery, and what is said of it.

use std::net::SocketAddr;

use laniakea_router::wire::smtp::Reply;

/// What a worker said of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It is in the account, synced and validated; or was there already.
    Delivered,
    /// A fellow member owns the account and takes mail for it there.
    Elsewhere(SocketAddr),
    /// The account cannot be written to now.
    Temporary,
    /// The storage has no room for new mail now.
    StorageFull,
    /// The account is full.
    OverQuota,
    /// The account will never take this message.
    Refused,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered, or taken over by another server that is responsible now.
    Delivered,
    /// May work later, and why not now.
    Temporary(Reply),
    /// The account is full: the sender may wait or be told, but nothing is gained by trying often.
    OverQuota,
    /// Will never work, and why.
    Permanent(Reply),
}

impl Outcome {
    /// What another server's reply means.
    #[must_use]
    pub fn of_reply(reply: Reply) -> Self {
        if reply.is_success() {
            Self::Delivered
        } else if reply.is_permanent() {
            Self::Permanent(reply)
        } else {
            Self::Temporary(reply)
        }
    }

    /// The usual temporary failure.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::Temporary(Reply::new(451, (4, 3, 0), "account temporarily unavailable"))
    }

    /// The reply to whoever brought the message.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::Delivered => Reply::new(250, (2, 0, 0), "delivered"),
            // RFC 3463 §3.3: X.2.2 is a persistent transient failure.
            Self::OverQuota => Reply::new(452, (4, 2, 2), "account is over its quota"),
            Self::Temporary(reply) | Self::Permanent(reply) => reply.clone(),
        }
    }

    /// For metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Temporary(_) => "deferred",
            Self::OverQuota => "over_quota",
            Self::Permanent(_) => "refused",
        }
    }
}
