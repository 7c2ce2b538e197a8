//! What a member must be told to take its seat.

use std::{net::SocketAddr, path::PathBuf};

use laniakea_config::{Advertised, ClusterSettings, ClusterTiming, MemberSettings, ProbePolicy};
use laniakea_directory::{ClusterName, MemberName};

/// What a member must be told to take its seat. Its fellows it learns from the shared filesystem.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// The cluster.
    pub cluster: ClusterName,
    /// This member.
    pub member: MemberName,
    /// Folder of the cluster on the shared filesystem.
    pub storage: PathBuf,
    /// File that holds the cluster's 32-byte key.
    pub key: PathBuf,
    /// Where to listen for fellow members, and the address to dial them from; port 0 takes a free one.
    pub control: SocketAddr,
    /// Where others reach this member; a control port of 0 stands for where it listens.
    pub advertise: Advertised,
    /// What to do about a storage that breaks what a cluster relies on.
    pub probe: ProbePolicy,
    /// When to suspect, declare dead, give up.
    pub timing: ClusterTiming,
}

impl ControlSettings {
    /// Takes what concerns `member` from the settings of its cluster.
    #[must_use]
    pub fn new(cluster: &ClusterSettings, member: &MemberSettings) -> Self {
        Self {
            cluster: ClusterName::new(&cluster.name),
            member: MemberName::new(&member.name),
            storage: cluster.storage.clone(),
            key: cluster.key.clone(),
            control: member.control,
            advertise: member.advertise,
            probe: cluster.probe,
            timing: cluster.timing,
        }
    }
}
