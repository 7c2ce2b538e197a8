//! Hosts of a network that exists for one test only: power can fail, cables can be cut, one way or both.
//!
//! A host is a set of Linux namespaces (network, mounts, process ids, host name, clocks) held by one process, its init.
//! When init is killed, every process of the host dies at once and its mounts are gone: that is a power failure. Nothing
//! has a name outside of its namespaces, and an init ends with the process that started it; so a test that crashes leaves
//! nothing behind that a later one would have to clear away.
//!
//! Hosts are joined by a bridge in a namespace of its own, the switch, which no route leaves.
//!
//! Needs root: see [`are_possible`].

mod host;
mod link;
mod namespace;

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

use self::{host::Cable, namespace::Namespaces};
pub use self::{host::Host, namespace::on_host};
use crate::tool;

/// The programs used here, and their packages.
const PROGRAMS: [(&str, &str); 6] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("bash", "bash"),
];

/// The network of all hosts, inside their namespaces only.
const NETWORK: [u8; 3] = [10, 77, 0];

/// Addresses of the network end here.
const HOSTS_MAX: u8 = 200;

/// Whether hosts can be made here: by root, with the programs it takes. Says so if not.
///
/// # Errors
/// If they cannot although everything should be there.
pub fn are_possible() -> Result<bool> {
    if !rustix::process::geteuid().is_root() {
        tool::skip("hosts are namespaces, and only root can make them: run this test as root")?;
        return Ok(false);
    }
    for (program, package) in PROGRAMS {
        if tool::find(program, package)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A switch and the hosts at it.
pub struct Network {
    switch: Namespaces,
    made: u8,
}

impl Network {
    /// A switch without hosts.
    ///
    /// # Errors
    /// If the namespaces cannot be made.
    pub fn new() -> Result<Self> {
        let switch = Namespaces::new("switch", &[])?;
        switch.run("ip", &["link", "add", "br0", "type", "bridge"])?;
        switch.run("ip", &["link", "set", "br0", "up"])?;
        Ok(Self { switch, made: 0 })
    }

    /// One more host, powered on and plugged in.
    ///
    /// # Errors
    /// If there are too many, or the namespaces cannot be made.
    pub fn host(&mut self, name: &str) -> Result<Host> {
        self.host_with_clock(name, 0)
    }

    /// One more host, whose monotonic clock and whose clock since boot are this many seconds ahead of ours.
    ///
    /// # Errors
    /// If there are too many, or the namespaces cannot be made.
    pub fn host_with_clock(&mut self, name: &str, ahead: i64) -> Result<Host> {
        ensure!(self.made < HOSTS_MAX, "there are {HOSTS_MAX} hosts already");
        self.made += 1;
        let [a, b, c] = NETWORK;
        let address = Ipv4Addr::new(a, b, c, self.made);
        let cable = Cable { switch: self.switch.handle(), port: format!("port{}", self.made), address };
        Host::new(name, cable, ahead).with_context(|| format!("make host {name}"))
    }
}

#[cfg(test)]
mod tests;
