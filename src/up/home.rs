//! The data folder of `up`: what is where, who may read it, and that only one `up` uses it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};

use crate::exit::Failure;

/// The folder, locked for as long as this value lives.
pub struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes the folder if it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let fail = |error: io::Error| {
            Failure::Configuration(anyhow::Error::new(error).context(format!("use {} as data folder", path.display())))
        };
        make_folder(path).map_err(fail)?;
        let path = fs::canonicalize(path).map_err(fail)?;
        let lock = lock(&path)?;
        let home = Self { path, _lock: lock };
        for name in ["secrets", "tls", "logs", "storage", "cache"] {
            make_folder(&home.path.join(name)).map_err(fail)?;
        }
        Ok(home)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config(&self) -> PathBuf {
        self.path.join(laniakea_config::load::FILE_NAME)
    }

    pub fn plan(&self) -> PathBuf {
        self.path.join("up.json")
    }

    pub fn endpoints(&self) -> PathBuf {
        self.path.join("endpoints.json")
    }

    pub fn ca(&self) -> PathBuf {
        self.path.join("ca.pem")
    }

    pub fn tls(&self, name: &str) -> PathBuf {
        self.path.join("tls").join(name)
    }

    pub fn secret(&self, name: &str) -> PathBuf {
        self.path.join("secrets").join(name)
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    pub fn storage(&self, cluster: &str) -> PathBuf {
        self.path.join("storage").join(cluster)
    }

    pub fn directory_data(&self) -> PathBuf {
        self.path.join("directory")
    }

    pub fn cache(&self, router: &str) -> PathBuf {
        self.path.join("cache").join(router)
    }

    /// Where a router waits for its successor: beside its cache, under a short name, for such paths have 107 bytes at most.
    pub fn socket(&self, router: &str) -> PathBuf {
        self.path.join("cache").join(format!("{router}.sock"))
    }

    /// The content of a secret's file; made by `make` the first time.
    pub fn keep_secret(&self, name: &str, make: impl FnOnce() -> Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let path = self.secret(name);
        match fs::read(&path) {
            Ok(bytes) if !bytes.is_empty() => Ok(bytes),
            Ok(_) => self.put_secret(name, make()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.put_secret(name, make()),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Replaces a secret.
    pub fn put_secret(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        replace(&self.secret(name), &bytes)?;
        Ok(bytes)
    }
}

/// Writes a file that only its owner may read, whole or not at all, also across a power failure.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().with_context(|| format!("write {}", path.display()))
}

fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // The process's mask may have taken more away, never less.
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Locks the folder; the lock goes with the process, however it ends.
fn lock(folder: &Path) -> Result<File, Failure> {
    let path = folder.join("up.pid");
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.with_context(|| format!("open {}", path.display())).map_err(Failure::Configuration)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        // Without the number the message is still clear.
        let _ = file.read_to_string(&mut pid);
        return Err(Failure::Usage(anyhow::anyhow!(
            "another `laniakea up` (process {}) runs on {}; stop it with `kill {}`, or choose another --data",
            pid.trim(),
            folder.display(),
            pid.trim()
        )));
    }
    let write = file.set_len(0).and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    write.with_context(|| format!("write {}", path.display())).map_err(Failure::Configuration)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cannot_use_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = Home::open(&path).unwrap();
        let Err(refused) = Home::open(&path) else { panic!("a second lock") };
        assert!(refused.to_string().contains(&format!("kill {}", std::process::id())), "{refused}");
        drop(first);
        assert!(Home::open(&path).is_ok());
    }

    #[test]
    fn secrets_are_made_once_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("data")).unwrap();
        assert_eq!(home.keep_secret("a", || vec![1]).unwrap(), [1]);
        assert_eq!(home.keep_secret("a", || vec![2]).unwrap(), [1]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&home.secret("a")), mode(home.path())), (0o600, 0o700));
    }
}
