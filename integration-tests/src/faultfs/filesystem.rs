//! Operations, as the kernel asks for them.

use std::{
    ffi::{OsStr, OsString},
    fs::OpenOptions,
    io,
    os::unix::fs::DirEntryExt,
    sync::Arc,
    thread,
    time::Duration,
};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenAccMode,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, WriteFlags,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, linkat, mkdirat, openat, renameat, statvfs, unlinkat};

use super::{
    Failure, Fault, Kind,
    node::{Node, attributes_at},
    state::State,
};

const GENERATION: Generation = Generation(0);

/// The mount, as the kernel sees it.
pub struct FaultFs {
    state: Arc<State>,
    cached: Duration,
}

impl FaultFs {
    pub fn new(state: Arc<State>, cached: Duration) -> Self {
        Self { state, cached }
    }

    /// Does an operation and answers it; in a thread of its own if it has to wait, so that others need not.
    fn answer<T>(
        &self,
        kind: Kind,
        work: impl FnOnce(&State) -> io::Result<T> + Send + 'static,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let state = Arc::clone(&self.state);
        let must_wait = matches!(state.fault(kind), Some(Fault::Stall | Fault::Slow(_)));
        let go = move || {
            state.wait(kind);
            reply(state.attempt(kind, || work(&state)).map_err(Errno::from));
        };
        if must_wait { drop(thread::spawn(go)) } else { go() }
    }

    /// Does an operation that ends with a name in a folder.
    fn entry(
        &self,
        kind: Kind,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
        work: impl FnOnce(&State, &Node, &OsStr) -> io::Result<()> + Send + 'static,
    ) {
        let (name, cached) = (name.to_owned(), self.cached);
        let look = move |state: &State| {
            let folder = state.node(parent.0)?;
            work(state, &folder, &name)?;
            look_up(state, &folder, &name)
        };
        self.answer(kind, look, move |found| match found {
            Ok(attributes) => reply.entry(&cached, &attributes, GENERATION),
            // A name that is not there is cached as well.
            Err(error) if i32::from(error) == i32::from(Errno::ENOENT) && !cached.is_zero() && kind == Kind::Look => {
                reply.entry(&cached, &nothing(), GENERATION);
            }
            Err(error) => reply.error(error),
        });
    }

    /// Does an operation that is answered with success alone.
    fn done(&self, kind: Kind, reply: ReplyEmpty, work: impl FnOnce(&State) -> io::Result<()> + Send + 'static) {
        self.answer(kind, work, move |done| match done {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        });
    }

    fn flags(&self) -> FopenFlags {
        if self.cached.is_zero() { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::FOPEN_KEEP_CACHE }
    }
}

