//! How whole files come to be: written and synced under a temporary name, then linked to the one that counts.

use std::io;
use std::path::Path;

use super::format::layout::Name;
use super::format::segment::SegmentHeader;
use super::format::{FormatError, snapshot::SnapshotHeader};
use super::fs::{Fs, FsFile};
use crate::sabotage::{self, Sabotage};

/// The directories between the root of the storage and an ownable's, and the root itself.
const SHARED_ANCESTORS: usize = 4;

/// Makes the directory of a new ownable, and those above it that are missing.
///
/// Another member may have made one of them a moment ago and died before its name was on disk, so all the names on the
/// way are synced, not only ours.
pub fn make_dir<F: Fs>(fs: &F, dir: &Path) -> io::Result<()> {
    create_missing(fs, dir)?;
    for ancestor in dir.ancestors().skip(1).take(SHARED_ANCESTORS).filter(|path| !path.as_os_str().is_empty()) {
        match fs.sync_dir(ancestor) {
            // Above the storage's root nothing is ours.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            other => other?,
        }
    }
    Ok(())
}

fn create_missing<F: Fs>(fs: &F, dir: &Path) -> io::Result<()> {
    let made = match (fs.create_dir(dir), dir.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            create_missing(fs, parent)?;
            fs.create_dir(dir)
        }
        (other, _) => other,
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// What became of a file that was to get a name.
pub enum Published<T> {
    /// It has the name, and the name is on disk. This is its handle.
    Done(T),
    /// Somebody else's file has the name.
    Taken,
}

/// Writes `parts` to a new file, syncs it, and gives it its name, if nobody else has it.
///
/// # Errors
/// Whatever the disk says. The name may then have been given or not.
pub fn publish<F: Fs>(
    fs: &F,
    dir: &Path,
    temporary: Name,
    name: Name,
    parts: &[&[u8]],
) -> io::Result<Published<F::File>> {
    let path = temporary.within(dir);
    let file = fs.create(&path)?;
    let mut offset = 0;
    for part in parts {
        file.write_at(part, offset)?;
        offset += part.len() as u64;
    }
    if !sabotage::on(Sabotage::SkipHeaderSync) {
        file.sync_data()?;
    }
    let linked = fs.link(&path, &name.within(dir));
    if linked.is_ok() {
        fs.sync_dir(dir)?;
    }
    // A temporary name that stays behind is removed by the next owner.
    let _ = fs.unlink(&path);
    match linked {
        Ok(()) => Ok(Published::Done(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Published::Taken),
        Err(error) => Err(error),
    }
}

/// What reading the beginning of a file may come to besides the beginning.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not what they should be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads and checks the header of an open segment. Returns its length as well.
pub fn read_segment_header(file: &impl FsFile) -> Result<(SegmentHeader, u64), ReadError> {
    let beginning = read_up_to(file, 0, 4096)?;
    let length = SegmentHeader::peek_length(&beginning)?;
    let header = match beginning.get(..length) {
        Some(whole) => SegmentHeader::decode(whole)?,
        None => SegmentHeader::decode(&read_up_to(file, 0, length)?)?,
    };
    Ok((header, length as u64))
}

/// Reads and checks the header of an open snapshot.
pub fn read_snapshot_header(file: &impl FsFile) -> Result<SnapshotHeader, ReadError> {
    Ok(SnapshotHeader::decode(&read_up_to(file, 0, super::format::snapshot::HEADER_BYTES)?)?)
}

/// Reads `count` bytes, or fewer if the file ends before.
pub fn read_up_to(file: &impl FsFile, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Reads everything from `offset` to the end of the file, or to `limit`.
pub fn read_to(file: &impl FsFile, offset: u64, limit: Option<u64>) -> io::Result<Vec<u8>> {
    let end = match limit {
        Some(limit) => limit,
        None => file.length()?,
    };
    read_up_to(file, offset, usize::try_from(end.saturating_sub(offset)).map_err(|_| io::ErrorKind::FileTooLarge)?)
}
