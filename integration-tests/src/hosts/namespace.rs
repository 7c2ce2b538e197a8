//! A set of namespaces and the process that holds them.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::AsFd,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// How long a set of namespaces may take to be made.
const DEADLINE: Duration = Duration::from_secs(20);

/// What `nsenter` enters; process ids are entered by the thread that starts it, so that it need not fork.
const ENTERED: [&str; 4] = ["--net", "--mount", "--uts", "--time"];

/// A set of namespaces. They end with the value, and with this process, however it ends.
pub struct Namespaces {
    holder: Child,
    handle: Handle,
}

/// Whose namespaces: the process id of their init, seen from here.
#[derive(Debug, Clone, Copy)]
pub struct Handle {
    init: i32,
}

impl Namespaces {
    /// Makes a set. `clock` holds further arguments of `unshare`, such as offsets of the clocks.
    pub fn new(name: &str, clock: &[String]) -> Result<Self> {
        // Init reads until we are gone; a shell, since it also takes in the orphans of daemons.
        let script = format!("hostname {name} && ip link set lo up && echo ready && while read -r _; do :; done");
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--uts", "--pid", "--time", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private"])
            .args(clock)
            .args(["bash", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start unshare")?;
        match wait_ready(&mut holder) {
            Ok(init) => Ok(Self { holder, handle: Handle { init } }),
            Err(error) => {
                let _ = holder.kill();
                let _ = holder.wait();
                Err(error.context(format!("make the namespaces of {name}")))
            }
        }
    }

    /// Whose they are.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Runs a program inside, to its end, and returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.handle.run(program, arguments)
    }

    /// Kills init, and with it everything inside.
    pub fn kill(&self) -> Result<()> {
        let init = Pid::from_raw(self.handle.init).context("init has no process id")?;
        kill_process(init, Signal::KILL).context("kill init")
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let _ = self.kill();
        // It ends when all its processes are waited for; those that are ours may be waited for later than this.
        let deadline = Instant::now() + Duration::from_secs(2);
        while matches!(self.holder.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Handle {
    /// The process id of init, seen from here.
    pub fn init(self) -> i32 {
        self.init
    }

    /// A command that will run inside, if it is started by [`Handle::spawn`].
    pub fn command(self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string()]).args(ENTERED).arg("--").arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// Starts a command made by [`Handle::command`]. The process is a child of this one.
    pub fn spawn(self, command: &mut Command) -> Result<Child> {
        let ids = self.open("pid")?;
        // Only a thread's future children change their namespace of process ids; so it is a thread of its own.
        let start = || -> Result<Child> {
            move_into_link_name_space(ids.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
            Ok(command.spawn()?)
        };
        let started = thread::scope(|scope| scope.spawn(start).join());
        started.map_err(|_| anyhow::anyhow!("the thread that starts {command:?} panicked"))?
    }

    /// Runs a command made by [`Handle::command`] to its end.
    pub fn output(self, command: &mut Command) -> Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(self.spawn(command)?.wait_with_output()?)
    }

    /// Runs a program to its end, and returns what it printed.
    pub fn run(self, program: &str, arguments: &[&str]) -> Result<String> {
        said(program, arguments, &self.output(self.command(program).args(arguments))?)
    }

    /// Runs a program to its end that reads `input`.
    pub fn feed(self, program: &str, arguments: &[&str], input: &str) -> Result<()> {
        let mut command = self.command(program);
        let mut child = self.spawn(command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program}: {}\n{errors}\n{input}", output.status);
        Ok(())
    }

    fn open(self, kind: &str) -> Result<File> {
        let path = format!("/proc/{}/ns/{kind}", self.init);
        File::open(&path).with_context(|| format!("open {path}: is the host powered on?"))
    }
}

/// Moves the calling thread to a host: from now on the sockets it makes are there, and the programs it starts. Threads
/// that exist already stay where they are; a test on one thread moves as a whole.
///
/// # Errors
/// If the host is powered off.
pub fn on_host(host: &super::Host) -> Result<()> {
    let network = host.handle()?.open("net")?;
    Ok(move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Runs a program to its end outside of all hosts, and returns what it printed.
pub fn here(program: &str, arguments: &[&str]) -> Result<String> {
    said(program, arguments, &Command::new(program).args(arguments).stdin(Stdio::null()).output()?)
}

fn said(program: &str, arguments: &[&str], output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}\n{said}{errors}", arguments.join(" "), output.status);
    Ok(said)
}

/// Waits until init is there and says that it is ready; returns its process id.
fn wait_ready(holder: &mut Child) -> Result<i32> {
    use std::io::{BufRead, BufReader, Read};
    let mut line = String::new();
    // `unshare` ends at once if it cannot do it, and so does the script: then the line is empty.
    BufReader::new(holder.stdout.take().context("no output")?).read_line(&mut line)?;
    if line.trim() != "ready" {
        let mut errors = String::new();
        holder.stderr.take().context("no errors")?.read_to_string(&mut errors)?;
        bail!("unshare ended with {}: {errors}", holder.wait()?);
    }
    let children = format!("/proc/{0}/task/{0}/children", holder.id());
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(init) = fs::read_to_string(&children)?.split(' ').next().and_then(|pid| pid.parse().ok()) {
            return Ok(init);
        }
        if Instant::now() > deadline {
            bail!("unshare has no child");
        }
        thread::sleep(Duration::from_millis(5));
    }
}
