//! How large a world is explored: what may happen how often. Everything within these bounds happens.

use serde::Serialize;

/// The bounds of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// How it is called on the command line.
    pub name: &'static str,
    /// Incarnations.
    pub members: u8,
    /// Terms that can be won.
    pub terms: u8,
    /// Grants in one term.
    pub grants: u8,
    /// Ownables, each with a log of its own.
    pub ownables: u8,
    /// Changes that clients hand in, for each ownable; each may be tried again and again until it is acknowledged.
    pub changes: u8,
    /// Segments of one log.
    pub segments: u8,
    /// Snapshots of one log, each of which may be followed by rotation and deletion; 0 for neither.
    pub snapshots: u8,
    /// Whether owners give back what they have finished with.
    pub releases: bool,
    /// Whether clients read.
    pub reads: bool,
    /// Whether hosts can be lost with all that lay in caches: the writer's, and the file server's unsynced part of it.
    pub losses: bool,
}

const TINY: Size = Size {
    name: "tiny",
    members: 2,
    terms: 1,
    grants: 2,
    ownables: 1,
    changes: 1,
    segments: 3,
    snapshots: 0,
    releases: true,
    reads: false,
    losses: true,
};

/// Everything once, in seconds.
pub const SMALL: [Size; 5] = [
    Size { name: "two-terms", terms: 2, grants: 1, losses: false, ..TINY },
    Size { name: "losses", grants: 2, changes: 2, ..TINY },
    Size { name: "reads", reads: true, changes: 2, losses: false, ..TINY },
    Size { name: "deletion", changes: 2, snapshots: 2, segments: 4, ..TINY },
    Size { name: "two-accounts", ownables: 2, grants: 2, losses: false, segments: 2, ..TINY },
];

/// What a release has to stand: hours, and gigabytes of memory.
pub const LARGE: [Size; 8] = [
    Size { name: "two-members", terms: 2, ..TINY },
    Size { name: "two-members-reads", terms: 2, reads: true, ..TINY },
    Size { name: "two-members-deletion", terms: 2, grants: 1, changes: 3, snapshots: 2, segments: 4, ..TINY },
    Size { name: "two-members-two-accounts", terms: 2, ownables: 2, grants: 2, losses: false, segments: 2, ..TINY },
    Size { name: "three-members", members: 3, grants: 3, changes: 2, ..TINY },
    Size { name: "three-members-terms", members: 3, terms: 2, grants: 1, losses: false, releases: false, ..TINY },
    Size { name: "three-members-reads", members: 3, grants: 3, reads: true, losses: false, ..TINY },
    Size {
        name: "three-members-deletion",
        members: 3,
        grants: 3,
        changes: 2,
        snapshots: 2,
        segments: 4,
        releases: false,
        losses: false,
        ..TINY
    },
];

/// The size of this name.
#[must_use]
pub fn find(name: &str) -> Option<Size> {
    all().find(|size| size.name == name)
}

/// All sizes, small ones first.
pub fn all() -> impl Iterator<Item = Size> {
    SMALL.into_iter().chain(LARGE)
}
