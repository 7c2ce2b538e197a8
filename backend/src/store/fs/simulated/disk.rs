//! The file server of the simulation: what everybody sees, and what of it would survive a loss of power.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A disk writes whole sectors: of a write that is interrupted, any of them may be there and the others not.
const SECTOR_BYTES: usize = 512;
/// And a cache writes whole pages.
const PAGE_BYTES: usize = 4096;

pub type Inode = u64;

/// Bytes at a place in a file.
#[derive(Debug, Clone)]
pub struct Write {
    pub offset: usize,
    pub bytes: Vec<u8>,
    /// A sync of these bytes has failed; no later one will make up for it.
    pub stuck: bool,
}

#[derive(Debug, Clone, Default)]
struct FileState {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(Inode),
    Dir,
}

#[derive(Debug, Clone, Default)]
struct DirState {
    current: BTreeMap<String, Entry>,
    durable: BTreeMap<String, Entry>,
    /// What happened to names since the last sync of the directory, in order.
    pending: Vec<(String, Option<Entry>)>,
    /// It has no name any more, unless a loss of power brings it back.
    removed: bool,
}

/// Files and directories, as seen now and as they would be after a loss of power.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: BTreeMap<Inode, FileState>,
    dirs: BTreeMap<PathBuf, DirState>,
    next_inode: Inode,
}

impl Disk {
    /// A disk with a root directory and nothing in it.
    pub fn new() -> Self {
        Self { dirs: [(PathBuf::from("/"), DirState::default())].into(), ..Self::default() }
    }

    pub fn look_up(&self, path: &Path) -> io::Result<Inode> {
        match self.entry(path) {
            Some(Entry::File(inode)) => Ok(inode),
            Some(Entry::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn create(&mut self, path: &Path) -> io::Result<Inode> {
        self.next_inode += 1;
        let inode = self.next_inode;
        self.add(path, Entry::File(inode))?;
        self.files.insert(inode, FileState::default());
        Ok(inode)
    }

    pub fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.look_up(from)?;
        self.add(to, Entry::File(inode))
    }

    pub fn unlink(&mut self, path: &Path) -> io::Result<()> {
        self.look_up(path)?;
        let (dir, name) = self.dir_of(path)?;
        dir.change(name, None);
        Ok(())
    }

    /// Gives a file another name in the same directory; whoever had that name loses it.
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.look_up(from)?;
        if from.parent() != to.parent() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (dir, to) = self.dir_of(to)?;
        dir.change(to, Some(Entry::File(inode)));
        self.unlink(from)
    }

    pub fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir_mut(path)?;
        if !dir.current.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        dir.removed = true;
        let (parent, name) = self.dir_of(path)?;
        parent.change(name, None);
        Ok(())
    }

