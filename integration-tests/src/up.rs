//! A whole supercluster for one test: the real program, started by `laniakea up` in a folder of its own.
//!
//! Processes are found by `endpoints.json` alone, as any script would; they are killed by process id with SIGKILL, as
//! the kernel would. Everything ends with the value, and with the test, however that ends.

use std::{
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{LazyLock, OnceLock},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long `up` may take until all is ready.
const START_DEADLINE: Duration = Duration::from_secs(90);

/// How long `up` may take to stop everything.
const STOP_DEADLINE: Duration = Duration::from_secs(45);

/// Tests of one file run side by side; more than this many superclusters at once would measure only the machine.
pub(crate) static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(1));

/// What `endpoints.json` says.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoints {
    /// The domain of the accounts.
    pub domain: String,
    /// The password of all accounts.
    pub password: String,
    /// The LDAP server.
    pub directory: DirectoryEndpoint,
    /// The routers.
    pub routers: Vec<Endpoint>,
    /// The clusters.
    pub clusters: Vec<ClusterEndpoint>,
    /// The authority that signed the server certificate.
    pub ca_certificate: PathBuf,
}

/// The LDAP server.
#[derive(Debug, Clone, Deserialize)]
pub struct DirectoryEndpoint {
    /// Its process; none if it is not ours.
    pub pid: Option<i32>,
    /// Where it answers.
    pub ldap: SocketAddr,
    /// Its suffix.
    pub base: String,
    /// Its administrator.
    pub admin_dn: String,
    /// The administrator's password.
    pub admin_password: String,
}

/// A router or a member: its process and its listeners.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: i32,
    /// IMAP with STARTTLS.
    pub imap: Option<SocketAddr>,
    /// IMAP inside TLS.
    pub imaps: Option<SocketAddr>,
    /// POP3 with STLS.
    pub pop3: Option<SocketAddr>,
    /// POP3 inside TLS.
    pub pop3s: Option<SocketAddr>,
    /// SMTP with STARTTLS.
    pub smtp: Option<SocketAddr>,
    /// Submission with STARTTLS.
    pub submission: Option<SocketAddr>,
    /// Submission inside TLS.
    pub submissions: Option<SocketAddr>,
    /// LMTP.
    pub lmtp: Option<SocketAddr>,
    /// HTTP.
    pub http: Option<SocketAddr>,
    /// HTTP inside TLS.
    pub https: Option<SocketAddr>,
    /// `/metrics` and so on.
    pub metrics: SocketAddr,
}

/// A cluster and its members.
#[derive(Debug, Clone, Deserialize)]
pub struct ClusterEndpoint {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub storage: PathBuf,
    /// Its members.
    pub members: Vec<Endpoint>,
}

impl Endpoint {
    /// Where it speaks IMAP.
    ///
    /// # Errors
    /// If it does not.
    pub fn imap(&self) -> Result<SocketAddr> {
        self.imap.with_context(|| format!("{} has no imap", self.name))
    }

    /// Where it speaks POP3.
    ///
    /// # Errors
    /// If it does not.
    pub fn pop3(&self) -> Result<SocketAddr> {
        self.pop3.with_context(|| format!("{} has no pop3", self.name))
    }

    /// Where it speaks SMTP.
    ///
    /// # Errors
    /// If it does not.
    pub fn smtp(&self) -> Result<SocketAddr> {
        self.smtp.with_context(|| format!("{} has no smtp", self.name))
    }

    /// Where it takes submissions.
    ///
    /// # Errors
    /// If it does not.
    pub fn submission(&self) -> Result<SocketAddr> {
        self.submission.with_context(|| format!("{} has no submission", self.name))
    }

    /// Where it speaks LMTP.
    ///
    /// # Errors
    /// If it does not.
    pub fn lmtp(&self) -> Result<SocketAddr> {
        self.lmtp.with_context(|| format!("{} has no lmtp", self.name))
    }
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Clusters.
    pub clusters: u16,
    /// Members in each.
    pub members: u16,
    /// Routers.
    pub routers: u16,
    /// Accounts.
    pub accounts: u32,
    /// `never`, or seconds.
    pub restart_after: &'static str,
}

