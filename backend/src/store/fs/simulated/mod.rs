//! A shared filesystem in memory, for tests and simulations: it loses power at any operation, tears and loses what was
//! not synced, returns errors, and shows each member what the caches of a real mount would show.
//!
//! Everything is deterministic: the same calls in the same order have the same results. One call of [`Fs`] or [`FsFile`]
//! is one operation; operations are counted per member.

mod disk;
mod gate;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

pub use gate::Gate;

use self::disk::{Disk, Inode, Write, apply};
use super::{ClusterFs, Fs, FsFile};

/// What a member's mount shows of the other members' changes, as measured on real ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caching {
    /// Everything at once: the mount options that a cluster needs.
    #[default]
    Strict,
    /// NFS as mounted by default: a name that was missing stays missing, one that was there stays there.
    NfsDefault,
    /// GlusterFS as installed by default: a file that was read once is read from memory ever after.
    GlusterDefault,
    /// As bad as the assumptions allow: names and listings stay what they were when this member last changed the
    /// directory.
    AsAssumed,
}

/// What goes wrong at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Power is lost before the operation; nothing works any more, for anybody.
    PowerLoss,
    /// The member's process dies before the operation; nothing works for this member any more.
    Death,
    /// The operation is not done.
    Error(io::ErrorKind),
    /// The operation is done, and yet an error is returned: the answer was lost.
    LostAnswer,
    /// A write is done in part; a sync leaves its bytes in doubt for ever.
    Halfway,
}

/// One member's view of a simulated shared filesystem.
#[derive(Debug, Clone)]
pub struct SimulatedFs {
    world: Arc<Mutex<World>>,
    /// The process.
    member: usize,
    identity: String,
}

/// An open file of a [`SimulatedFs`].
#[derive(Debug)]
pub struct SimulatedFile {
    fs: SimulatedFs,
    inode: Inode,
}

#[derive(Debug, Default)]
struct World {
    disk: Disk,
    mounts: Vec<Mount>,
    members: Vec<Member>,
    /// Which processes wrote into each file.
    writers: BTreeMap<Inode, BTreeSet<usize>>,
    without_power: bool,
    full: bool,
    overwrites_cheaply: bool,
    nonces: u64,
}

/// What a host's kernel remembers of the filesystem.
#[derive(Debug, Default)]
struct Mount {
    caching: Caching,
    /// Writes stay in the host's memory until they are synced.
    writes_back_late: bool,
    dirty: BTreeMap<Inode, Vec<Write>>,
    missing: BTreeSet<PathBuf>,
    found: BTreeMap<PathBuf, Inode>,
    contents: BTreeMap<Inode, Vec<u8>>,
    listings: BTreeMap<PathBuf, Vec<String>>,
}

/// A process on a host.
#[derive(Debug, Default)]
struct Member {
    mount: usize,
    dead: bool,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    gates: BTreeMap<u64, Arc<Gate>>,
}

impl Default for SimulatedFs {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedFs {
    /// An empty filesystem, as its first member sees it.
    #[must_use]
    pub fn new() -> Self {
        Self::on(Disk::new())
    }

    fn on(disk: Disk) -> Self {
        let (mounts, members) = (vec![Mount::default()], vec![Member::default()]);
        let world = World { disk, mounts, members, ..World::default() };
        Self { world: Arc::new(Mutex::new(world)), member: 0, identity: "member-0".to_owned() }
    }

    /// The same, where writers make room ahead.
    #[must_use]
    pub fn overwriting_cheaply(self) -> Self {
        self.world.lock().overwrites_cheaply = true;
        self
    }

    /// Another member of the same filesystem, on a host of its own.
    #[must_use]
    pub fn join(&self, caching: Caching) -> Self {
        let mount = {
            let mut world = self.world.lock();
            world.mounts.push(Mount { caching, ..Mount::default() });
            world.mounts.len() - 1
        };
        self.start(mount)
    }

