//! One process of the program on a host.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::plan;
use crate::{hosts::Host, up::program};

/// How long a process may take to end in order.
const STOP_DEADLINE: Duration = Duration::from_secs(40);

/// A process of the program, running or not.
pub struct Process {
    name: String,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub(super) fn new(name: &str, arguments: &[&str], log: PathBuf) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { name: name.to_owned(), arguments, log, child: None }
    }

    pub(super) fn start(&mut self, host: &Host, folder: &Path, wrapper: &[String]) -> Result<()> {
        self.start_with(host, &plan::file(folder), wrapper)
    }

    /// Starts it, under `wrapper` if there is one.
    pub(super) fn start_with(&mut self, host: &Host, config: &Path, wrapper: &[String]) -> Result<()> {
        ensure!(!self.is_running()?, "{} runs already", self.name);
        let log = fs::OpenOptions::new().append(true).create(true).open(&self.log)?;
        let program = program()?.to_str().context("the path of the program")?.to_owned();
        let mut words = wrapper.iter().chain([&program]).chain(&self.arguments);
        let mut command = host.command(words.next().context("no program")?)?;
        command.args(words).arg("--config").arg(config).stdout(log.try_clone()?).stderr(log);
        self.child = Some(host.spawn(&mut command)?);
        Ok(())
    }

    /// Its process id, seen from here.
    ///
    /// # Errors
    /// If it does not run.
    pub fn id(&self) -> Result<Pid> {
        let child = self.child.as_ref().with_context(|| format!("{} does not run", self.name))?;
        Ok(Pid::from_child(child))
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// If the system cannot say.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self) -> Result<()> {
        kill_process(self.id()?, Signal::KILL)?;
        self.wait().map(drop)
    }

    /// Freezes it with SIGSTOP, or thaws it with SIGCONT.
    ///
    /// # Errors
    /// If it does not run.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        Ok(kill_process(self.id()?, if frozen { Signal::STOP } else { Signal::CONT })?)
    }

    /// Waits until it ends, and says how.
    ///
    /// # Errors
    /// If it was never started, or does not end in time.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + STOP_DEADLINE;
        let child = self.child.as_mut().with_context(|| format!("{} was never started", self.name))?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "{} does not end", self.name);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it in order, if it runs.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(&mut self) -> Result<()> {
        if self.is_running()? {
            kill_process(self.id()?, Signal::TERM)?;
            self.wait()?;
        }
        Ok(())
    }

    /// How many files it has open, and how many kilobytes of memory it uses.
    ///
    /// # Errors
    /// If it does not run.
    pub fn weight(&self) -> Result<(usize, u64)> {
        let id = self.id()?.as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        Ok((fs::read_dir(format!("/proc/{id}/fd"))?.count(), resident.context("no VmRSS")?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            // It is waited for by nobody if its storage stalls; the host's end takes it along.
            let _ = child.try_wait();
        }
    }
}

/// The ends of all logs in a folder.
pub fn logs(folder: &Path) -> String {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let content = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = content.lines().collect();
        let tail: String =
            lines.iter().skip(lines.len().saturating_sub(40)).map(|line| format!("  {line}\n")).collect();
        text.push_str(&format!("--- {}\n{tail}", path.display()));
    }
    text
}
