//! A filesystem that fails on command: a folder seen through FUSE, by each host through a mount of its own.
//!
//! Nothing is cached between mounts: each looks at the folder anew for every operation, as the clients of a strict shared
//! filesystem do; or, if asked for, caches as long as a lax one does. What is written and not yet synced is kept by the
//! mount's process alone and is lost with it, so that a power failure of the host loses it as a real one does.
//!
//! - [`Faults`]: what goes wrong, by kind of operation; told to a running mount at any time.
//! - [`Mount`]: one mount, its process, and the pipe over which it is told.
//! - [`serve`]: the process itself (program `faultfs`).

mod filesystem;
mod node;
mod serve;
mod state;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

pub use self::serve::serve;
use crate::{
    hosts::{self, Host},
    tool,
};

/// Whether such a filesystem can be mounted on hosts here. Says so if not.
///
/// # Errors
/// If it cannot although everything should be there.
pub fn is_possible() -> Result<bool> {
    if !hosts::are_possible()? {
        return Ok(false);
    }
    if !Path::new("/dev/fuse").exists() {
        tool::skip("there is no /dev/fuse: this kernel has no FUSE")?;
        return Ok(false);
    }
    Ok(true)
}

/// Kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Look-ups of names and attributes.
    Look,
    /// Opening files and folders.
    Open,
    /// Reading files.
    Read,
    /// Listing folders.
    List,
    /// Writing.
    Write,
    /// fsync, of files and folders.
    Sync,
    /// Making files.
    Create,
    /// Making folders.
    MakeFolder,
    /// Giving a file a further name.
    Link,
    /// Renaming.
    Rename,
    /// Removing files and folders.
    Remove,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Look,
        Self::Open,
        Self::Read,
        Self::List,
        Self::Write,
        Self::Sync,
        Self::Create,
        Self::MakeFolder,
        Self::Link,
        Self::Rename,
        Self::Remove,
    ];

    /// What takes room on the disk.
    pub const TAKING_ROOM: [Self; 4] = [Self::Write, Self::Create, Self::MakeFolder, Self::Link];
}

/// What an operation is answered with when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// EIO.
    Io,
    /// ENOSPC; of what is written, a part is taken.
    Full,
    /// ESTALE.
    Stale,
}

/// What happens to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// It waits until this fault is gone.
    Stall,
    /// It begins so much later, in milliseconds.
    Slow(u64),
    /// It is not done, and fails.
    Fail(Failure),
    /// It is done, and reported as failed.
    LoseAnswer(Failure),
}

/// What goes wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// What happens to which kinds of operations; the first that fits counts.
    pub rules: Vec<(Vec<Kind>, Fault)>,
    /// Files that are open now will answer ESTALE; those opened later will not.
    pub open_files_are_stale: bool,
    /// fsync is answered and not done.
    pub sync_lies: bool,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// One fault, of these kinds of operations.
    #[must_use]
    pub fn only(kinds: &[Kind], fault: Fault) -> Self {
        Self { rules: vec![(kinds.to_vec(), fault)], ..Self::default() }
    }
}

/// One mount on one host. It ends with the value, and with the host.
pub struct Mount {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Mount {
    /// Mounts `folder` at `at`, on a host. Names, attributes and contents are cached for so long, as by a lax client.
    ///
    /// # Errors
    /// If it cannot be mounted.
    pub fn new(host: &Host, folder: &Path, at: &Path, cached: Duration) -> Result<Self> {
        let mut command = host.command(program()?.to_str().context("the path of the program")?)?;
        command.arg(folder).arg(at).arg(cached.as_millis().to_string());
        let mut process = host.spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let commands = process.stdin.take().context("no pipe")?;
        let answers = BufReader::new(process.stdout.take().context("no pipe")?);
        let mut mount = Self { process, commands, answers };
        mount.wait_for_answer().with_context(|| format!("mount {} on {}", at.display(), host.name()))?;
        Ok(mount)
    }

    /// From now on this goes wrong, and nothing else.
    ///
    /// # Errors
    /// If the mount is gone.
    pub fn set(&mut self, faults: &Faults) -> Result<()> {
        let line = serde_json::to_string(faults)?;
        writeln!(self.commands, "{line}").context("the mount is gone")?;
        self.wait_for_answer()
    }

    fn wait_for_answer(&mut self) -> Result<()> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(line.trim() == "ready", "faultfs ended");
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Operations that wait in it end with an error.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where the program `faultfs` is: beside the test, or beside the folder that the test is in.
fn program() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("faultfs")).find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!("faultfs is not built: cargo build -p integration-tests --bin faultfs"),
    }
}