    /// Another process on the same host, with its caches.
    #[must_use]
    pub fn again(&self) -> Self {
        let mount = self.with_member(|member| member.mount);
        self.start(mount)
    }

    fn start(&self, mount: usize) -> Self {
        let mut world = self.world.lock();
        world.members.push(Member { mount, ..Member::default() });
        let member = world.members.len() - 1;
        Self { world: Arc::clone(&self.world), member, identity: format!("member-{member}") }
    }

    /// Lets this host's writes stay in its memory until they are synced or [`Self::write_back`] is called.
    pub fn write_back_late(&self) {
        self.with_mount(|mount| mount.writes_back_late = true);
    }

    /// Sends all that this host has in memory to the file server, as its kernel may do at any time.
    pub fn write_back(&self) {
        let dirty = self.with_mount(|mount| std::mem::take(&mut mount.dirty));
        let mut world = self.world.lock();
        for (inode, writes) in dirty {
            writes.into_iter().for_each(|write| world.disk.write(inode, write));
        }
    }

    /// Lets this host's caches expire.
    pub fn expire_caches(&self) {
        self.with_mount(Mount::forget);
    }

    /// The process dies; what it wrote stays with its host.
    pub fn kill(&self) {
        self.with_member(|member| member.dead = true);
    }

    /// The host loses power, and with it all that it had not written back. Its processes die.
    pub fn lose_host(&self) {
        let index = self.with_member(|member| member.mount);
        let mut world = self.world.lock();
        world.members.iter_mut().filter(|member| member.mount == index).for_each(|member| member.dead = true);
        if let Some(mount) = world.mounts.get_mut(index) {
            mount.forget();
            mount.dirty.clear();
        }
    }

    /// Every host and the file server lose power, and get it back. All processes die. `choose` says which of so many ways
    /// each thing comes out that this leaves to chance.
    pub fn black_out(&self, mut choose: impl FnMut(usize) -> usize) {
        let mut world = self.world.lock();
        let fate: Vec<usize> = world.disk.chances().into_iter().map(&mut choose).collect();
        world.disk = world.disk.after_power_loss(&fate);
        world.members.iter_mut().for_each(|member| member.dead = true);
        for mount in &mut world.mounts {
            mount.forget();
            mount.dirty.clear();
        }
    }

    /// Fills the storage, or makes room: while it is full nothing can be created or written.
    pub fn fill(&self, full: bool) {
        self.world.lock().full = full;
    }

    /// Whether operations can succeed at all.
    #[must_use]
    pub fn has_power(&self) -> bool {
        let mut world = self.world.lock();
        !world.without_power && world.member(self.member).is_some_and(|member| !member.dead)
    }

    /// How many operations this member has begun.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.with_member(|member| member.operations)
    }

