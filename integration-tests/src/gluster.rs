//! GlusterFS for tests: a volume with three copies, one on each of three hosts.
//!
//! Every host has its own daemon, its own state, and a brick in memory. All of it ends with the hosts. Neither kernel
//! module nor network outside of the hosts is needed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    hosts::{self, Host},
    tool,
};

/// The name of the volume.
pub const VOLUME: &str = "mail";

/// How long any step of the beginning may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the volume must be told so that one host reads what another wrote. The names are those of its own manual.
const COHERENT: [(&str, &str); 9] = [
    ("performance.quick-read", "off"),
    ("performance.io-cache", "off"),
    ("performance.stat-prefetch", "off"),
    ("performance.read-ahead", "off"),
    ("performance.readdir-ahead", "off"),
    ("performance.open-behind", "off"),
    ("performance.write-behind", "off"),
    ("cluster.eager-lock", "off"),
    ("client.strict-locks", "on"),
];

/// How it deals with a host that is gone; the first stalls everybody for 42 s if it is not set.
const IMPATIENT: [(&str, &str); 3] =
    [("network.ping-timeout", "5"), ("server.tcp-user-timeout", "10"), ("cluster.heal-timeout", "10")];

/// Which options a mount is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounting {
    /// None, as most people mount.
    Default,
    /// No cache in the kernel.
    Coherent,
}

/// Whether GlusterFS can be started here. Says so if not.
///
/// # Errors
/// If it cannot although everything should be there.
pub fn is_possible() -> Result<bool> {
    if !hosts::are_possible()? {
        return Ok(false);
    }
    for (name, package) in [("glusterfs", "glusterfs-client"), ("glusterd", "glusterfs-server")] {
        if tool::find(name, package)?.is_none() {
            return Ok(false);
        }
    }
    if !Path::new("/dev/fuse").exists() {
        tool::skip("GlusterFS is mounted through FUSE, and there is no /dev/fuse")?;
        return Ok(false);
    }
    Ok(true)
}

/// Starts the volume on three hosts, with the options it has by default but for the time it waits for dead hosts.
/// What it needs to remember lies in `base`.
///
/// # Errors
/// If it does not come up.
pub fn start(hosts: [&Host; 3], base: &Path) -> Result<()> {
    for host in hosts {
        start_daemon(host, base)?;
    }
    let [first, others @ ..] = hosts;
    until("glusterd answers", || gluster(first, &["pool", "list"]).map(|_| true))?;
    for other in others {
        until("the hosts meet", || gluster(first, &["peer", "probe", &other.address().to_string()]).map(|_| true))?;
    }
    until("the hosts are one pool", || {
        Ok(gluster(first, &["peer", "status"])?.matches("Peer in Cluster (Connected)").count() == others.len())
    })?;
    let bricks: Vec<String> =
        hosts.iter().map(|host| format!("{}:{}", host.address(), brick(host, base).join("b").display())).collect();
    let mut create = vec!["volume", "create", VOLUME, "replica", "3"];
    create.extend(bricks.iter().map(String::as_str));
    create.push("force");
    until("the volume is made", || gluster(first, &create).map(|_| true))?;
    set(first, &IMPATIENT)?;
    gluster(first, &["volume", "start", VOLUME])?;
    until("all bricks are up", || {
        Ok(gluster(first, &["volume", "status", VOLUME, "detail"])?
            .lines()
            .filter(|line| line.starts_with("Online") && line.ends_with(['Y', ' ']) && line.contains(": Y"))
            .count()
            == hosts.len())
    })
}

/// Gives the volume the options a cluster needs.
///
/// # Errors
/// If it does not take them.
pub fn make_coherent(host: &Host) -> Result<()> {
    set(host, &COHERENT)
}

/// Mounts the volume on a host and waits until it answers.
///
/// # Errors
/// If it does not.
pub fn mount(host: &Host, at: &Path, mounting: Mounting) -> Result<()> {
    fs::create_dir_all(at)?;
    let at = text(at)?;
    let server = format!("--volfile-server={}", host.address());
    let volume = format!("--volfile-id=/{VOLUME}");
    let log = format!("{at}.{}.log", host.name());
    let mut arguments = vec!["--process-name", "fuse", "-L", "WARNING", "-l", &log, &server, &volume];
    if mounting == Mounting::Coherent {
        arguments.extend([
            "--attribute-timeout=0",
            "--entry-timeout=0",
            "--negative-timeout=0",
            "--direct-io-mode=enable",
        ]);
    }
    arguments.push(at);
    host.run("glusterfs", &arguments)?;
    let file = format!("{at}/.ready-{}", host.name());
    until("the mount answers", || host.run("sh", &["-c", &format!("touch {file} && rm {file}")]).map(|_| true))
}

/// Takes a mount away from under whoever uses it.
///
/// # Errors
/// If there is none.
pub fn unmount(host: &Host, at: &Path) -> Result<()> {
    host.run("umount", &["-l", text(at)?]).map(drop)
}

fn start_daemon(host: &Host, base: &Path) -> Result<()> {
    let home = base.join(host.name());
    for folder in ["state", "log", "brick"] {
        fs::create_dir_all(home.join(folder))?;
    }
    let address = host.address();
    // Timers of the daemons among themselves; the daemon's own ping would take a busy machine for a dead one.
    let volume_file = format!(
        "volume management\n    type mgmt/glusterd\n    option working-directory /var/lib/glusterd\n    \
         option transport-type socket\n    option transport.socket.bind-address {address}\n    \
         option transport.socket.listen-port 24007\n    option transport.socket.keepalive-time 10\n    \
         option transport.socket.keepalive-interval 2\n    option ping-timeout 0\n    \
         option event-threads 1\nend-volume\n"
    );
    fs::write(home.join("glusterd.vol"), volume_file)?;
    let at = text(&home)?;
    // Its places are fixed in the program; this host has its own of each. The package's hook scripts are kept.
    let script = format!(
        "set -e; cp -a /var/lib/glusterd/. {at}/state/; rm -f {at}/state/glusterd.info
         mount -t tmpfs -o size=512m brick {at}/brick
         mount -t tmpfs -o size=16m,mode=755 run /run; mkdir -p /run/gluster /run/lock
         mount --bind {at}/state /var/lib/glusterd; mount --bind {at}/log /var/log/glusterfs
         glusterd -f {at}/glusterd.vol -p /run/gluster/glusterd.pid -L WARNING -l /var/log/glusterfs/glusterd.log"
    );
    host.run("sh", &["-c", &script]).map(drop)
}

fn set(host: &Host, options: &[(&str, &str)]) -> Result<()> {
    let mut arguments = vec!["volume", "set", VOLUME];
    arguments.extend(options.iter().flat_map(|(name, value)| [*name, *value]));
    gluster(host, &arguments).map(drop)
}

fn gluster(host: &Host, arguments: &[&str]) -> Result<String> {
    host.run("gluster", &[&["--mode=script"], arguments].concat())
}

fn brick(host: &Host, base: &Path) -> PathBuf {
    base.join(host.name()).join("brick")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    loop {
        match holds() {
            Ok(true) => return Ok(()),
            Ok(false) => ensure!(begin.elapsed() < DEADLINE, "waited too long until {what}"),
            Err(error) if begin.elapsed() > DEADLINE => return Err(error.context(format!("until {what}"))),
            Err(_) => {}
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
