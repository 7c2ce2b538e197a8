//! The names of an ownable's files. Each carries the generation or the epoch of its one writer, and none is used twice.

use std::path::{Path, PathBuf};

/// Directory of the bodies that have a file of their own, within the ownable's.
pub const BODIES: &str = "m";

/// A name in an ownable's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A piece of the log.
    Segment {
        /// Which piece, from 1.
        generation: u64,
    },
    /// The state after one batch.
    Snapshot {
        /// The last batch it includes.
        seq: u64,
        /// The ownership that wrote it.
        epoch: u128,
    },
    /// A file that is being written and has not been given its name yet.
    Temporary {
        /// The ownership that writes it.
        epoch: u128,
        /// Tells one from another.
        nonce: u64,
    },
}

impl Name {
    /// Reads a name; `None` if it is none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once('.')?;
        let name = match (kind, rest.split_once('.')) {
            ("seg", None) => Self::Segment { generation: u64::from_str_radix(rest, 16).ok()? },
            ("snap", Some((seq, epoch))) => {
                Self::Snapshot { seq: u64::from_str_radix(seq, 16).ok()?, epoch: u128::from_str_radix(epoch, 16).ok()? }
            }
            ("tmp", Some((epoch, nonce))) => Self::Temporary {
                epoch: u128::from_str_radix(epoch, 16).ok()?,
                nonce: u64::from_str_radix(nonce, 16).ok()?,
            },
            _ => return None,
        };
        // One name has one spelling, or two files could claim to be the same segment.
        (name.to_string() == text).then_some(name)
    }

    /// The path of this name in the directory of an ownable.
    #[must_use]
    pub fn within(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Segment { generation } => write!(f, "seg.{generation:016x}"),
            Self::Snapshot { seq, epoch } => write!(f, "snap.{seq:016x}.{epoch:032x}"),
            Self::Temporary { epoch, nonce } => write!(f, "tmp.{epoch:032x}.{nonce:016x}"),
        }
    }
}

/// The path of a body's own file.
#[must_use]
pub fn body_path(dir: &Path, epoch: u128, number: u64) -> PathBuf {
    dir.join(BODIES).join(format!("{epoch:032x}.{number:x}"))
}

/// Reads the name of a body's own file; `None` if it is none of ours.
#[must_use]
pub fn parse_body_name(text: &str) -> Option<(u128, u64)> {
    let (epoch, number) = text.split_once('.')?;
    let parsed = (u128::from_str_radix(epoch, 16).ok()?, u64::from_str_radix(number, 16).ok()?);
    (format!("{:032x}.{:x}", parsed.0, parsed.1) == text).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_exactly_one_spelling() {
        for name in [
            Name::Segment { generation: 0x12 },
            Name::Snapshot { seq: 7, epoch: u128::MAX },
            Name::Temporary { epoch: 1, nonce: u64::MAX },
        ] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for text in
            ["seg.12", "seg.+000000000000012", "seg.000000000000001A", "snap.1.2", "m", "", ".", "seg.", "x.y.z"]
        {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_segments_sort_like_their_generations() {
        assert!(Name::Segment { generation: 9 }.to_string() < Name::Segment { generation: 10 }.to_string());
    }

    #[test]
    fn body_names_are_read_back() {
        let path = body_path(Path::new("/a"), 5, 255);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(parse_body_name(name), Some((5, 255)));
        assert_eq!(parse_body_name("5.ff"), None);
    }
}