    /// Lets the `operation`th operation of this member, counted from 1, go wrong.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.with_member(|member| member.faults.insert(operation, fault));
    }

    /// Lets nothing go wrong any more of what [`Self::fail_at`] said.
    pub fn forgive(&self) {
        self.with_member(|member| member.faults.clear());
    }

    /// Stops this member before its `operation`th operation, counted from 1, until the gate is opened.
    #[must_use]
    pub fn pause_at(&self, operation: u64) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        self.with_member(|member| member.gates.insert(operation, Arc::clone(&gate)));
        gate
    }

    /// Takes away the gate before this operation; says whether nobody had come to it.
    pub fn open_way(&self, operation: u64) -> bool {
        self.with_member(|member| member.gates.remove(&operation).is_some())
    }

    /// For each thing that a loss of power now would leave to chance, in how many ways it may come out.
    #[must_use]
    pub fn chances(&self) -> Vec<usize> {
        self.world.lock().disk.chances()
    }

    /// The filesystem after a loss of power now, seen by a new member, when the chances come out as `fate` says.
    #[must_use]
    pub fn after_power_loss(&self, fate: &[usize]) -> Self {
        let world = self.world.lock();
        let left = Self::on(world.disk.after_power_loss(fate));
        let mut new = left.world.lock();
        (new.nonces, new.overwrites_cheaply) = (world.nonces, world.overwrites_cheaply);
        drop(new);
        left
    }

    /// Flips one bit of a file, on disk and in every cache.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn flip(&self, path: &Path, bit: usize) -> io::Result<()> {
        let mut world = self.world.lock();
        let inode = world.disk.look_up(path)?;
        world.disk.flip(inode, bit);
        Ok(())
    }

    /// The processes that have written into a file, each by its number on this filesystem.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn writers(&self, path: &Path) -> io::Result<BTreeSet<usize>> {
        let world = self.world.lock();
        let inode = world.disk.look_up(path)?;
        Ok(world.writers.get(&inode).cloned().unwrap_or_default())
    }

    fn with_mount<T: Default>(&self, act: impl FnOnce(&mut Mount) -> T) -> T {
        self.world.lock().mount(self.member).map(act).unwrap_or_default()
    }

    fn with_member<T: Default>(&self, act: impl FnOnce(&mut Member) -> T) -> T {
        self.world.lock().member(self.member).map(act).unwrap_or_default()
    }

    /// Begins an operation: counts it, waits at a gate, and says what goes wrong.
    fn begin(&self) -> io::Result<(MutexGuard<'_, World>, Option<Fault>)> {
        let mut world = self.world.lock();
        let (mut gate, mut fault, mut dead) = (None, None, false);
        if let Some(member) = world.member(self.member) {
            member.operations += 1;
            gate = member.gates.remove(&member.operations);
            fault = member.faults.remove(&member.operations);
            member.dead |= fault == Some(Fault::Death);
            dead = member.dead;
        }
        if let Some(gate) = gate {
            drop(world);
            gate.wait();
            world = self.world.lock();
            dead |= world.member(self.member).is_some_and(|member| member.dead);
        }
        world.without_power |= fault == Some(Fault::PowerLoss);
        match fault {
            _ if world.without_power => Err(io::Error::other("power was lost")),
            _ if dead => Err(io::Error::other("the process is dead")),
            Some(Fault::Error(kind)) => Err(kind.into()),
            fault => Ok((world, fault)),
        }
    }

    /// An operation that is done or not.
    fn operate<T>(&self, act: impl FnOnce(&mut World, usize) -> io::Result<T>) -> io::Result<T> {
        let (mut world, fault) = self.begin()?;
        let done = act(&mut world, self.member)?;
        match fault {
            None => Ok(done),
            Some(_) => Err(io::Error::other("the answer was lost")),
        }
    }

    fn file(&self, inode: Inode) -> SimulatedFile {
        SimulatedFile { fs: self.clone(), inode }
    }
}

impl World {
    fn member(&mut self, member: usize) -> Option<&mut Member> {
        self.members.get_mut(member)
    }

    fn mount(&mut self, member: usize) -> Option<&mut Mount> {
        self.mounts.get_mut(self.members.get(member)?.mount)
    }

    fn check_room(&self) -> io::Result<()> {
        if self.full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn look_up(&mut self, member: usize, path: &Path) -> io::Result<Inode> {
        let truth = self.disk.look_up(path);
        let Some(mount) = self.mount(member) else { return truth };
        match mount.caching {
            Caching::Strict => return truth,
            Caching::NfsDefault | Caching::AsAssumed if mount.missing.contains(path) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            Caching::NfsDefault | Caching::GlusterDefault | Caching::AsAssumed => {}
        }
        if let Some(inode) = mount.found.get(path) {
            return Ok(*inode);
        }
        match &truth {
            Ok(inode) => mount.found.insert(path.to_owned(), *inode).is_none(),
            Err(_) => mount.missing.insert(path.to_owned()),
        };
        truth
    }

    fn list(&mut self, member: usize, path: &Path) -> io::Result<Vec<String>> {
        let truth = self.disk.list(path);
        match self.mount(member) {
            Some(mount) if mount.caching == Caching::AsAssumed => match (mount.listings.get(path), truth) {
                (Some(old), _) => Ok(old.clone()),
                (None, Ok(names)) => Ok(mount.listings.entry(path.to_owned()).or_insert(names).clone()),
                (None, Err(error)) => Err(error),
            },
            _ => truth,
        }
    }

    /// What a member sees of a file.
    fn view(&mut self, member: usize, inode: Inode) -> Cow<'_, [u8]> {
        let truth = self.disk.bytes(inode);
        let mount = self.members.get(member).and_then(|member| self.mounts.get_mut(member.mount));
        let Some(mount) = mount else { return Cow::Borrowed(truth) };
        let mut seen = Cow::Borrowed(truth);
        if mount.caching == Caching::GlusterDefault {
            seen = Cow::Borrowed(mount.contents.entry(inode).or_insert_with(|| truth.to_vec()));
        }
        for write in mount.dirty.get(&inode).into_iter().flatten() {
            apply(seen.to_mut(), write);
        }
        seen
    }

