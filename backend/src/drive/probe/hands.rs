//! The hands of one side: carry the closed set of operations out below one folder, and nothing else.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use rustix::io::Errno;
use tokio::sync::oneshot;

use super::mount::filesystem_of;
use crate::probe::{Answer, BATCH_MAX, Filesystem, Name, Operation, Place};

/// Rounds in emptying a folder that somebody fills.
const SWEEPS_MAX: u32 = 1000;

/// The folder of all probes, below the storage.
const PROBES: &str = "cluster/probe";

/// Bytes of a token.
const TOKEN: u64 = 8;

/// Longest file of a probe that is read.
const FILE_BYTES_MAX: u64 = 8 * TOKEN;

/// Where the probe called `number` works on a storage.
pub(super) fn folder(storage: &Path, number: u128) -> PathBuf {
    storage.join(PROBES).join(format!("{number:032x}"))
}

/// Carries operations out on one mount, on a thread of its own that a stalled filesystem may keep.
#[derive(Debug)]
pub(super) struct Hands {
    requests: mpsc::Sender<Request>,
    ended: oneshot::Receiver<()>,
}

type Request = (Vec<Operation>, oneshot::Sender<Vec<Answer>>);

impl Hands {
    /// Starts the thread for the folder of one probe, and says what that is on. `at_end` is run when all is done.
    ///
    /// # Errors
    /// If there can be no thread, or there is no such folder.
    pub(super) async fn start(
        folder: PathBuf,
        at_end: impl FnOnce() + Send + 'static,
    ) -> io::Result<(Self, Filesystem)> {
        let (requests, queue) = mpsc::channel::<Request>();
        let (found, filesystem) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new().name("probe".into()).spawn(move || {
            let _ = found.send(filesystem_of(&folder));
            for (operations, answer) in queue {
                let answers = operations.iter().map(|operation| perform(&folder, *operation)).collect();
                if answer.send(answers).is_err() {
                    break;
                }
            }
            at_end();
            let _ = end.send(());
        })?;
        let hands = Self { requests, ended };
        match filesystem.await.map_err(io::Error::other).flatten() {
            Ok(filesystem) => Ok((hands, filesystem)),
            Err(error) => {
                hands.finish().await;
                Err(error)
            }
        }
    }

    /// Carries out one request, in order. Nothing when the thread is gone or too much is asked.
    pub(super) async fn perform(&self, operations: Vec<Operation>) -> Option<Vec<Answer>> {
        if operations.len() > BATCH_MAX {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.requests.send((operations, answer)).ok()?;
        answered.await.ok()
    }

    /// Lets the thread end, and waits for it.
    pub(super) async fn finish(self) {
        drop(self.requests);
        let _ = self.ended.await;
    }
}

fn perform(folder: &Path, operation: Operation) -> Answer {
    let path = |place: Place| folder.join(place.to_string());
    let done = match operation {
        Operation::MakeFolder(place) => fs::create_dir(path(place)),
        Operation::Make { place, token } => make(&path(place), token),
        Operation::Extend { place, token } => extend(&path(place), token),
        Operation::Link { from, to } => fs::hard_link(path(from), path(to)),
        Operation::Rename { from, to } => fs::rename(path(from), path(to)),
        Operation::Remove(place) => fs::remove_file(path(place)),
        Operation::Sweep(place) => sweep(&path(place)),
        Operation::SyncFolder(place) => File::open(path(place)).and_then(|folder| folder.sync_all()),
        Operation::Stat(place) => {
            return fs::metadata(path(place)).map_or_else(|error| failed(&error), |facts| Answer::Length(facts.len()));
        }
        Operation::Read(place) => return read(&path(place)).map_or_else(|error| failed(&error), Answer::Tokens),
        Operation::List(place) => return list(&path(place)).map_or_else(|error| failed(&error), Answer::Names),
    };
    done.map_or_else(|error| failed(&error), |()| Answer::Done)
}

fn make(path: &Path, token: u64) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(&token.to_be_bytes())?;
    file.sync_all()
}

fn extend(path: &Path, token: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&token.to_be_bytes(), TOKEN)?;
    file.sync_all()
}