impl Default for Shape {
    fn default() -> Self {
        Self { clusters: 2, members: 2, routers: 1, accounts: 4, restart_after: "never" }
    }
}

/// A running supercluster.
pub struct Up {
    process: std::process::Child,
    folder: TempDir,
    shape: Shape,
    /// What runs where.
    pub endpoints: Endpoints,
    _place: SemaphorePermit<'static>,
}

impl Up {
    /// Starts two clusters of two members, a router and four accounts.
    ///
    /// # Errors
    /// If it does not become ready; the message holds what the processes said.
    pub async fn start() -> Result<Self> {
        Self::start_as(Shape::default()).await
    }

    /// Starts what `shape` asks for.
    ///
    /// # Errors
    /// If it does not become ready; the message holds what the processes said.
    pub async fn start_as(shape: Shape) -> Result<Self> {
        let place = PLACES.acquire().await?;
        let folder = tempfile::Builder::new().prefix("laniakea-test-").tempdir()?;
        let mut process = spawn(folder.path(), &shape)?;
        let endpoints = wait_ready(&mut process, folder.path()).await?;
        Ok(Self { process, folder, shape, endpoints, _place: place })
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.data().join("laniakea.yaml")
    }

    /// The address of account number `number`, from 1.
    #[must_use]
    pub fn account(&self, number: u32) -> String {
        format!("user{number}@{}", self.endpoints.domain)
    }

    /// The addresses of all accounts.
    #[must_use]
    pub fn accounts(&self) -> Vec<String> {
        (1..=self.shape.accounts).map(|number| self.account(number)).collect()
    }

