//! The closed set of things a side may be asked to do, and what it answers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Operations in one request: the longest phase of a round fits with room to spare.
pub const BATCH_MAX: usize = 32;

/// Which of the two mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// That of the process that asks.
    Here,
    /// That of the peer.
    There,
}

impl Side {
    /// The other mount.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Here => Self::There,
            Self::There => Self::Here,
        }
    }
}

/// The names that exist in a round. Nothing else can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Name {
    /// The folder of the round itself.
    Round,
    /// A file that the reader has read before the writer adds to it.
    Known,
    /// A file that the reader has read before the writer removes it.
    Gone,
    /// A file that the reader has looked for in vain before the writer makes it.
    Late,
    /// A file that the reader never heard of before the writer has made it and added to it.
    Fresh,
    /// A file that the reader makes itself.
    Own,
    /// What the reader wants to give the prize's name to.
    ReadersBid,
    /// What the writer wants to give the prize's name to.
    WritersBid,
    /// The name both sides link to at the same time.
    Prize,
    /// The name both sides create at the same time.
    First,
    /// The folder of the reader's tick, which the writer sweeps away.
    Live,
    /// The entry in it.
    Tick(Tick),
}

/// The names an entry is given one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tick {
    #[expect(missing_docs, reason = "they are counted")]
    Zero,
    #[expect(missing_docs, reason = "they are counted")]
    One,
    #[expect(missing_docs, reason = "they are counted")]
    Two,
    #[expect(missing_docs, reason = "they are counted")]
    Three,
    #[expect(missing_docs, reason = "they are counted")]
    Four,
    #[expect(missing_docs, reason = "they are counted")]
    Five,
}

impl Tick {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [Self::Zero, Self::One, Self::Two, Self::Three, Self::Four, Self::Five];
}

impl Name {
    /// All names that are files or folders within the round.
    pub const ALL: [Self; 16] = [
        Self::Known,
        Self::Gone,
        Self::Late,
        Self::Fresh,
        Self::Own,
        Self::ReadersBid,
        Self::WritersBid,
        Self::Prize,
        Self::First,
        Self::Live,
        Self::Tick(Tick::Zero),
        Self::Tick(Tick::One),
        Self::Tick(Tick::Two),
        Self::Tick(Tick::Three),
        Self::Tick(Tick::Four),
        Self::Tick(Tick::Five),
    ];

    /// The last part of its path.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Round => "",
            Self::Known => "known",
            Self::Gone => "gone",
            Self::Late => "late",
            Self::Fresh => "fresh",
            Self::Own => "own",
            Self::ReadersBid => "readers-bid",
            Self::WritersBid => "writers-bid",
            Self::Prize => "prize",
            Self::First => "first",
            Self::Live => "live",
            Self::Tick(Tick::Zero) => "t.0",
            Self::Tick(Tick::One) => "t.1",
            Self::Tick(Tick::Two) => "t.2",
            Self::Tick(Tick::Three) => "t.3",
            Self::Tick(Tick::Four) => "t.4",
            Self::Tick(Tick::Five) => "t.5",
        }
    }

    /// The name that is written so.
    #[must_use]
    pub fn parse(file_name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.file_name() == file_name)
    }
}

/// A name in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Counts rounds from 0.
    pub round: u16,
    /// What it is there.
    pub name: Name,
}

impl fmt::Display for Place {
    /// The path below the folder of the probe.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Name::Round => write!(f, "{}", self.round),
            Name::Tick(_) => write!(f, "{}/{}/{}", self.round, Name::Live.file_name(), self.name.file_name()),
            name => write!(f, "{}/{}", self.round, name.file_name()),
        }
    }
}

/// What a side is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Make a folder.
    MakeFolder(Place),
    /// Make a file that must not exist (`O_EXCL`) with this content, and sync it.
    Make {
        /// The file.
        place: Place,
        /// Its first eight bytes.
        token: u64,
    },
    /// Write another token behind the first into a file that exists, and sync it.
    Extend {
        /// The file.
        place: Place,
        /// The next eight bytes.
        token: u64,
    },
    /// Give a file a second name.
    Link {
        /// The file.
        from: Place,
        /// Its second name.
        to: Place,
    },
    /// Give a file another name.
    Rename {
        /// Its name until now.
        from: Place,
        /// Its name from now on.
        to: Place,
    },
    /// Remove a file.
    Remove(Place),
    /// Empty a folder and remove it, again and again until it is gone.
    Sweep(Place),
    /// Sync a folder.
    SyncFolder(Place),
    /// Ask for a file's length without opening it.
    Stat(Place),
    /// Open a file and read all of it.
    Read(Place),
    /// List a folder.
    List(Place),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeFolder(place) => write!(f, "make folder {place}"),
            Self::Make { place, .. } => write!(f, "make and sync file {place}"),
            Self::Extend { place, .. } => write!(f, "add to and sync file {place}"),
            Self::Link { from, to } => write!(f, "link {from} to {to}"),
            Self::Rename { from, to } => write!(f, "rename {from} to {to}"),
            Self::Remove(place) => write!(f, "remove {place}"),
            Self::Sweep(place) => write!(f, "empty and remove {place}"),
            Self::SyncFolder(place) => write!(f, "sync folder {place}"),
            Self::Stat(place) => write!(f, "stat {place}"),
            Self::Read(place) => write!(f, "open and read {place}"),
            Self::List(place) => write!(f, "list {place}"),
        }
    }
}

/// What a side answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It was done.
    Done,
    /// The file has this many bytes.
    Length(u64),
    /// The file's content.
    Tokens(Vec<u64>),
    /// The folder's content; names of others are left out.
    Names(Vec<Name>),
    /// There is no such file or folder (`ENOENT`, `ESTALE`).
    Missing,
    /// The name is taken (`EEXIST`).
    Taken,
    /// The filesystem does not know this operation.
    Unsupported,
    /// Anything else: its error number, 0 for none.
    Failed(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_stays_inside_its_folder() {
        for name in Name::ALL {
            assert_eq!(Name::parse(name.file_name()), Some(name));
            assert!(!name.file_name().contains('/') && !name.file_name().starts_with('.'));
            assert!(Place { round: 7, name }.to_string().starts_with("7/"));
        }
        assert_eq!(Name::parse(".."), None);
        assert_eq!(Name::parse(""), None, "a round's own folder is no entry of it");
    }
}
