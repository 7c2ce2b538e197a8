//! The feature level of a volume: the newest that its members may write, and what a program must know to be let in.
//!
//! A program that is newer than its fellows goes on writing what they can read, until an operator raises the level. That is
//! a decision, recorded once: `cluster/level/<n>`, made by `link` like a term and never changed or removed; the highest
//! counts, and a volume without any is at [`LEVEL_LOWEST`]. Whoever knows less is not let in when it starts. A program that
//! runs already is protected by the level that stands in every file: it refuses what it does not know, and changes nothing.

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{FileArbiter, nothing_if_taken, record::Record};
use crate::store::{FEATURE_LEVEL, fs::ClusterFs};

/// The level of a volume for which nobody has decided: that of the first release.
pub const LEVEL_LOWEST: u16 = 2;

/// Where the decisions lie.
const FOLDER: &str = "level";

/// `level/<n>`
#[derive(Debug, Serialize, Deserialize)]
struct LevelFile {
    #[serde(with = "super::record::hexadecimal")]
    nonce: u128,
}

impl Record for LevelFile {
    fn nonce(&self) -> u128 {
        self.nonce
    }
}

/// Why the level of a volume is not raised.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    /// This program could not read what would be written.
    #[error("feature level {wanted} is not known to this program, which knows {FEATURE_LEVEL}")]
    Unknown {
        /// The level that was asked for.
        wanted: u16,
    },
    /// The filesystem failed. It may be raised nevertheless.
    #[error("raise the feature level of the volume")]
    Io(#[from] io::Error),
}

/// The feature level of a volume, as its cluster's folder on the filesystem says.
///
/// A listing may be old on a shared filesystem; whoever reads too low a level writes what everybody can read.
///
/// # Errors
/// When the folder cannot be read.
pub fn volume_level(storage: &Path) -> io::Result<u16> {
    let entries = match fs::read_dir(storage.join("cluster").join(FOLDER)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(LEVEL_LOWEST),
        Err(error) => return Err(error),
    };
    let mut highest = LEVEL_LOWEST;
    for entry in entries {
        let level = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        highest = highest.max(level.unwrap_or_default());
    }
    Ok(highest)
}

/// Raises the level of a volume; whoever asks must know that every member can read it. A level that is reached already is no
/// error. Blocks.
///
/// # Errors
/// When this program does not know the level, or the filesystem fails.
pub fn raise_volume_level(storage: &Path, level: u16) -> Result<(), RaiseError> {
    if level > FEATURE_LEVEL {
        return Err(RaiseError::Unknown { wanted: level });
    }
    if level > volume_level(storage)? {
        FileArbiter::new(storage).record_level(level)?;
    }
    Ok(())
}

impl<F: ClusterFs> FileArbiter<F> {
    /// Records that the volume is at this level from now on.
    pub(super) fn record_level(&self, level: u16) -> io::Result<()> {
        // Volumes of earlier programs lack the folder.
        self.fs.create_dir(&self.root.join(FOLDER)).or_else(nothing_if_taken)?;
        self.fs.sync_dir(&self.root)?;
        // If somebody else has made it, it says the same.
        self.create(FOLDER, &level.to_string(), &LevelFile { nonce: self.nonce() }).map(drop)
    }
}