impl Filesystem for FaultFs {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(Kind::Look, parent, name, reply, |_, _, _| Ok(()));
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.state.forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let cached = self.cached;
        let work = move |state: &State| state.node(number.0)?.attributes();
        self.answer(Kind::Look, work, move |found| match found {
            // The root has its own number in the folder, and another one here.
            Ok(attributes) => reply.attr(&cached, &FileAttr { ino: number, ..attributes }),
            Err(error) => reply.error(error),
        });
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<fuser::TimeOrNow>,
        _: Option<fuser::TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let cached = self.cached;
        let work = move |state: &State| {
            let node = state.node(number.0)?;
            size.map_or(Ok(()), |size| node.truncate(size))?;
            node.attributes()
        };
        self.answer(Kind::Write, work, move |found| match found {
            Ok(attributes) => reply.attr(&cached, &FileAttr { ino: number, ..attributes }),
            Err(error) => reply.error(error),
        });
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let mode = Mode::from_raw_mode(mode & !umask & 0o7777);
        self.entry(Kind::MakeFolder, parent, name, reply, move |_, folder, name| {
            Ok(mkdirat(&folder.place, name, mode)?)
        });
    }

    fn link(&self, _: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(Kind::Link, parent, name, reply, move |state, folder, name| {
            let path = state.node(number.0)?.path();
            Ok(linkat(CWD, path, &folder.place, name, AtFlags::SYMLINK_FOLLOW)?)
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.done(Kind::Remove, reply, move |state| {
            Ok(unlinkat(&state.node(parent.0)?.place, name, AtFlags::empty())?)
        });
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.done(Kind::Remove, reply, move |state| {
            Ok(unlinkat(&state.node(parent.0)?.place, name, AtFlags::REMOVEDIR)?)
        });
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        self.done(Kind::Rename, reply, move |state| {
            Ok(renameat(&state.node(parent.0)?.place, name, &state.node(to.0)?.place, new_name)?)
        });
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (name, cached, opened) = (name.to_owned(), self.cached, self.flags());
        let flags = OFlags::from_bits_retain(flags.cast_unsigned()) & (OFlags::EXCL | OFlags::TRUNC);
        let work = move |state: &State| {
            let folder = state.node(parent.0)?;
            let flags = flags | OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
            let file = openat(&folder.place, &name, flags, Mode::from_raw_mode(mode & !umask & 0o7777))?;
            let attributes = look_up(state, &folder, &name)?;
            let handle = state.add_file(state.node(attributes.ino.0)?, file.into());
            Ok((attributes, handle))
        };
        self.answer(Kind::Create, work, move |made| match made {
            Ok((attributes, handle)) => {
                reply.created(&cached, &attributes, GENERATION, FileHandle(handle), opened);
            }
            Err(error) => reply.error(error),
        });
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.flags();
        let work = move |state: &State| {
            let node = state.node(number.0)?;
            let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
            let file = node.open(OpenOptions::new().read(true).write(writes))?;
            Ok(state.add_file(node, file))
        };
        self.answer(Kind::Open, work, move |handle| match handle {
            Ok(handle) => reply.opened(FileHandle(handle), opened),
            Err(error) => reply.error(error),
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let work = move |state: &State| {
            let handle = state.handle(handle.0)?;
            let file = handle.file.as_ref().ok_or(rustix::io::Errno::ISDIR)?;
            handle.node.read(file, offset, size as usize)
        };
        self.answer(Kind::Read, work, move |bytes| match bytes {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // A disk that becomes full takes a part first, and says so.
        let part = data.get(..data.len() / 2).filter(|part| !part.is_empty());
        if let (Some(part), Some(Fault::Fail(Failure::Full))) = (part, self.state.fault(Kind::Write)) {
            return match self.state.handle(handle.0) {
                Ok(handle) => {
                    handle.node.write(offset, part.to_vec());
                    reply.written(u32::try_from(part.len()).unwrap_or(0));
                }
                Err(error) => reply.error(error.into()),
            };
        }
        let bytes = data.to_vec();
        let work = move |state: &State| {
            let count = bytes.len();
            state.handle(handle.0)?.node.write(offset, bytes);
            Ok(count)
        };
        self.answer(Kind::Write, work, move |count| match count {
            Ok(count) => reply.written(u32::try_from(count).unwrap_or(0)),
            Err(error) => reply.error(error),
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        self.done(Kind::Sync, reply, move |state| {
            let handle = state.handle(handle.0)?;
            if state.sync_lies() {
                return Ok(());
            }
            handle.node.write_back()?;
            handle.file.as_ref().map_or(Ok(()), |file| file.sync_data())
        });
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        // Closing writes back, as on NFS; nobody is told of an error any more.
        if let Some(handle) = self.state.close(handle.0)
            && !self.state.sync_lies()
        {
            let _ = handle.node.write_back();
        }
        reply.ok();
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let work = move |state: &State| {
            let node = state.node(number.0)?;
            let names = list(&node)?;
            Ok(state.add_folder(node, names))
        };
        self.answer(Kind::List, work, move |handle| match handle {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(error),
        });
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.state.handle(handle.0) {
            Ok(handle) => {
                for (next, (number, kind, name)) in (1..).zip(&handle.names).skip(usize::try_from(offset).unwrap_or(0))
                {
                    if reply.add(INodeNo(*number), next, *kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.state.close(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.done(Kind::Sync, reply, move |state| {
            let file = state.node(number.0)?.open(OpenOptions::new().read(true))?;
            Ok(fsync(file)?)
        });
    }

    fn statfs(&self, _: &Request, number: INodeNo, reply: ReplyStatfs) {
        match self.state.node(number.0).and_then(|node| Ok(statvfs(node.path())?)) {
            Ok(found) => {
                let is_full = self.state.fault(Kind::Write) == Some(Fault::Fail(Failure::Full));
                let free = if is_full { 0 } else { found.f_bavail };
                let size = u32::try_from(found.f_frsize).unwrap_or(4096);
                reply.statfs(found.f_blocks, free, free, found.f_files, found.f_ffree, size, 255, size);
            }
            Err(error) => reply.error(error.into()),
        }
    }
}

fn look_up(state: &State, folder: &Node, name: &OsStr) -> io::Result<FileAttr> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    state.remember(openat(&folder.place, name, flags, Mode::empty())?)
}

fn list(folder: &Node) -> io::Result<Vec<(u64, FileType, OsString)>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path())? {
        let entry = entry?;
        let name = entry.file_name();
        // A name may be removed while the folder is read.
        if let Ok(attributes) = attributes_at(&folder.place, &name) {
            names.push((entry.ino(), attributes.kind, name));
        }
    }
    Ok(names)
}

/// What a name is told to be that is not there.
fn nothing() -> FileAttr {
    use std::time::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