/// A handle may be stale although the file is there: then it is opened once more.
fn read(path: &Path) -> io::Result<Vec<u64>> {
    read_once(path).or_else(|error| if is_stale(&error) { read_once(path) } else { Err(error) })
}

fn read_once(path: &Path) -> io::Result<Vec<u64>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let (tokens, _) = bytes.as_chunks();
    Ok(tokens.iter().map(|token| u64::from_be_bytes(*token)).collect())
}

fn list(path: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.extend(entry?.file_name().to_str().and_then(Name::parse));
    }
    Ok(names)
}

/// Empties a folder and the folders in it, and removes it; it may be gone, and somebody may rename what is in it.
fn sweep(path: &Path) -> io::Result<()> {
    for _ in 0..SWEEPS_MAX {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            Err(error) => return Err(error),
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let Ok(entry) = entry else { break };
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => sweep(&entry.path()),
                _ => fs::remove_file(entry.path()),
            };
            if let Err(error) = removed
                && !is_missing(&error)
            {
                return Err(error);
            }
        }
    }
    Err(ErrorKind::DirectoryNotEmpty.into())
}

/// The folder of one probe, made by whoever asks.
#[derive(Debug)]
pub(super) struct Workplace {
    storage: PathBuf,
    pub(super) number: u128,
    /// There was no cluster on the storage before.
    made_cluster: bool,
}

impl Workplace {
    /// Makes the folder of the probe called `number`.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(super) fn make(storage: &Path, number: u128) -> io::Result<Self> {
        // Never the storage itself: it must be mounted.
        let made_cluster = make_folder(&storage.join("cluster"))?;
        make_folder(&storage.join(PROBES))?;
        fs::create_dir(folder(storage, number))?;
        Ok(Self { storage: storage.to_owned(), number, made_cluster })
    }

    pub(super) fn path(&self) -> PathBuf {
        folder(&self.storage, self.number)
    }

    /// Removes it, and what probes that died have left behind. Failures do not matter.
    pub(super) fn remove(self) {
        let _ = sweep(&self.path());
        let probes = self.storage.join(PROBES);
        for entry in fs::read_dir(&probes).into_iter().flatten().flatten() {
            // By the clock of whoever made it: if that is wrong by so much, a probe ends and is tried again.
            let made = entry.metadata().and_then(|facts| facts.modified());
            if made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > LEFT_BEHIND)) {
                let _ = sweep(&entry.path());
            }
        }
        if self.made_cluster {
            let _ = fs::remove_dir(&probes);
            let _ = fs::remove_dir(self.storage.join("cluster"));
        }
    }
}

/// No probe takes so long.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Says whether the folder is new.
fn make_folder(path: &Path) -> io::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn failed(error: &io::Error) -> Answer {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        _ if is_missing(error) => Answer::Missing,
        Some(Errno::EXIST) => Answer::Taken,
        Some(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::MLINK) => Answer::Unsupported,
        Some(errno) => Answer::Failed(errno.raw_os_error()),
        None => Answer::Failed(0),
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || is_stale(error)
}

fn is_stale(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::STALE.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Tick;

    const fn place(name: Name) -> Place {
        Place { round: 0, name }
    }

    #[test]
    fn a_probe_leaves_nothing_behind_and_touches_nothing_else() {
        let storage = tempfile::tempdir().unwrap();
        let workplace = Workplace::make(storage.path(), 7).unwrap();
        fs::create_dir(storage.path().join("accounts")).unwrap();
        assert_eq!(perform(&workplace.path(), Operation::MakeFolder(place(Name::Round))), Answer::Done);
        assert_eq!(perform(&workplace.path(), Operation::MakeFolder(place(Name::Live))), Answer::Done);
        let entry = Operation::Make { place: place(Name::Tick(Tick::Zero)), token: 1 };
        assert_eq!(perform(&workplace.path(), entry), Answer::Done);
        assert_eq!(perform(&workplace.path(), entry), Answer::Taken);
        workplace.remove();
        let left: Vec<_> = fs::read_dir(storage.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["accounts"]);
    }

    #[test]
    fn a_storage_that_is_not_there_is_not_made() {
        let storage = tempfile::tempdir().unwrap();
        let missing = storage.path().join("not-mounted");
        assert!(Workplace::make(&missing, 7).is_err());
        assert!(!missing.exists());
    }
}
