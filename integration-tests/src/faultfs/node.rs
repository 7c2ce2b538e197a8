//! One file or folder, and what was written to it and not yet synced.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fuser::{FileAttr, FileType, INodeNo};
use rustix::fs::{AtFlags, FileType as Kind, Stat, fstat, statat};

/// A file or a folder below the folder that is mounted.
pub struct Node {
    /// Names it for other operations, whatever its path is now.
    pub place: OwnedFd,
    /// What was written and is not in the folder yet, in order.
    unsynced: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl Node {
    pub fn new(place: OwnedFd) -> Self {
        Self { place, unsynced: Mutex::new(Vec::new()) }
    }

    /// A path that leads to it, whatever its name is now.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.place.as_raw_fd())
    }

    pub fn open(&self, options: &OpenOptions) -> io::Result<File> {
        options.open(self.path())
    }

    /// What this mount sees of it.
    pub fn attributes(&self) -> io::Result<FileAttr> {
        let mut attributes = attributes(&fstat(&self.place)?);
        let unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        let end = unsynced.iter().map(|(offset, bytes)| offset + bytes.len() as u64).max().unwrap_or(0);
        attributes.size = attributes.size.max(end);
        Ok(attributes)
    }

    pub fn write(&self, offset: u64, bytes: Vec<u8>) {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).push((offset, bytes));
    }

    pub fn read(&self, file: &File, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + read as u64)? {
                0 => break,
                count => read += count,
            }
        }
        bytes.truncate(read);
        let unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        unsynced.iter().for_each(|(at, written)| overlay(&mut bytes, offset, size, *at, written));
        Ok(bytes)
    }

    /// Puts what was written into the folder.
    pub fn write_back(&self) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        if unsynced.is_empty() {
            return Ok(());
        }
        let file = self.open(OpenOptions::new().write(true))?;
        unsynced.drain(..).try_for_each(|(offset, bytes)| file.write_all_at(&bytes, offset))
    }

    pub fn truncate(&self, size: u64) -> io::Result<()> {
        self.write_back()?;
        self.open(OpenOptions::new().write(true))?.set_len(size)
    }
}

/// Lays bytes written at `at` over those read from `offset` on; what lies between the end and them is zeros.
fn overlay(bytes: &mut Vec<u8>, offset: u64, size: usize, at: u64, written: &[u8]) {
    for (position, byte) in (at..).zip(written) {
        let Some(index) = position.checked_sub(offset).and_then(|index| usize::try_from(index).ok()) else { continue };
        if index >= size {
            return;
        }
        if index >= bytes.len() {
            bytes.resize(index + 1, 0);
        }
        if let Some(place) = bytes.get_mut(index) {
            *place = *byte;
        }
    }
}

/// The attributes of a name in a folder.
pub fn attributes_at(folder: impl AsFd, name: &std::ffi::OsStr) -> io::Result<FileAttr> {
    Ok(attributes(&statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?))
}

fn attributes(stat: &Stat) -> FileAttr {
    let kind = match Kind::from_raw_mode(stat.st_mode) {
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        _ => FileType::RegularFile,
    };
    FileAttr {
        ino: INodeNo(stat.st_ino),
        size: stat.st_size.unsigned_abs(),
        blocks: stat.st_blocks.unsigned_abs(),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind,
        perm: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0o700),
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn time(seconds: i64, nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs()) + Duration::from_nanos(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_lies_over_what_is_there() {
        let mut bytes = b"abcdef".to_vec();
        overlay(&mut bytes, 10, 100, 8, b"1234");
        assert_eq!(bytes, b"34cdef");
        overlay(&mut bytes, 10, 100, 18, b"x");
        assert_eq!(bytes, b"34cdef\0\0x");
        overlay(&mut bytes, 10, 10, 19, b"yz");
        assert_eq!(bytes, b"34cdef\0\0xy");
    }
}
