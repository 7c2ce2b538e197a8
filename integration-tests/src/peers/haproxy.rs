//! HAProxy in TCP mode, which tells with a PROXY header who its client is.

use std::{fs, net::SocketAddr, process::Command};

use anyhow::Result;
use laniakea_test_ports::free_address;
use tempfile::TempDir;

use super::Server;
use crate::tool;

/// A balancer in front of one listener.
pub struct Haproxy {
    /// Where it listens.
    pub address: SocketAddr,
    _folder: TempDir,
    _server: Server,
}

impl Haproxy {
    /// Starts one in front of `behind`, with headers of version 1 or 2; `None` if it is not installed.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(behind: SocketAddr, version: u8) -> Result<Option<Self>> {
        let Some(haproxy) = tool::find("haproxy", "haproxy")? else { return Ok(None) };
        let folder = tempfile::Builder::new().prefix("laniakea-haproxy-").tempdir()?;
        let address = free_address();
        let send = if version == 1 { "send-proxy" } else { "send-proxy-v2" };
        let config = format!(
            "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen mail\n  bind {address}\n  server behind {behind} {send}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config)?;
        let server = Server::start(Command::new(haproxy).arg("-db").arg("-f").arg(&file), folder.path(), &[address])?;
        Ok(Some(Self { address, _folder: folder, _server: server }))
    }
}