    pub fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.add(path, Entry::Dir)?;
        self.dirs.insert(path.to_owned(), DirState::default());
        Ok(())
    }

    pub fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let dir = self.dirs.get(path).filter(|dir| !dir.removed).ok_or(io::ErrorKind::NotFound)?;
        Ok(dir.current.keys().cloned().collect())
    }

    pub fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir_mut(path)?;
        dir.durable = dir.current.clone();
        dir.pending.clear();
        Ok(())
    }

    pub fn bytes(&self, inode: Inode) -> &[u8] {
        self.files.get(&inode).map_or(&[], |file| &file.current)
    }

    pub fn write(&mut self, inode: Inode, write: Write) {
        let file = self.files.entry(inode).or_default();
        apply(&mut file.current, &write);
        file.pending.push(write);
    }

    pub fn sync(&mut self, inode: Inode) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        for write in file.pending.extract_if(.., |write| !write.stuck) {
            apply(&mut file.durable, &write);
        }
    }

    /// A sync that fails: the bytes can still be read, but no later sync will write them.
    pub fn fail_sync(&mut self, inode: Inode) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        file.pending.iter_mut().for_each(|write| write.stuck = true);
    }

    /// Flips one bit, on disk and in every cache.
    pub fn flip(&mut self, inode: Inode, bit: usize) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        for bytes in [&mut file.current, &mut file.durable] {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// For each thing that a loss of power leaves to chance, in how many ways it may come out.
    pub fn chances(&self) -> Vec<usize> {
        let files = self.files.values().filter(|file| !file.pending.is_empty()).map(|file| outcomes(&file.pending));
        let names = self.dirs.values().flat_map(|dir| dir.unsynced_names().into_values().map(|changes| changes + 1));
        files.chain(names).collect()
    }

    /// What is left after a loss of power, when each chance has come out this way.
    pub fn after_power_loss(&self, fate: &[usize]) -> Self {
        let mut fate = fate.iter().copied().chain(std::iter::repeat(0));
        let mut left = Self { next_inode: self.next_inode, ..Self::default() };
        for (inode, file) in &self.files {
            let mut bytes = file.durable.clone();
            if !file.pending.is_empty() {
                settle(&mut bytes, &file.pending, fate.next().unwrap_or(0));
            }
            left.files.insert(*inode, FileState { current: bytes.clone(), durable: bytes, pending: Vec::new() });
        }
        for (path, dir) in &self.dirs {
            let mut names = dir.durable.clone();
            for name in dir.unsynced_names().into_keys() {
                let kept = fate.next().unwrap_or(0);
                for (_, entry) in dir.pending.iter().filter(|(changed, _)| *changed == name).take(kept) {
                    match entry {
                        Some(entry) => names.insert(name.clone(), *entry),
                        None => names.remove(&name),
                    };
                }
            }
            left.dirs.insert(path.clone(), DirState { current: names.clone(), durable: names, ..DirState::default() });
        }
        left.drop_lost_directories();
        left
    }

    /// A directory whose own name was lost is gone with all that is in it.
    fn drop_lost_directories(&mut self) {
        let named = |disk: &Self, path: &Path| path == Path::new("/") || disk.entry(path) == Some(Entry::Dir);
        while let Some(lost) = self.dirs.keys().find(|path| !named(self, path)).cloned() {
            self.dirs.remove(&lost);
        }
    }

    fn entry(&self, path: &Path) -> Option<Entry> {
        let dir = self.dirs.get(path.parent()?)?;
        dir.current.get(path.file_name()?.to_str()?).copied()
    }

    fn add(&mut self, path: &Path, entry: Entry) -> io::Result<()> {
        let (dir, name) = self.dir_of(path)?;
        if dir.current.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        dir.change(name, Some(entry));
        Ok(())
    }

    fn dir_of(&mut self, path: &Path) -> io::Result<(&mut DirState, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.dir_mut(parent)?, name))
    }

    fn dir_mut(&mut self, path: &Path) -> io::Result<&mut DirState> {
        Ok(self.dirs.get_mut(path).filter(|dir| !dir.removed).ok_or(io::ErrorKind::NotFound)?)
    }
}

impl DirState {
    fn change(&mut self, name: String, entry: Option<Entry>) {
        match entry {
            Some(entry) => self.current.insert(name.clone(), entry),
            None => self.current.remove(&name),
        };
        self.pending.push((name, entry));
    }

    /// The names in doubt, with the number of their changes.
    fn unsynced_names(&self) -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        for (name, _) in &self.pending {
            *names.entry(name.clone()).or_default() += 1;
        }
        names
    }
}

/// Puts the bytes of a write where they belong.
pub fn apply(file: &mut Vec<u8>, write: &Write) {
    let end = write.offset + write.bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(write.offset..end) {
        place.copy_from_slice(&write.bytes);
    }
}

/// In how many ways the last of the writes that are kept may be torn.
const TEARS: usize = 6;

/// Nothing kept; or the first `k` kept and the `k`th of them whole or torn; or, because a cache writes in any order, all but
/// one kept, or only the last.
fn outcomes(pending: &[Write]) -> usize {
    1 + pending.len() * TEARS + if pending.len() > 1 { pending.len() } else { 0 }
}

fn settle(file: &mut Vec<u8>, pending: &[Write], outcome: usize) {
    let Some(outcome) = outcome.checked_sub(1) else { return };
    let (whole, tear) = (outcome / TEARS, outcome % TEARS);
    let Some(last) = pending.get(whole) else {
        let missing = outcome - pending.len() * TEARS;
        let is_kept = |number: usize| match missing + 1 == pending.len() {
            // That all but the last are kept is among the outcomes above.
            true => number == missing,
            false => number != missing,
        };
        pending.iter().enumerate().filter(|(number, _)| is_kept(*number)).for_each(|(_, write)| apply(file, write));
        return;
    };
    pending.iter().take(whole).for_each(|write| apply(file, write));
    let length = last.bytes.len();
    // Which bytes of the last write have reached the disk.
    let reached = match tear {
        0 => 0..length,
        1 => 0..SECTOR_BYTES.min(length),
        2 => 0..PAGE_BYTES.min(length),
        3 => 0..length.saturating_sub(1) / SECTOR_BYTES * SECTOR_BYTES,
        4 => length.saturating_sub(1) / SECTOR_BYTES * SECTOR_BYTES..length,
        _ => 0..0,
    };
    // The file has its new length in any case: sizes are not written with the bytes.
    let end = last.offset + length;
    if file.len() < end {
        file.resize(end, 0);
    }
    let (from, to) = (last.offset + reached.start, last.offset + reached.end);
    if let (Some(place), Some(bytes)) = (file.get_mut(from..to), last.bytes.get(reached)) {
        place.copy_from_slice(bytes);
    }
}