    /// The password of all accounts.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.endpoints.password
    }

    /// The first router.
    ///
    /// # Errors
    /// If there is none.
    pub fn router(&self) -> Result<&Endpoint> {
        self.endpoints.routers.first().context("there is no router")
    }

    /// The members of the cluster numbered `number`, from 1.
    ///
    /// # Errors
    /// If there is no such cluster.
    pub fn members(&self, number: usize) -> Result<&[Endpoint]> {
        Ok(&self.endpoints.clusters.get(number - 1).with_context(|| format!("there is no cluster {number}"))?.members)
    }

    /// Every router and member.
    pub fn processes(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.routers.iter().chain(self.endpoints.clusters.iter().flat_map(|cluster| &cluster.members))
    }

    /// The process called `name`.
    ///
    /// # Errors
    /// If there is none.
    pub fn process(&self, name: &str) -> Result<&Endpoint> {
        self.processes().find(|process| process.name == name).with_context(|| format!("there is no {name}"))
    }

    /// Kills the process called `name` with SIGKILL.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn kill(&self, name: &str) -> Result<()> {
        kill(self.process(name)?.pid).with_context(|| format!("kill {name}"))
    }

    /// Tells the process called `name` to stop, with SIGTERM, as an operator or a service manager would.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn terminate(&self, name: &str) -> Result<()> {
        Ok(kill_process(pid(self.process(name)?.pid)?, Signal::TERM)?)
    }

    /// Tells the process called `name` to read its configuration and certificates again, with SIGHUP.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn hang_up(&self, name: &str) -> Result<()> {
        Ok(kill_process(pid(self.process(name)?.pid)?, Signal::HUP)?)
    }

    /// Freezes the process called `name` with SIGSTOP, or thaws it with SIGCONT.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn freeze(&self, name: &str, frozen: bool) -> Result<()> {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        Ok(kill_process(pid(self.process(name)?.pid)?, signal)?)
    }

    /// Kills everything with SIGKILL, `up` first, as a power failure would.
    ///
    /// # Errors
    /// If `up` does not end.
    pub fn kill_everything(&mut self) -> Result<()> {
        self.process.kill()?;
        let pids: Vec<i32> = self.processes().map(|process| process.pid).chain(self.endpoints.directory.pid).collect();
        // Those that died with their parent already are as dead as they should be.
        pids.iter().for_each(|pid| drop(kill(*pid)));
        self.process.wait()?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while pids.iter().any(|pid| is_alive(*pid)) {
            ensure!(Instant::now() < deadline, "a process survives SIGKILL");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Starts `up` again on the same data.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = spawn(self.folder.path(), &self.shape)?;
        self.endpoints = wait_ready(&mut self.process, self.folder.path()).await?;
        Ok(())
    }

    /// Stops everything, changes the configuration file, and starts again.
    ///
    /// # Errors
    /// If one of the three fails.
    pub async fn reconfigure(&mut self, change: impl FnOnce(String) -> String) -> Result<()> {
        self.stop()?;
        let text = fs::read_to_string(self.config())?;
        fs::write(self.config(), change(text))?;
        self.start_again().await
    }

    /// Stops everything in order, as Ctrl-C does, and returns what `up` said.
    ///
    /// # Errors
    /// If it does not end in time, or not with success.
    pub fn stop(&mut self) -> Result<String> {
        kill_process(pid(i32::try_from(self.process.id())?)?, Signal::TERM)?;
        let deadline = Instant::now() + STOP_DEADLINE;
        let status = loop {
            match self.process.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => bail!("`up` does not end; {}", self.logs()),
                None => thread::sleep(Duration::from_millis(20)),
            }
        };
        let said = fs::read_to_string(self.folder.path().join("up.out"))?;
        ensure!(status.success(), "`up` ended with {status}: {said}");
        Ok(said)
    }

    /// Waits until `up` has started the process called `name` again and it is ready.
    ///
    /// # Errors
    /// If that takes longer than a minute.
    pub async fn wait_restarted(&mut self, name: &str, old: i32) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            self.endpoints = read_endpoints(self.folder.path())?;
            let process = self.process(name)?;
            if process.pid != old
                && crate::client::http::get(process.metrics, "/readyz").await.is_ok_and(|answer| answer.status == 200)
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{name} is not started again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs the program as an operator would, on this installation.
    ///
    /// # Errors
    /// If it cannot be started; its own failures are in the output.
    pub fn laniakea(&self, arguments: &[&str]) -> Result<Output> {
        let output = Command::new(program()?)
            .args(arguments)
            .env("LANIAKEA_CONFIG", self.config())
            .stdin(Stdio::null())
            .output()
            .context("start laniakea")?;
        Ok(output)
    }

    /// Runs the program and returns what it printed.
    ///
    /// # Errors
    /// If it does not end with success.
    pub fn say(&self, arguments: &[&str]) -> Result<String> {
        let output = self.laniakea(arguments)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "laniakea {arguments:?}: {}\n{said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(said)
    }

    /// Runs the program with `--json` and reads what it printed.
    ///
    /// # Errors
    /// If it does not end with success or prints something else.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let arguments = [arguments, &["--json"]].concat();
        let said = self.say(&arguments)?;
        serde_json::from_str(&said).with_context(|| format!("laniakea {arguments:?} printed {said}"))
    }

    /// The name of the member that owns an account now, if any does.
    ///
    /// # Errors
    /// If nobody can say.
    pub fn owner(&self, address: &str) -> Result<Option<String>> {
        let story = self.json(&["explain", address])?;
        let error = story.get("error").and_then(serde_json::Value::as_str);
        ensure!(error.is_none(), "explain {address}: {error:?}");
        Ok(story.get("owner").and_then(serde_json::Value::as_str).map(str::to_owned))
    }

    /// The controller of the cluster numbered `number`, from 1.
    ///
    /// # Errors
    /// If nobody can say.
    pub fn controller(&self, number: usize) -> Result<String> {
        let status = self.json(&["cluster", "status"])?;
        let name = status.pointer(&format!("/clusters/{}/controller", number - 1)).and_then(serde_json::Value::as_str);
        name.map(str::to_owned).with_context(|| format!("cluster {number} has no controller: {status}"))
    }

    /// What the processes complained about: lines of WARN and ERROR in their logs.
    ///
    /// # Errors
    /// If a log cannot be read.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.data().join("logs"))? {
            let path = entry?.path();
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            let complains =
                |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("panicked");
            lines.extend(text.lines().filter(complains).map(|line| format!("{}: {line}", path.display())));
        }
        Ok(lines)
    }

    /// The ends of all logs, for the message of a failed test.
    #[must_use]
    pub fn logs(&self) -> String {
        logs(self.folder.path())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.stop();
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        if env::var_os("LANIAKEA_KEEP").is_some() {
            self.folder.disable_cleanup(true);
            eprintln!("kept {}", self.folder.path().display());
        }
    }
}

