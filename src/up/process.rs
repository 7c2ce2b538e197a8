//! The processes of the installation, as children of this one.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    net::SocketAddr,
    os::unix::{fs::OpenOptionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::Context as _;
use laniakea_config::{Config, Service};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::home::Home;
use crate::role;

/// What a process is; the order is that of stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Router,
    Member,
    Directory,
}

/// One process of the installation, running or not.
#[derive(Debug)]
pub struct Process {
    pub kind: Kind,
    pub name: String,
    /// Where it says whether it is ready.
    pub metrics: Option<SocketAddr>,
    /// Where it writes what it has to say.
    pub log: PathBuf,
    /// Its number while it runs, or the last one it had.
    pub pid: Option<u32>,
    pub is_running: bool,
    arguments: Vec<OsString>,
}

/// Every process of the installation: the directory first, as the others ask it.
pub fn processes(home: &Home, config: &Config) -> Vec<Process> {
    let file = home.config();
    let process = |kind, role: &str, name: &str, named: bool, metrics| {
        let mut arguments: Vec<OsString> = vec![role.into(), "--config".into(), file.clone().into()];
        if named {
            arguments.extend(["--name".into(), name.into()]);
        }
        Process { kind, name: name.to_owned(), metrics, log: home.log(name), pid: None, is_running: false, arguments }
    };
    let mut list = Vec::new();
    if let Some(embedded) = &config.directory.embedded {
        list.push(process(Kind::Directory, "directory", "directory", false, embedded.metrics));
    }
    for member in config.clusters.iter().flat_map(|cluster| &cluster.members) {
        let metrics = member.listen.get(&Service::Metrics).copied();
        list.push(process(Kind::Member, "backend", &member.name, true, metrics));
    }
    for router in &config.routers {
        let metrics = router.listen.get(&Service::Metrics).copied();
        list.push(process(Kind::Router, "router", &router.name, true, metrics));
    }
    list
}

impl Process {
    /// Starts it. Must be called on the main thread: the child dies with the *thread* that started it.
    pub fn start(&mut self) -> anyhow::Result<Child> {
        let spawn = || {
            let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.log)?;
            Command::new(std::env::current_exe()?)
                .args(&self.arguments)
                .env(role::PARENT, std::process::id().to_string())
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                // Ctrl-C in a terminal goes to the whole group; the children are stopped in order instead.
                .process_group(0)
                .spawn()
        };
        let child = spawn().map_err(|error: io::Error| error).with_context(|| format!("start {}", self.name))?;
        self.pid = child.id();
        self.is_running = true;
        Ok(child)
    }

    /// Sends it a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid.filter(|_| self.is_running).and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may have ended this moment; then there is nothing to signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// The end of its log, for a message.
    pub fn last_words(&self) -> String {
        last_lines(&self.log, 12)
    }
}

fn last_lines(path: &Path, count: usize) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(count);
    lines.iter().skip(first).map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// How a process ended, in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "ended by itself".into(),
        (Some(64), _) => "ended: it was started wrongly (64)".into(),
        (Some(75), _) => "gave up for the moment (75)".into(),
        (Some(78), _) => "ended: its configuration is wrong (78)".into(),
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(9)) => "was killed (signal 9)".into(),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".into(),
    }
}
