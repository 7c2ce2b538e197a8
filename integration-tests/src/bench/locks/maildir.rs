//! Maildir: each message a file, its flags in its name. Nothing is locked, and nothing numbers the messages: a server
//! that gives them UIDs needs a list of them, and a lock for it, besides.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::{files::Files, lock::Locking};

/// An account.
pub(super) struct Maildir {
    folder: PathBuf,
    new: File,
    current: File,
    process: usize,
    next: AtomicU64,
}

impl Files for Maildir {
    /// Its file, relative to the account's folder.
    type Name = String;

    fn open(folder: &Path, process: usize, _: Locking) -> io::Result<Self> {
        for name in ["tmp", "new", "cur"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let (new, current) = (File::open(folder.join("new"))?, File::open(folder.join("cur"))?);
        Ok(Self { folder: folder.to_owned(), new, current, process, next: AtomicU64::new(0) })
    }

    fn deliver(&self, message: &[u8]) -> io::Result<String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.{number}.bench", self.process);
        let temporary = self.folder.join("tmp").join(&name);
        let mut file = File::create_new(&temporary)?;
        file.write_all(message)?;
        file.sync_all()?;
        fs::rename(&temporary, self.folder.join("new").join(&name))?;
        self.new.sync_all()?;
        Ok(format!("new/{name}"))
    }

    fn read(&self, name: &String) -> io::Result<Vec<u8>> {
        fs::read(self.folder.join(name))
    }

    fn mark_seen(&self, name: String) -> io::Result<String> {
        let seen = format!("{}:2,S", name.replacen("new/", "cur/", 1));
        fs::rename(self.folder.join(&name), self.folder.join(&seen))?;
        self.current.sync_all()?;
        Ok(seen)
    }

    fn remove(&self, name: String) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))?;
        self.current.sync_all()
    }
}
