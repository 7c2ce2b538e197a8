//! Message bodies: where they are, and how they are read while the log is being written.
//!
//! A body is written once and never changes; short ones lie in the log itself, longer ones in files of their own, which
//! are on disk before the batch that names them. Nothing here writes to the log and nothing here deletes.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use super::format::layout::{BODIES, Name, body_path};
use super::fs::{Fs, FsFile};
use super::moves::Moves;
use crate::sabotage::{self, Sabotage};

/// Where the bytes of one body are. Assigned when a batch is built, and right for as long as the body exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BodyRef {
    /// Within a segment of the log.
    Inline {
        /// The segment.
        generation: u64,
        /// Where the body begins in the segment's file.
        offset: u64,
        /// How many bytes it has.
        length: u32,
    },
    /// A file of its own.
    File {
        /// The ownership under which the file was written.
        epoch: u128,
        /// Which file of that ownership.
        number: u64,
        /// How many bytes it has.
        length: u64,
    },
}

impl BodyRef {
    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match *self {
            Self::Inline { length, .. } => u64::from(length),
            Self::File { length, .. } => length,
        }
    }

    /// Whether there are no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads bodies of one ownable, from any thread, while its log is being written.
///
/// A body that was discarded may be gone: [`io::ErrorKind::NotFound`].
pub struct Reader<F: Fs> {
    shared: Arc<Shared<F>>,
}

struct Shared<F: Fs> {
    fs: Arc<F>,
    dir: PathBuf,
    /// The files used last, newest first.
    files: Mutex<VecDeque<(FileKey, Arc<F::File>)>>,
    moves: RwLock<Moves>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKey {
    Segment(u64),
    Body(u128, u64),
}

/// The file a body is in, and where its bytes begin there.
fn file_of(body: BodyRef) -> (FileKey, u64) {
    match body {
        BodyRef::Inline { generation, offset, .. } => (FileKey::Segment(generation), offset),
        BodyRef::File { epoch, number, .. } => (FileKey::Body(epoch, number), 0),
    }
}

/// More is not copied while others wait for the thread.
const CACHED_BYTES_MAX: usize = 64 << 10;

/// An open account needs its newest segment and now and then an old one; open files are scarce among many accounts.
const OPEN_FILES_MAX: usize = 4;

impl<F: Fs> Reader<F> {
    pub(super) fn new(fs: Arc<F>, dir: &Path) -> Self {
        Self { shared: Arc::new(Shared { fs, dir: dir.to_owned(), files: Mutex::default(), moves: RwLock::default() }) }
    }

    /// Reads the bytes of `range` within a body.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if the range is not within the body; else whatever the disk says.
    pub fn read(&self, body: BodyRef, range: Range<u64>) -> io::Result<Vec<u8>> {
        if range.start > range.end || range.end > body.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let place = self.locate(body);
        match self.read_at(place, &range) {
            // It was moved just now, and the old place deleted.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.locate(place) != place => {
                self.read_at(self.locate(place), &range)
            }
            other => other,
        }
    }

    /// The same, if it takes no more than copying from memory; `None` if [`Reader::read`] has to be asked, where one may
    /// block.
    #[must_use]
    pub fn read_cached(&self, body: BodyRef, range: Range<u64>) -> Option<Vec<u8>> {
        let length = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        if range.end > body.len() || length > CACHED_BYTES_MAX {
            return None;
        }
        let (key, base) = file_of(self.locate(body));
        let file = self.open_file(key)?;
        let mut buffer = vec![0; length];
        let count = file.read_cached_at(&mut buffer, base + range.start)?;
        (count == length).then_some(buffer)
    }

    fn read_at(&self, body: BodyRef, range: &Range<u64>) -> io::Result<Vec<u8>> {
        let length = usize::try_from(range.end - range.start).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (key, base) = file_of(body);
        let mut buffer = vec![0; length];
        match self.file(key)?.read_exact_at(&mut buffer, base + range.start) {
            // The server has forgotten the handle, not the file.
            Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => {
                self.forget(key);
                self.file(key)?.read_exact_at(&mut buffer, base + range.start)?;
            }
            other => other?,
        }
        Ok(buffer)
    }

