//! The controller's decision, as values.

use std::net::SocketAddr;

use laniakea_directory::MemberName;

use super::{Epoch, OwnableId};

/// Proof that this member was made the owner of an ownable under an epoch.
///
/// It says that the grant *was* given, not that it still holds: a process may sleep between any two instructions. What
/// is promised to a client is promised after a tick begun later than the fsync (see `PROTOCOL.md`, the commit rule). It
/// cannot be copied, and only the member machine makes one. Dropping it releases nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    ownable: OwnableId,
    epoch: Epoch,
}

impl Grant {
    /// Only the member machine may call this, for an answer of its controller.
    pub(super) const fn new(ownable: OwnableId, epoch: Epoch) -> Self {
        Self { ownable, epoch }
    }

    /// What is owned.
    #[must_use]
    pub const fn ownable(&self) -> OwnableId {
        self.ownable
    }

    /// Under which epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// How the controller answered a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// This member owns it now, and did not before.
    Granted(Grant),
    /// It has an owner, which may be this very member: then another task holds the grant.
    Owned {
        /// The owner.
        member: MemberName,
        /// Where the owner takes connections from routers and fellow members.
        handoff: SocketAddr,
        /// The epoch it owns under.
        epoch: Epoch,
    },
}