    fn write(&mut self, member: usize, inode: Inode, offset: u64, bytes: &[u8]) {
        self.writers.entry(inode).or_default().insert(member);
        let write = Write { offset: offset as usize, bytes: bytes.to_vec(), stuck: false };
        if let Some(mount) = self.mount(member) {
            if let Some(cached) = mount.contents.get_mut(&inode) {
                apply(cached, &write);
            }
            if mount.writes_back_late {
                mount.dirty.entry(inode).or_default().push(write);
                return;
            }
        }
        self.disk.write(inode, write);
    }

    fn flush(&mut self, member: usize, inode: Inode) {
        let dirty = self.mount(member).and_then(|mount| mount.dirty.remove(&inode));
        for write in dirty.into_iter().flatten() {
            self.disk.write(inode, write);
        }
    }

    /// A host knows of its own changes, also of those that failed.
    fn know(&mut self, member: usize, path: &Path) {
        if let Some(mount) = self.mount(member) {
            mount.missing.remove(path);
            mount.found.remove(path);
            mount.listings.remove(path.parent().unwrap_or(path));
        }
    }
}

impl Mount {
    fn forget(&mut self) {
        self.missing.clear();
        self.found.clear();
        self.contents.clear();
        self.listings.clear();
    }
}

impl Fs for SimulatedFs {
    type File = SimulatedFile;

    fn create(&self, path: &Path) -> io::Result<SimulatedFile> {
        self.operate(|world, member| {
            world.know(member, path);
            world.check_room()?;
            world.disk.create(path)
        })
        .map(|inode| self.file(inode))
    }

