//! What a probe measured, for people and for scripts.

use std::{fmt, path::PathBuf, time::Duration};

use crate::probe::{Filesystem, Findings, Side};

/// What a probe measured, where, and with whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The storage as this side calls it.
    pub storage: PathBuf,
    /// What it is on.
    pub filesystem: Filesystem,
    /// The other side; nothing if there was none, so that only one mount was tried.
    pub peer: Option<Counterpart>,
    /// What was found.
    pub findings: Findings,
    /// How long it took.
    pub elapsed: Duration,
}

/// The other side of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterpart {
    /// A member's name, an address, or a path.
    pub name: String,
    /// What its mount is on.
    pub filesystem: Filesystem,
}

impl Report {
    /// The name of a side.
    #[must_use]
    pub fn side(&self, side: Side) -> String {
        match (side, &self.peer) {
            (Side::There, Some(peer)) => peer.name.clone(),
            (Side::Here | Side::There, _) => self.storage.display().to_string(),
        }
    }

    /// What to change so that the findings go away; one step a line.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        let mut lines = self.filesystem.advice(&self.findings);
        if let Some(peer) = &self.peer {
            for line in peer.filesystem.advice(&self.findings) {
                if !lines.contains(&line) {
                    lines.push(format!("{}: {line}", peer.name));
                }
            }
        }
        lines
    }
}

/// What is broken and what to do: the message of a member that refuses to join.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Filesystem { name, source, .. } = &self.filesystem;
        write!(f, "{} ({name}, {source}) breaks what a cluster relies on:", self.storage.display())?;
        for (check, side, tally) in self.findings.broken() {
            write!(
                f,
                "\n  {}: {}: wrong {} of {} times on {}",
                check.assumption(),
                check.promise(),
                tally.wrong,
                tally.tried,
                self.side(side)
            )?;
        }
        for line in self.advice() {
            write!(f, "\n  to do: {line}")?;
        }
        f.write_str("\n  then try it: laniakea store probe --help")
    }
}
