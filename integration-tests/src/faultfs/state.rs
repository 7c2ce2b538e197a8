//! What a mount knows: its files, and what goes wrong.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use fuser::FileAttr;
use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
};

use super::{Failure, Fault, Faults, Kind, node::Node};

/// The number of the folder that is mounted.
const ROOT: u64 = 1;

/// An open file or folder.
pub struct Handle {
    pub node: Arc<Node>,
    /// None for a folder.
    pub file: Option<File>,
    /// What a folder held when it was opened.
    pub names: Vec<(u64, fuser::FileType, std::ffi::OsString)>,
    /// Whether it was opened after files last went stale.
    age: u64,
}

/// Everything that operations share.
pub struct State {
    faults: Mutex<Faults>,
    changed: Condvar,
    nodes: Mutex<HashMap<u64, (Arc<Node>, u64)>>,
    handles: Mutex<HashMap<u64, Arc<Handle>>>,
    next_handle: AtomicU64,
    age: AtomicU64,
}

impl State {
    pub fn new(folder: &Path) -> io::Result<Self> {
        let root = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            faults: Mutex::default(),
            changed: Condvar::new(),
            nodes: Mutex::new(HashMap::from([(ROOT, (Arc::new(Node::new(root)), 1))])),
            handles: Mutex::default(),
            next_handle: AtomicU64::new(1),
            age: AtomicU64::new(0),
        })
    }

    pub fn set(&self, faults: Faults) {
        if faults.open_files_are_stale {
            self.age.fetch_add(1, Ordering::SeqCst);
        }
        *lock(&self.faults) = faults;
        self.changed.notify_all();
    }

    pub fn sync_lies(&self) -> bool {
        lock(&self.faults).sync_lies
    }

    /// What happens to an operation of this kind now.
    pub fn fault(&self, kind: Kind) -> Option<Fault> {
        fault(&lock(&self.faults), kind)
    }

    /// Waits as long as an operation of this kind has to.
    pub fn wait(&self, kind: Kind) {
        if let Some(Fault::Slow(milliseconds)) = self.fault(kind) {
            thread::sleep(Duration::from_millis(milliseconds));
        }
        let mut faults = lock(&self.faults);
        while fault(&faults, kind) == Some(Fault::Stall) {
            faults = self.changed.wait(faults).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does the work of an operation, or does not, as the faults have it.
    pub fn attempt<T>(&self, kind: Kind, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.fault(kind) {
            Some(Fault::Fail(failure)) => Err(failure.error()),
            Some(Fault::LoseAnswer(failure)) => {
                work()?;
                Err(failure.error())
            }
            Some(Fault::Stall | Fault::Slow(_)) | None => work(),
        }
    }

    pub fn node(&self, number: u64) -> io::Result<Arc<Node>> {
        lock(&self.nodes).get(&number).map(|(node, _)| Arc::clone(node)).ok_or_else(|| Errno::STALE.into())
    }

    /// Remembers a file or a folder that the kernel was told of once more.
    pub fn remember(&self, place: OwnedFd) -> io::Result<FileAttr> {
        let found = Node::new(place);
        let number = found.attributes()?.ino.0;
        let mut nodes = lock(&self.nodes);
        let (node, told) = nodes.entry(number).or_insert_with(|| (Arc::new(found), 0));
        *told += 1;
        node.attributes()
    }

    /// Forgets that the kernel was told of a file so many times.
    pub fn forget(&self, number: u64, times: u64) {
        let mut nodes = lock(&self.nodes);
        if let Some((_, told)) = nodes.get_mut(&number).filter(|_| number != ROOT) {
            *told = told.saturating_sub(times);
            if *told == 0 {
                nodes.remove(&number);
            }
        }
    }

    pub fn add_file(&self, node: Arc<Node>, file: File) -> u64 {
        self.add(Handle { node, file: Some(file), names: Vec::new(), age: self.age.load(Ordering::SeqCst) })
    }

    pub fn add_folder(&self, node: Arc<Node>, names: Vec<(u64, fuser::FileType, std::ffi::OsString)>) -> u64 {
        self.add(Handle { node, file: None, names, age: u64::MAX })
    }

    fn add(&self, handle: Handle) -> u64 {
        let number = self.next_handle.fetch_add(1, Ordering::SeqCst);
        lock(&self.handles).insert(number, Arc::new(handle));
        number
    }

    /// An open file or folder, unless it has become stale.
    pub fn handle(&self, number: u64) -> io::Result<Arc<Handle>> {
        let handle = lock(&self.handles).get(&number).map(Arc::clone).ok_or(Errno::BADF)?;
        if handle.age < self.age.load(Ordering::SeqCst) { Err(Errno::STALE.into()) } else { Ok(handle) }
    }

    pub fn close(&self, number: u64) -> Option<Arc<Handle>> {
        lock(&self.handles).remove(&number)
    }
}

impl Failure {
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Io => Errno::IO,
            Self::Full => Errno::NOSPC,
            Self::Stale => Errno::STALE,
        }
        .into()
    }
}

fn fault(faults: &Faults, kind: Kind) -> Option<Fault> {
    faults.rules.iter().find(|(kinds, _)| kinds.contains(&kind)).map(|(_, fault)| *fault)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
