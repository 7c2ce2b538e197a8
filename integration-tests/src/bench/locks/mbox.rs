//! mbox and index: all messages in one file, what is known of them in another.
//!
//! The index has one record of 16 bytes for each message: where it begins, how long it is, its flags. It is made anew from
//! the mbox after a crash, so a delivery syncs the mbox alone; a change of flags syncs the index alone. Removed messages
//! are marked, not squeezed out. Both is as little as this kind of storage can get away with.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::{
    files::Files,
    lock::{For, Lock, Locking},
};

/// Bytes of a record of the index.
const RECORD: u64 = 16;

/// Where the flags are in a record.
const FLAGS: u64 = 12;

const SEEN: u32 = 1;
const REMOVED: u32 = 2;

/// An account.
pub(super) struct Mbox {
    mbox: File,
    index: File,
    lock: Lock,
}

impl Mbox {
    /// Sets a flag of a message, under the lock.
    fn set(&self, number: u64, flag: u32) -> io::Result<()> {
        let held = self.lock.take(For::Writing, &[&self.index])?;
        let mut flags = [0; 4];
        self.index.read_exact_at(&mut flags, number * RECORD + FLAGS)?;
        let flags = u32::from_be_bytes(flags) | flag;
        self.index.write_all_at(&flags.to_be_bytes(), number * RECORD + FLAGS)?;
        self.index.sync_data()?;
        held.give_back()
    }
}

impl Files for Mbox {
    /// Its place in the index.
    type Name = u64;

    fn open(folder: &Path, _: usize, locking: Locking) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let open =
            |name| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join(name));
        Ok(Self { mbox: open("mbox")?, index: open("index")?, lock: Lock::new(folder, locking) })
    }

    fn deliver(&self, message: &[u8]) -> io::Result<u64> {
        let held = self.lock.take(For::Writing, &[&self.mbox, &self.index])?;
        let (offset, number) = (self.mbox.metadata()?.len(), self.index.metadata()?.len() / RECORD);
        self.mbox.write_all_at(message, offset)?;
        self.mbox.sync_data()?;
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        let record = [&offset.to_be_bytes()[..], &length.to_be_bytes(), &[0; 4]].concat();
        self.index.write_all_at(&record, number * RECORD)?;
        held.give_back()?;
        Ok(number)
    }

    fn read(&self, number: &u64) -> io::Result<Vec<u8>> {
        let held = self.lock.take(For::Reading, &[&self.mbox, &self.index])?;
        let (mut offset, mut length) = ([0; 8], [0; 4]);
        self.index.read_exact_at(&mut offset, number * RECORD)?;
        self.index.read_exact_at(&mut length, number * RECORD + 8)?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.mbox.read_exact_at(&mut message, u64::from_be_bytes(offset))?;
        held.give_back()?;
        Ok(message)
    }

    fn mark_seen(&self, number: u64) -> io::Result<u64> {
        self.set(number, SEEN)?;
        Ok(number)
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.set(number, REMOVED)
    }
}