    fn open(&self, path: &Path) -> io::Result<SimulatedFile> {
        self.operate(|world, member| world.look_up(member, path)).map(|inode| self.file(inode))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(|world, member| {
            world.know(member, to);
            world.disk.link(from, to)
        })
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.operate(|world, member| {
            world.know(member, path);
            world.disk.unlink(path)
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.operate(|world, member| {
            world.know(member, path);
            world.check_room()?;
            world.disk.create_dir(path)
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operate(|world, _| world.disk.sync_dir(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.operate(|world, member| world.list(member, path))
    }

    fn overwrites_cheaply(&self) -> bool {
        self.world.lock().overwrites_cheaply
    }

    fn nonce(&self) -> u64 {
        let mut world = self.world.lock();
        world.nonces += 1;
        // Spread out, so that nothing comes to rely on small numbers.
        world.nonces.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn identity(&self) -> &str {
        &self.identity
    }
}

impl ClusterFs for SimulatedFs {
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(|world, member| {
            world.know(member, from);
            world.know(member, to);
            world.disk.rename(from, to)
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.operate(|world, member| {
            world.know(member, path);
            world.disk.remove_dir(path)
        })
    }
}

impl FsFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.operate(|world, member| {
            let bytes = world.view(member, self.inode);
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            for (to, from) in buffer.iter_mut().zip(rest) {
                *to = *from;
            }
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut world, fault) = self.fs.begin()?;
        world.check_room()?;
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let written = if fault == Some(Fault::Halfway) { half } else { bytes };
        world.write(self.fs.member, self.inode, offset, written);
        if fault.is_some() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut world, fault) = self.fs.begin()?;
        world.flush(self.fs.member, self.inode);
        if fault == Some(Fault::Halfway) {
            world.disk.fail_sync(self.inode);
        } else {
            world.disk.sync(self.inode);
        }
        if fault.is_some() { Err(io::Error::other("the sync failed")) } else { Ok(()) }
    }

    fn length(&self) -> io::Result<u64> {
        self.fs.operate(|world, member| Ok(world.view(member, self.inode).len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(fs: &SimulatedFs, path: &str, bytes: &[u8]) -> SimulatedFile {
        let file = fs.create(Path::new(path)).unwrap();
        file.write_at(bytes, 0).unwrap();
        file
    }

    fn read(fs: &SimulatedFs, path: &str) -> io::Result<Vec<u8>> {
        let file = fs.open(Path::new(path))?;
        let mut bytes = vec![0; 16];
        let count = file.read_at(&mut bytes, 0)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    #[test]
    fn what_is_synced_survives_every_fate_and_what_is_not_may_be_lost() {
        let fs = SimulatedFs::new();
        file(&fs, "/synced", b"one").sync_data().unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        file(&fs, "/unsynced", b"two");
        let chances = fs.chances();
        let mut lost = 0;
        for bytes in 0..chances[0] {
            for name in 0..chances[1] {
                let left = fs.after_power_loss(&[bytes, name]);
                assert_eq!(read(&left, "/synced").unwrap(), b"one");
                lost += u32::from(read(&left, "/unsynced").is_err());
            }
        }
        assert_eq!((chances.len(), lost as usize), (2, chances[0]));
    }

    #[test]
    fn a_torn_write_leaves_a_file_of_full_length() {
        let fs = SimulatedFs::new();
        file(&fs, "/torn", &[7; 2000]);
        fs.sync_dir(Path::new("/")).unwrap();
        let left = fs.after_power_loss(&[2]);
        let file = left.open(Path::new("/torn")).unwrap();
        let mut bytes = vec![9; 2000];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 2000);
        assert!(bytes[..512].iter().all(|byte| *byte == 7) && bytes[512..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_a_later_one() {
        let fs = SimulatedFs::new();
        let file = file(&fs, "/a", b"bytes");
        fs.sync_dir(Path::new("/")).unwrap();
        fs.fail_at(fs.operations() + 1, Fault::Halfway);
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_ok());
        assert_eq!(read(&fs, "/a").unwrap(), b"bytes");
        assert_eq!(read(&fs.after_power_loss(&[0]), "/a").unwrap(), b"");
    }

    #[test]
    fn after_a_loss_of_power_nothing_works_for_anybody() {
        let fs = SimulatedFs::new();
        let other = fs.join(Caching::Strict);
        fs.fail_at(1, Fault::PowerLoss);
        assert!(fs.list(Path::new("/")).is_err() && other.list(Path::new("/")).is_err());
    }

    #[test]
    fn nfs_by_default_misses_a_file_that_a_peer_has_just_created() {
        let fs = SimulatedFs::new();
        let (nfs, strict) = (fs.join(Caching::NfsDefault), fs.join(Caching::Strict));
        assert!(read(&nfs, "/new").is_err() && read(&strict, "/new").is_err());
        file(&fs, "/new", b"x");
        assert!(read(&nfs, "/new").is_err() && read(&strict, "/new").is_ok());
        assert_eq!(nfs.list(Path::new("/")).unwrap(), ["new"]);
        nfs.expire_caches();
        assert!(read(&nfs, "/new").is_ok());
    }

    #[test]
    fn gluster_by_default_reads_old_bytes_and_removed_files() {
        let fs = SimulatedFs::new();
        let (gluster, strict) = (fs.join(Caching::GlusterDefault), fs.join(Caching::Strict));
        let file = file(&fs, "/a", b"old");
        assert_eq!(read(&gluster, "/a").unwrap(), b"old");
        file.write_at(b"new", 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!((read(&gluster, "/a").unwrap(), read(&strict, "/a").unwrap()), (b"old".to_vec(), b"new".to_vec()));
        fs.unlink(Path::new("/a")).unwrap();
        assert!(read(&gluster, "/a").is_ok() && read(&strict, "/a").is_err());
    }

    #[test]
    fn mutations_are_never_stale() {
        let fs = SimulatedFs::new();
        for caching in [Caching::Strict, Caching::NfsDefault, Caching::GlusterDefault, Caching::AsAssumed] {
            let member = fs.join(caching);
            let path = format!("/{caching:?}");
            assert!(member.open(Path::new(&path)).is_err());
            file(&fs, &path, b"");
            assert_eq!(member.create(Path::new(&path)).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            fs.unlink(Path::new(&path)).unwrap();
            assert_eq!(member.unlink(Path::new(&path)).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_listing_may_be_old_until_this_member_changes_the_directory() {
        let fs = SimulatedFs::new();
        let member = fs.join(Caching::AsAssumed);
        assert_eq!(member.list(Path::new("/")).unwrap(), [""; 0]);
        file(&fs, "/a", b"");
        assert_eq!(member.list(Path::new("/")).unwrap(), [""; 0]);
        file(&member, "/b", b"");
        assert_eq!(member.list(Path::new("/")).unwrap(), ["a", "b"]);
    }

    #[test]
    fn nothing_happens_in_a_directory_that_a_peer_has_removed() {
        let fs = SimulatedFs::new();
        for caching in [Caching::Strict, Caching::NfsDefault, Caching::GlusterDefault, Caching::AsAssumed] {
            let member = fs.join(caching);
            let (dir, old, new) = (Path::new("/d"), Path::new("/d/old"), Path::new("/d/new"));
            member.create_dir(dir).unwrap();
            file(&member, "/d/old", b"");
            assert_eq!(fs.remove_dir(dir).unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
            member.rename(old, new).unwrap();
            fs.unlink(new).unwrap();
            fs.remove_dir(dir).unwrap();
            assert_eq!(member.rename(new, old).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(member.create(old).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_removed_directory_may_come_back_until_its_parent_is_synced() {
        let fs = SimulatedFs::new();
        let dir = Path::new("/d");
        fs.create_dir(dir).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        fs.remove_dir(dir).unwrap();
        assert!(fs.after_power_loss(&[0]).list(dir).is_ok() && fs.after_power_loss(&[1]).list(dir).is_err());
        fs.sync_dir(Path::new("/")).unwrap();
        assert!(fs.after_power_loss(&[0]).list(dir).is_err());
    }

    #[test]
    fn a_host_that_loses_power_loses_what_it_had_not_written_back() {
        let fs = SimulatedFs::new();
        let host = fs.join(Caching::Strict);
        host.write_back_late();
        file(&host, "/a", b"synced").sync_data().unwrap();
        file(&host, "/b", b"late");
        host.lose_host();
        assert!(host.list(Path::new("/")).is_err());
        let again = host.again();
        assert_eq!((read(&again, "/a").unwrap(), read(&again, "/b").unwrap()), (b"synced".to_vec(), b"".to_vec()));
    }

    #[test]
    fn late_writes_are_seen_by_others_only_when_they_are_written_back() {
        let fs = SimulatedFs::new();
        let (late, other) = (fs.join(Caching::Strict), fs.join(Caching::Strict));
        late.write_back_late();
        file(&late, "/a", b"abc");
        assert_eq!((read(&late, "/a").unwrap(), read(&other, "/a").unwrap()), (b"abc".to_vec(), b"".to_vec()));
        late.write_back();
        assert_eq!(read(&other, "/a").unwrap(), b"abc");
    }
}
