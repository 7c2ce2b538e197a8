//! The bytes on disk as values, and back. No file is touched here.
//!
#![doc = include_str!("FORMAT.md")]

pub mod batch;
mod fields;
pub mod layout;
pub mod record;
pub mod segment;
pub mod snapshot;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The only layout of headers this program knows.
pub const FORMAT: u16 = 1;

/// The newest features this program knows. A file that needs more is refused, never touched.
pub const FEATURE_LEVEL: u16 = 2;

/// From this level on, logs may have records of bodies that were moved, and marks.
pub const COMPACTION_LEVEL: u16 = 2;

/// Everything that is checked or sealed lies on a multiple of this.
pub const ALIGNMENT: usize = 8;

/// The one checksum of the store: 64 bits of XXH3 under a seed.
#[must_use]
pub fn checksum(bytes: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

/// A place between two batches: everything up to and including batch `seq` lies before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The last batch before this place; 0 at the very beginning.
    pub seq: u64,
    /// The segment.
    pub generation: u64,
    /// Where in the segment's file.
    pub offset: u64,
    /// The chain checksum of all batches up to here.
    pub chain: u64,
    /// The bytes of bodies that lie in this segment before this place.
    pub body_bytes: u64,
}

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A newer program wrote them.
    #[error("feature level {0} is newer than this program")]
    Newer(u16),
    /// They are cut short, or changed, or something else altogether.
    #[error("{0}")]
    Damaged(&'static str),
}
