//! The filesystem of the operating system.
//!
//! Nothing is cached here: every call is one system call, so that what the simulated twin counts as one operation is
//! one operation here as well.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::io::{ReadWriteFlags, preadv2};

use super::{ClusterFs, Fs, FsFile};

/// Files of accounts are for the member's own user alone.
const FILE_MODE: u32 = 0o600;

/// The real filesystem.
#[derive(Debug, Clone, Default)]
pub struct RealFs {
    identity: String,
    overwrites_cheaply: bool,
}

/// Local filesystems that keep a file's length apart from its bytes, so that a longer file costs another write:
/// `EXT4_SUPER_MAGIC`, of ext2 and ext3 as well, and `XFS_SUPER_MAGIC`.
const CHEAP_OVERWRITES: [u64; 2] = [0xef53, 0x5846_5342];

impl RealFs {
    /// Names the process that writes, for the people who read segment headers.
    #[must_use]
    pub fn named(identity: &str) -> Self {
        Self { identity: identity.to_owned(), ..Self::default() }
    }

    /// The same, knowing what kind of filesystem the storage at `path` is.
    #[must_use]
    pub fn on(self, path: &Path) -> Self {
        let kind = rustix::fs::statfs(path).map(|found| found.f_type as u64);
        Self { overwrites_cheaply: kind.is_ok_and(|kind| CHEAP_OVERWRITES.contains(&kind)), ..self }
    }
}

impl Fs for RealFs {
    type File = File;

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours, and the store looks only at its own names.
        std::fs::read_dir(path)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn overwrites_cheaply(&self) -> bool {
        self.overwrites_cheaply
    }

    fn nonce(&self) -> u64 {
        rand::random()
    }

    fn identity(&self) -> &str {
        &self.identity
    }
}

impl ClusterFs for RealFs {
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }
}

impl FsFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> Option<usize> {
        preadv2(self, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT).ok()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }
}
