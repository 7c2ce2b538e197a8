//! Locks on files, of every kind that mail servers use.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, fcntl_lock, flock};

/// The first wait for a lock file; it doubles …
const WAIT: Duration = Duration::from_micros(200);

/// … up to this.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// Nobody holds a lock so long: the one who made the file is dead.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Which locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locking {
    None,
    Fcntl,
    Flock,
    Dotlock,
    /// A lock file, and fcntl locks on every file.
    Both,
}

/// Whether others may read meanwhile. A lock file knows no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Reading,
    Writing,
}

/// The lock of one account, for all clients of this process.
pub(super) struct Lock {
    locking: Locking,
    dotlock: PathBuf,
    /// fcntl locks are the process's: among its own clients they exclude nobody.
    here: Mutex<()>,
}

/// A lock that is held.
pub(super) struct Held<'a> {
    lock: &'a Lock,
    files: Vec<&'a File>,
    _here: MutexGuard<'a, ()>,
}

impl Lock {
    pub(super) fn new(folder: &Path, locking: Locking) -> Self {
        Self { locking, dotlock: folder.join("mbox.lock"), here: Mutex::default() }
    }

    /// Waits for the lock, which is on these files or on the account as a whole.
    pub(super) fn take<'a>(&'a self, what: For, files: &[&'a File]) -> io::Result<Held<'a>> {
        let here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = Held { lock: self, files: Vec::new(), _here: here };
        if matches!(self.locking, Locking::Dotlock | Locking::Both) {
            self.make_dotlock()?;
        }
        for file in files {
            let operation = match what {
                For::Reading => FlockOperation::LockShared,
                For::Writing => FlockOperation::LockExclusive,
            };
            match self.locking {
                Locking::None | Locking::Dotlock => {}
                Locking::Fcntl | Locking::Both => fcntl_lock(file, operation)?,
                Locking::Flock => flock(file, operation)?,
            }
            held.files.push(file);
        }
        Ok(held)
    }

    fn make_dotlock(&self) -> io::Result<()> {
        let (begun, mut wait) = (Instant::now(), WAIT);
        loop {
            match OpenOptions::new().write(true).create_new(true).open(&self.dotlock) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && begun.elapsed() < GIVE_UP => {
                    std::thread::sleep(wait);
                    wait = (2 * wait).min(WAIT_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Held<'_> {
    /// Gives the lock back. Whoever fails on the way ends the benchmark, and the locks with it.
    pub(super) fn give_back(self) -> io::Result<()> {
        for file in self.files.iter().rev() {
            match self.lock.locking {
                Locking::None | Locking::Dotlock => {}
                Locking::Fcntl | Locking::Both => fcntl_lock(file, FlockOperation::Unlock)?,
                Locking::Flock => flock(file, FlockOperation::Unlock)?,
            }
        }
        match self.lock.locking {
            Locking::Dotlock | Locking::Both => fs::remove_file(&self.lock.dotlock),
            Locking::None | Locking::Fcntl | Locking::Flock => Ok(()),
        }
    }
}
