//! What one member sees of its cluster.

use std::net::SocketAddr;

use laniakea_directory::MemberName;

use super::Roster;

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
    /// Who gets nothing new, as the controller said last.
    pub roster: Roster,
}

impl ClusterView {
    /// Finds a live member by name.
    #[must_use]
    pub fn find(&self, member: &MemberName) -> Option<&MemberView> {
        self.members.iter().find(|one| one.name == *member)
    }

    /// The members that open what is not open yet: all that are neither drained nor about to leave; if there is none, the
    /// drained ones, so that somebody serves.
    #[must_use]
    pub fn takers(&self) -> Vec<&MemberView> {
        let stays = |one: &&MemberView| {
            !self.roster.leaving.iter().any(|run| run.member == one.name && run.number == one.incarnation)
        };
        let staying: Vec<_> = self.members.iter().filter(stays).collect();
        let is_drained = |one: &&MemberView| self.roster.drained.contains(&one.name);
        if staying.iter().all(is_drained) {
            staying
        } else {
            staying.into_iter().filter(|one| !is_drained(one)).collect()
        }
    }

    /// Says whether this member is one of them.
    #[must_use]
    pub fn is_taker(&self) -> bool {
        self.takers().iter().any(|one| one.name == self.member)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixture::{incarnation, peer};

    fn view(drained: &[&str], leaving: &[&str]) -> Vec<String> {
        let member = |name: &&str| {
            let peer = peer(name, 1);
            MemberView { name: peer.incarnation.member, incarnation: 1, control: peer.control, handoff: peer.handoff }
        };
        let view = ClusterView {
            member: MemberName::new("a"),
            incarnation: 1,
            term: 1,
            controller: None,
            registered: true,
            members: ["a", "b"].iter().map(member).collect(),
            roster: Roster {
                drained: drained.iter().map(|name| MemberName::new(name)).collect(),
                leaving: leaving.iter().map(|name| incarnation(name, 1)).collect(),
            },
        };
        view.takers().iter().map(|one| one.name.to_string()).collect()
    }

    #[test]
    fn who_is_drained_or_leaves_takes_nothing_unless_nobody_else_can() {
        assert_eq!(view(&[], &[]), ["a", "b"]);
        assert_eq!(view(&["a"], &[]), ["b"]);
        assert_eq!(view(&["a", "b"], &[]), ["a", "b"]);
        assert_eq!(view(&["a"], &["b"]), ["a"]);
        assert_eq!(view(&[], &["a", "b"]), [""; 0], "who leaves cannot serve");
    }
}
