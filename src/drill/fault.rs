//! What can be done to a cluster, to whom, and how soon clients should have forgotten it.

use std::{fmt, time::Duration};

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Fault {
    /// SIGKILL for a member.
    KillMember,
    /// SIGSTOP for a member: its kernel still accepts connections, and nobody speaks.
    FreezeMember,
    /// No byte to or from a member any more; it keeps the storage.
    CutMember,
    /// SIGKILL for the controller.
    KillController,
    /// SIGSTOP for the controller.
    FreezeController,
    /// No byte to or from the controller any more; it keeps the storage.
    CutController,
    /// SIGKILL for the router that the clients use: there is a second one, to which they come back.
    KillRouter,
    /// SIGKILL for the directory: what is known must be enough.
    KillDirectory,
    /// `laniakea cluster drain` for a member: all it owns moves to the others.
    DrainMember,
    /// SIGTERM for a member, which drains itself, ends, and is started again.
    RestartMember,
}

/// How it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    Kill,
    Freeze,
    Cut,
    Drain,
    Restart,
}

/// Who it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A member that owns accounts and is not the controller.
    Member,
    Controller,
    Router,
    Directory,
}

impl Fault {
    /// What is done if nobody names a fault: all that a cluster must survive by itself.
    pub const USUAL: [Self; 6] = [
        Self::KillMember,
        Self::FreezeMember,
        Self::CutMember,
        Self::KillController,
        Self::FreezeController,
        Self::CutController,
    ];

    pub fn means(self) -> Means {
        match self {
            Self::KillMember | Self::KillController | Self::KillRouter | Self::KillDirectory => Means::Kill,
            Self::FreezeMember | Self::FreezeController => Means::Freeze,
            Self::CutMember | Self::CutController => Means::Cut,
            Self::DrainMember => Means::Drain,
            Self::RestartMember => Means::Restart,
        }
    }

    pub fn role(self) -> Role {
        match self {
            Self::KillMember | Self::FreezeMember | Self::CutMember | Self::DrainMember | Self::RestartMember => {
                Role::Member
            }
            Self::KillController | Self::FreezeController | Self::CutController => Role::Controller,
            Self::KillRouter => Role::Router,
            Self::KillDirectory => Role::Directory,
        }
    }

    /// The outage to stay under: a death that the kernel reports, a move in good order, or a silence that must be waited for.
    pub fn target(self) -> Duration {
        match self.means() {
            Means::Kill | Means::Drain | Means::Restart => Duration::from_secs(1),
            Means::Freeze | Means::Cut => Duration::from_secs(3),
        }
    }

    /// The outage beyond which something is wrong.
    pub fn gate(self) -> Duration {
        match self.means() {
            Means::Kill | Means::Drain | Means::Restart => Duration::from_secs(2),
            Means::Freeze | Means::Cut => Duration::from_secs(5),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::KillMember => "kill-member",
            Self::FreezeMember => "freeze-member",
            Self::CutMember => "cut-member",
            Self::KillController => "kill-controller",
            Self::FreezeController => "freeze-controller",
            Self::CutController => "cut-controller",
            Self::KillRouter => "kill-router",
            Self::KillDirectory => "kill-directory",
            Self::DrainMember => "drain-member",
            Self::RestartMember => "restart-member",
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn a_fault_is_typed_as_it_is_printed() {
        for fault in Fault::value_variants() {
            assert_eq!(Fault::from_str(&fault.to_string(), false), Ok(*fault));
        }
    }
}
