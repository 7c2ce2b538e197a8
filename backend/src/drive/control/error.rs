//! What can go wrong at the cluster's seat; each variant is a different next step.

use std::{io, path::PathBuf};

use crate::drive::{
    arbiter::VolumeError,
    probe::{ProbeError, Report},
};

/// This member was fenced: it may acknowledge and answer nothing any more, and must exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this member was fenced")]
pub struct Fenced;

/// Why a claim got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// No controller answered within the claim deadline: a temporary failure.
    #[error("no controller answered in time")]
    Unavailable,
    /// The storage does not answer this member: another one may reach it.
    #[error("the storage does not answer")]
    NoStorage,
    /// This member is being drained: another member must claim.
    #[error("this member is being drained")]
    Draining,
    /// This member is about to leave: another member must claim.
    #[error("this member is leaving its cluster")]
    Leaving,
    /// This member was fenced or has left.
    #[error("this member has left its cluster")]
    Left,
}

/// No controller answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no controller answered in time")]
pub struct NoController;

/// Why the owners could not be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OwnersError {
    /// No controller answered in time.
    #[error("no controller answered in time")]
    Unavailable,
}

/// Why a member could not join its cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The storage is not this cluster's mounted volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The storage breaks what a cluster relies on. The message says what to change.
    #[error("{0}")]
    Unsound(Box<Report>),
    /// The storage fails, or stalls, while it is probed.
    #[error(transparent)]
    Probe(ProbeError),
    /// The cluster's key could not be read, or is not 32 bytes long.
    #[error("read the cluster's key from {}", .path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The control address could not be bound: most likely this member is running already.
    #[error("listen for fellow members")]
    Listen(#[source] io::Error),
    /// The shared filesystem failed while joining.
    #[error("take a place in the cluster's directory")]
    Storage(#[source] io::Error),
    /// A thread could not be started.
    #[error("start a thread")]
    Thread(#[source] io::Error),
}

impl StartError {
    /// Says whether trying again cannot help before a person has changed something.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::Volume(VolumeError::Io { .. }) => false,
            Self::Volume(_) | Self::Unsound(_) | Self::Key { .. } => true,
            Self::Probe(_) | Self::Listen(_) | Self::Storage(_) | Self::Thread(_) => false,
        }
    }
}