/// The program under test: `$LANIAKEA_BIN`, or the one beside the program that runs, or built now by the cargo that runs
/// this test.
///
/// # Errors
/// If it cannot be built.
pub fn program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = PROGRAM.get() {
        return Ok(path);
    }
    let path = match env::var_os("LANIAKEA_BIN") {
        Some(path) => path.into(),
        None => match env::current_exe()?.with_file_name("laniakea") {
            beside if beside.exists() => beside,
            _ => build()?,
        },
    };
    Ok(PROGRAM.get_or_init(|| path))
}

fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--bin", "laniakea"])
        .current_dir(workspace)
        .output()
        .context("build laniakea")?;
    ensure!(built.status.success(), "build laniakea: {}", String::from_utf8_lossy(&built.stderr));
    // This test is target/PROFILE/deps/NAME; the program is built for the dev profile beside it.
    let test = env::current_exe()?;
    let target = test.ancestors().nth(3).context("the target folder")?;
    Ok(target.join("debug").join("laniakea"))
}

fn spawn(folder: &Path, shape: &Shape) -> Result<std::process::Child> {
    let open = |name: &str| -> io::Result<fs::File> {
        fs::OpenOptions::new().append(true).create(true).open(folder.join(name))
    };
    let child = Command::new(program()?)
        .arg("up")
        .arg("--data")
        .arg(folder.join("data"))
        .args(["--base-port", "0", "--password", "correct horse", "--restart-after", shape.restart_after])
        .args(["--clusters", &shape.clusters.to_string(), "--members", &shape.members.to_string()])
        .args(["--routers", &shape.routers.to_string(), "--accounts", &shape.accounts.to_string()])
        // `up` must not outlive a test that is killed.
        .env("LANIAKEA_PARENT", std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(open("up.out")?)
        .stderr(open("up.err")?)
        .spawn();
    child.context("start `laniakea up`")
}

async fn wait_ready(process: &mut std::process::Child, folder: &Path) -> Result<Endpoints> {
    let deadline = Instant::now() + START_DEADLINE;
    let expected = i32::try_from(process.id())?;
    loop {
        if let Some(status) = process.try_wait()? {
            bail!("`up` ended with {status}\n{}", logs(folder));
        }
        // The file of an earlier start names processes of an earlier `up`.
        if let Ok(endpoints) = read_endpoints(folder)
            && is_child(endpoints.routers.first().map(|router| router.pid), expected)
        {
            return Ok(endpoints);
        }
        if Instant::now() > deadline {
            let _ = process.kill();
            bail!("`up` is not ready\n{}", logs(folder));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_child(pid: Option<i32>, parent: i32) -> bool {
    let Some(pid) = pid else { return false };
    let stat = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    stat.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|value| value.trim() == parent.to_string()))
}

fn read_endpoints(folder: &Path) -> Result<Endpoints> {
    Ok(serde_json::from_slice(&fs::read(folder.join("data/endpoints.json"))?)?)
}

fn logs(folder: &Path) -> String {
    let mut text = String::new();
    let mut add = |path: PathBuf| {
        let content = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = content.lines().collect();
        let tail =
            lines.iter().skip(lines.len().saturating_sub(40)).map(|line| format!("  {line}\n")).collect::<String>();
        if !tail.is_empty() {
            text.push_str(&format!("--- {}\n{tail}", path.display()));
        }
    };
    add(folder.join("up.out"));
    add(folder.join("up.err"));
    let mut names: Vec<PathBuf> = fs::read_dir(folder.join("data/logs"))
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    names.sort();
    names.into_iter().for_each(add);
    text
}

fn kill(number: i32) -> Result<()> {
    Ok(kill_process(pid(number)?, Signal::KILL)?)
}

/// Whether a process with this number runs.
#[must_use]
pub fn is_alive(number: i32) -> bool {
    // A zombie answers signals too, but its parent is gone and init takes it at once.
    let state = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let is_zombie = state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
    !is_zombie && pid(number).is_ok_and(|pid| test_kill_process(pid).is_ok())
}

fn pid(number: i32) -> Result<Pid> {
    Pid::from_raw(number).with_context(|| format!("{number} is not a process id"))
}
