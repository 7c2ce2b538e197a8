//! The member's seat in its cluster: claims, ticks, and what it sees of its fellows.
//!
//! [`ClusterHandle`] is what the rest of a member uses. Everything is decided by the machines in [`crate::cluster`].

mod error;
mod settings;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use laniakea_directory::MemberName;

use crate::cluster::{Claim, ClusterView, Epoch, OwnableId};

pub use error::{ClaimError, Fenced, OwnersError, StartError};
pub use settings::ControlSettings;

/// A member's seat in its cluster. Cheap to clone; the last clone dropped does not leave the cluster, [`ClusterHandle::shutdown`] does.
#[derive(Clone, Debug)]
pub struct ClusterHandle {
    fenced: CancellationToken,
    view: watch::Receiver<Arc<ClusterView>>,
}

impl ClusterHandle {
    /// Joins the cluster: checks the storage, takes an incarnation, appears among the living, meets the fellows.
    ///
    /// # Errors
    /// When the storage is not the cluster's volume, the key is unusable, or the control address is taken.
    pub async fn start(settings: ControlSettings) -> Result<Self, StartError> {
        let _ = settings;
        std::future::pending().await
    }

    /// Asks for an ownable. Retries through changes of the controller until the claim deadline.
    ///
    /// # Errors
    /// [`ClaimError`] says what to do next.
    pub async fn claim(&self, ownable: OwnableId) -> Result<Claim, ClaimError> {
        let _ = ownable;
        Err(ClaimError::Unavailable)
    }

    /// Gives an ownable back, after its worker has drained and committed all. The [`crate::cluster::Grant`] must be gone.
    pub fn release(&self, ownable: OwnableId, epoch: Epoch) {
        let _ = (ownable, epoch);
    }

    /// Resolves once a tick *begun after this call* has succeeded: until then this member was not fenced.
    ///
    /// # Errors
    /// [`Fenced`] when this member may promise nothing any more.
    pub async fn validate(&self) -> Result<(), Fenced> {
        Err(Fenced)
    }

    /// Permits the answer to a read: at once within the read lease, else like [`ClusterHandle::validate`].
    ///
    /// # Errors
    /// [`Fenced`] when this member may answer nothing any more.
    pub async fn read_permit(&self) -> Result<(), Fenced> {
        Err(Fenced)
    }

    /// What this member sees of its cluster now.
    #[must_use]
    pub fn view(&self) -> Arc<ClusterView> {
        self.view.borrow().clone()
    }

    /// The same, to be watched.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.view.clone()
    }

    /// Cancelled once: the process must drop everything and exit with code 75.
    #[must_use]
    pub fn fenced(&self) -> CancellationToken {
        self.fenced.clone()
    }

    /// Ownables the controller asks back. Each must be drained and released, or this member is fenced. Taken once; later
    /// calls get a receiver that is closed.
    #[must_use]
    pub fn recalls(&self) -> mpsc::Receiver<OwnableId> {
        mpsc::channel(1).1
    }

    /// Everything that is owned, as the controller knows it.
    ///
    /// # Errors
    /// When no controller answers in time.
    pub async fn owners(&self) -> Result<Vec<(OwnableId, MemberName, Epoch)>, OwnersError> {
        Err(OwnersError::Unavailable)
    }

    /// Leaves: releases all that is still owned, empties this member's place among the living, tells the fellows.
    pub async fn shutdown(self) {}
}
