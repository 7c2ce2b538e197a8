//! The disk as the store sees it: one narrow trait with two implementations, the real one and a simulated one.
//!
//! Only operations that were exact on every shared filesystem measured are here: exclusive creation, `link`, positional
//! reads and writes, sync, listing; and, for the cluster's own directory alone, rename and the removal of directories
//! ([`ClusterFs`]). There is deliberately no truncation, no append mode, no memory map, no lock and no modification time. A file is written through the handle that created it and through no other, so "one
//! writer per file" needs no check at run time.

mod real;
pub mod simulated;

use std::io;
use std::path::Path;

pub use real::RealFs;
pub use simulated::SimulatedFs;

/// A filesystem shared by the members of a cluster, as one member sees it.
pub trait Fs: Send + Sync + 'static {
    /// An open file of this filesystem.
    type File: FsFile;

    /// Creates a file that must not exist yet, for writing and reading (`O_CREAT | O_EXCL`).
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if the name does not exist.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Gives the file named `from` the second name `to`, which must not exist yet.
    ///
    /// Of several members that link to one name, exactly one succeeds. The answer may be lost on the way, so after
    /// [`io::ErrorKind::AlreadyExists`] the caller compares what is there with what it meant to put there.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name `to` is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name; the bytes go with the last name and the last open handle.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if the name does not exist.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Makes one directory, whose parent exists.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken, [`io::ErrorKind::NotFound`] if the parent is missing.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes every name created in this directory so far survive a crash.
    ///
    /// # Errors
    /// Whatever the disk says; the names are then in doubt.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Lists the names in a directory, in no order.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Whether bytes that overwrite others are synced with less effort than bytes that make a file longer. A hint: what is
    /// safe does not depend on it.
    fn overwrites_cheaply(&self) -> bool;

    /// Draws a number nobody can foresee: it tells one writer's attempt from another's, and bytes of a message from
    /// bytes of the log.
    fn nonce(&self) -> u64;

    /// Names the process, for the people who read segment headers. At most [`IDENTITY_BYTES_MAX`] bytes count.
    fn identity(&self) -> &str;
}

/// What the cluster's own directory needs besides: names that move, and directories that go. The store has no use for
/// either, and its logs, which know [`Fs`] alone, cannot reach them.
pub trait ClusterFs: Fs {
    /// Gives a file another name in the same directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such name, or its directory was removed. The answer may be lost on the
    /// way: after an error the new name may be there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes an empty directory. Nothing can be made or renamed in it afterwards.
    ///
    /// # Errors
    /// [`io::ErrorKind::DirectoryNotEmpty`] if there is a name in it, [`io::ErrorKind::NotFound`] if it is gone.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// The longest [`Fs::identity`] that is written down.
pub const IDENTITY_BYTES_MAX: usize = 255;

/// An open file.
pub trait FsFile: Send + Sync + 'static {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 means the end of the file.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The same, if it can be done without waiting for the disk; `None` if not, or if nobody knows.
    fn read_cached_at(&self, _buffer: &mut [u8], _offset: u64) -> Option<usize> {
        None
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Whatever the disk says; any part of the bytes may then be in the file.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the bytes written so far survive a crash.
    ///
    /// # Errors
    /// Whatever the disk says. The bytes are then in doubt for ever: a second call may succeed without having written
    /// them.
    fn sync_data(&self) -> io::Result<()>;

    /// Tells the length of the file.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn length(&self) -> io::Result<u64>;

    /// Reads exactly `buffer.len()` bytes at `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let count = self.read_at(buffer, offset)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = buffer.split_at_mut(count).1;
            offset = offset.saturating_add(count as u64);
        }
        Ok(())
    }
}
