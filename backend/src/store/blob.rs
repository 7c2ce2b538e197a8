//! Message bodies: where they are, and how they are read while the log is being written.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fs::Fs;

/// Where the bytes of one body are. Assigned when a batch is built, and right for as long as the body exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BodyRef {
    /// Within a segment of the log.
    Inline {
        /// The segment.
        generation: u64,
        /// Where the body begins in the segment's file.
        offset: u64,
        /// How many bytes it has.
        length: u32,
    },
    /// A file of its own.
    File {
        /// The ownership under which the file was written.
        epoch: u128,
        /// Which file of that ownership.
        number: u64,
        /// How many bytes it has.
        length: u64,
    },
}

impl BodyRef {
    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match *self {
            Self::Inline { length, .. } => u64::from(length),
            Self::File { length, .. } => length,
        }
    }

    /// Whether there are no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads bodies of one ownable, from any thread, while its log is being written.
#[derive(Debug)]
pub struct Reader<F: Fs> {
    fs: Arc<F>,
    dir: PathBuf,
}

impl<F: Fs> Clone for Reader<F> {
    fn clone(&self) -> Self {
        Self { fs: Arc::clone(&self.fs), dir: self.dir.clone() }
    }
}

impl<F: Fs> Reader<F> {
    /// Reads the bytes of `range` within a body.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if the range is not within the body; else whatever the disk says.
    pub fn read(&self, _body: BodyRef, _range: Range<u64>) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
