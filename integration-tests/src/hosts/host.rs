//! One host: its power, its programs.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::{Child, Command, Output},
};

use anyhow::{Context, Result};

use super::namespace::{Handle, Namespaces};

/// Where a host is plugged in.
pub struct Cable {
    /// The switch.
    pub switch: Handle,
    /// The switch's end.
    pub port: String,
    /// The address of the host's end.
    pub address: Ipv4Addr,
}

/// A host. It ends with the value.
pub struct Host {
    name: String,
    pub(super) cable: Cable,
    clock: Vec<String>,
    /// None while it is powered off.
    running: Option<Namespaces>,
}

impl Host {
    pub(super) fn new(name: &str, cable: Cable, ahead: i64) -> Result<Self> {
        let clock = match ahead {
            0 => Vec::new(),
            ahead => vec![format!("--monotonic={ahead}"), format!("--boottime={ahead}")],
        };
        let mut host = Self { name: name.to_owned(), cable, clock, running: None };
        host.power_on()?;
        Ok(host)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.cable.address.into()
    }

    /// The process id of its init.
    ///
    /// # Errors
    /// If it is powered off.
    pub fn init(&self) -> Result<i32> {
        Ok(self.handle()?.init())
    }

    /// Its root folder, seen from here: with the mounts that it has and we have not.
    ///
    /// # Errors
    /// If it is powered off.
    pub fn root(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root", self.init()?)))
    }

    /// A command that will run on this host, if it is started by [`Host::spawn`] or [`Host::output`]. It begins in `/`
    /// and reads nothing.
    ///
    /// # Errors
    /// If the host is powered off.
    pub fn command(&self, program: &str) -> Result<Command> {
        Ok(self.handle()?.command(program))
    }

    /// Starts a command made by [`Host::command`]; its process id is the child's, and it is killed when the power fails.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.handle()?.spawn(command).with_context(|| format!("start {command:?} on {}", self.name))
    }

    /// Runs a command made by [`Host::command`] to its end.
    ///
    /// # Errors
    /// If it cannot be started; its own failures are in the output.
    pub fn output(&self, command: &mut Command) -> Result<Output> {
        self.handle()?.output(command).with_context(|| format!("run {command:?} on {}", self.name))
    }

    /// Runs a program to its end, and returns what it printed.
    ///
    /// # Errors
    /// If it does not end with success; the message holds everything it said.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.handle()?.run(program, arguments).with_context(|| format!("on {}", self.name))
    }

    /// The power fails: every process on it dies at once, its mounts are gone.
    ///
    /// # Errors
    /// If it is off already.
    pub fn power_off(&mut self) -> Result<()> {
        self.running.take().with_context(|| format!("{} is powered off already", self.name))?.kill()
    }

    /// Powers it on, plugged in, with all its links whole. Nothing runs on it.
    ///
    /// # Errors
    /// If the namespaces cannot be made.
    pub fn power_on(&mut self) -> Result<()> {
        let running = Namespaces::new(&self.name, &self.clock)?;
        self.cable.lay(running.handle())?;
        self.running = Some(running);
        Ok(())
    }

    pub(super) fn handle(&self) -> Result<Handle> {
        let running = self.running.as_ref().with_context(|| format!("{} is powered off", self.name))?;
        Ok(running.handle())
    }
}
