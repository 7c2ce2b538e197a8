//! Other people's servers, started by tests on free ports, in folders of their own, and ended with the test.

mod dovecot;
mod haproxy;
mod nginx;

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

pub use dovecot::{Dovecot, DovecotProxy};
pub use haproxy::Haproxy;
pub use nginx::Nginx;

/// How long a server may take to listen.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long it may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A server that ends with the value.
pub(crate) struct Server(Child);

impl Server {
    /// Starts it and waits until it listens on all these.
    pub(crate) fn start(command: &mut Command, folder: &Path, listeners: &[SocketAddr]) -> Result<Self> {
        let output = |name: &str| std::fs::File::create(folder.join(name));
        let child = command
            .stdin(Stdio::null())
            .stdout(output("out")?)
            .stderr(output("err")?)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let mut server = Self(child);
        let deadline = Instant::now() + START_DEADLINE;
        while !listeners.iter().all(|address| TcpStream::connect(address).is_ok()) {
            if let Some(status) = server.0.try_wait()? {
                bail!("{command:?} ended with {status}\n{}", said(folder));
            }
            if Instant::now() > deadline {
                bail!("{command:?} does not listen on {listeners:?}\n{}", said(folder));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// The number of its first process.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_DEADLINE;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a server wrote, for messages.
fn said(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    let mut files: Vec<std::path::PathBuf> = files.unwrap_or_default();
    files.sort();
    files.retain(|file| file.is_file());
    files.iter().map(|file| format!("--- {}\n{}", file.display(), read(file))).collect()
}

fn read(file: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
