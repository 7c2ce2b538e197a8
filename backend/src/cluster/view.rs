//! What one member sees of its cluster.

use std::net::SocketAddr;

use laniakea_directory::MemberName;

/// One member's picture of its cluster at a moment; replaced as a whole when something changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// This member.
    pub member: MemberName,
    /// Which run of this member: rises with every start.
    pub incarnation: u64,
    /// The highest term this member adopted; 0 before the first.
    pub term: u64,
    /// The controller of that term, if there is one.
    pub controller: Option<MemberName>,
    /// Whether the controller has registered this member in that term: claims are being answered.
    pub registered: bool,
    /// The members that answer, this one included, ordered by name.
    pub members: Vec<MemberView>,
}

impl ClusterView {
    /// Finds a live member by name.
    #[must_use]
    pub fn find(&self, member: &MemberName) -> Option<&MemberView> {
        self.members.iter().find(|one| one.name == *member)
    }

    /// Says whether this member is the controller.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.controller.as_ref() == Some(&self.member)
    }
}

/// One live member as a fellow sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// Its name.
    pub name: MemberName,
    /// Which run of it.
    pub incarnation: u64,
    /// Where it speaks the cluster's protocol.
    pub control: SocketAddr,
    /// Where it takes connections from routers and fellow members.
    pub handoff: SocketAddr,
}