    /// Where a body is now.
    #[must_use]
    pub fn locate(&self, body: BodyRef) -> BodyRef {
        self.shared.moves.read().locate(body)
    }

    pub(super) fn moves(&self) -> Moves {
        self.shared.moves.read().clone()
    }

    /// From now on, bodies are read from where they were moved to.
    pub(super) fn note_moves(&self, moved: Vec<(BodyRef, BodyRef)>) {
        if moved.is_empty() {
            return;
        }
        let mut moves = self.shared.moves.write();
        moved.into_iter().for_each(|(from, to)| moves.note(from, to));
    }

    /// Forgets moves that only bodies nobody names any more have made.
    pub(super) fn retain_moves(&self, bodies: impl Iterator<Item = BodyRef>) {
        let mut moves = self.shared.moves.write();
        if moves.len() > 0 {
            moves.retain(bodies);
        }
    }

    /// Lets the reader use the file that the writer has open anyway.
    pub(super) fn remember_segment(&self, generation: u64, file: Arc<F::File>) {
        self.remember(FileKey::Segment(generation), file);
    }

    /// Closes a segment that was deleted: as long as it is open, its bytes are not given back.
    pub(super) fn forget_segment(&self, generation: u64) {
        self.forget(FileKey::Segment(generation));
    }

    /// Closes a body file that was deleted.
    pub(super) fn forget_body(&self, epoch: u128, number: u64) {
        self.forget(FileKey::Body(epoch, number));
    }

    /// A file that is open.
    fn open_file(&self, key: FileKey) -> Option<Arc<F::File>> {
        let mut files = self.shared.files.lock();
        let at = files.iter().position(|(cached, _)| *cached == key)?;
        let entry = files.remove(at)?;
        let file = Arc::clone(&entry.1);
        files.push_front(entry);
        Some(file)
    }

    fn file(&self, key: FileKey) -> io::Result<Arc<F::File>> {
        if let Some(file) = self.open_file(key) {
            return Ok(file);
        }
        let path = match key {
            FileKey::Segment(generation) => Name::Segment { generation }.within(&self.shared.dir),
            FileKey::Body(epoch, number) => body_path(&self.shared.dir, epoch, number),
        };
        let file = Arc::new(self.shared.fs.open(&path)?);
        self.remember(key, Arc::clone(&file));
        Ok(file)
    }

    fn remember(&self, key: FileKey, file: Arc<F::File>) {
        let mut files = self.shared.files.lock();
        files.retain(|(cached, _)| *cached != key);
        files.push_front((key, file));
        files.truncate(OPEN_FILES_MAX);
    }

    fn forget(&self, key: FileKey) {
        self.shared.files.lock().retain(|(cached, _)| *cached != key);
    }
}

impl<F: Fs> Clone for Reader<F> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<F: Fs> std::fmt::Debug for Reader<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

/// Writes bodies to files of their own and makes bytes and names survive a crash.
pub(super) fn write_files<F: Fs>(fs: &F, dir: &Path, epoch: u128, bodies: &[(u64, Vec<u8>)]) -> io::Result<()> {
    let Some((first, _)) = bodies.first() else { return Ok(()) };
    let folder = dir.join(BODIES);
    for (number, bytes) in bodies {
        let path = body_path(dir, epoch, *number);
        let file = match fs.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == first => {
                make_folder(fs, dir, &folder)?;
                fs.create(&path)?
            }
            other => other?,
        };
        file.write_at(bytes, 0)?;
        if !sabotage::on(Sabotage::SkipBodySync) {
            file.sync_data()?;
        }
    }
    if sabotage::on(Sabotage::SkipBodyNameSync) {
        return Ok(());
    }
    fs.sync_dir(&folder)
}

fn make_folder<F: Fs>(fs: &F, dir: &Path, folder: &Path) -> io::Result<()> {
    match fs.create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // A later batch finds the folder there and does not ask whether its name is on disk. So a failure here is none
        // after which the log may simply go on, even if the disk was only full: opened again, it begins a segment, and
        // with that segment's name this one is synced.
        _ => fs.sync_dir(dir).map_err(io::Error::other),
    }
}
