//! A cluster whose members run on hosts of their own, and everything that can be done to them.
//!
//! The directory and the router share one more host, and the test itself has one: [`Cluster::start`] moves the calling
//! thread there. Processes are killed by SIGKILL, frozen by SIGSTOP, lose their power, their cables and their storage.

mod plan;
mod process;

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use laniakea_config::Config;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::SemaphorePermit;

pub use self::{
    plan::{CLUSTER, PASSWORD, Plan, Storage, account},
    process::Process,
};
use crate::{
    client::http,
    faultfs::{Faults, Mount},
    hosts::{Host, Network, on_host},
    tool,
    up::{PLACES, program},
};

/// How long anything may take to become ready.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// A member, its host, its storage.
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub host: Host,
    /// Its storage, if it is one that fails on command; none while the host is off.
    pub mount: Option<Mount>,
    /// Its process.
    pub process: Process,
}

impl Member {
    /// Where it speaks IMAP.
    #[must_use]
    pub fn imap(&self) -> SocketAddr {
        SocketAddr::new(self.host.address(), 143)
    }

    /// Where it answers the admin API.
    #[must_use]
    pub fn metrics(&self) -> SocketAddr {
        SocketAddr::new(self.host.address(), 9090)
    }

    /// From now on this is wrong with its storage, and nothing else.
    ///
    /// # Errors
    /// If its storage is not one that fails on command.
    pub fn fail(&mut self, faults: &Faults) -> Result<()> {
        self.mount.as_mut().context("its storage does not fail on command")?.set(faults)
    }
}

/// A running cluster. Everything ends with the value.
pub struct Cluster {
    // In the order in which they end: processes and mounts before the hosts, the folder last.
    members: Vec<Member>,
    router: Process,
    _directory: Process,
    front: Host,
    _client: Host,
    network: Network,
    /// What its processes read.
    pub config: Config,
    plan: Plan,
    folder: TempDir,
    _place: SemaphorePermit<'static>,
}

impl Cluster {
    /// Starts one and waits until it is ready. The calling thread moves to a host of the same network.
    ///
    /// # Errors
    /// If it does not become ready; the message holds what the processes said.
    pub async fn start(plan: Plan) -> Result<Self> {
        let mut cluster = Self::prepare(plan).await?;
        for index in 0..cluster.members.len() {
            cluster.start_member(index)?;
        }
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    /// Starts everything but the members.
    ///
    /// # Errors
    /// If it does not become ready; the message holds what the processes said.
    pub async fn prepare(plan: Plan) -> Result<Self> {
        let place = PLACES.acquire().await?;
        let folder = tempfile::Builder::new().prefix("laniakea-cluster-").tempdir()?;
        let mut network = Network::new()?;
        let client = network.host("client")?;
        let front = network.host("front")?;
        let mut hosts = Vec::new();
        for (index, letter) in (0..usize::from(plan.members)).zip('a'..) {
            let ahead = plan.clocks.get(index).copied().unwrap_or(0);
            hosts.push((format!("{CLUSTER}-{letter}"), network.host_with_clock(&letter.to_string(), ahead)?));
        }
        let addresses: Vec<_> = hosts.iter().map(|(name, host)| (name.clone(), host.address())).collect();
        let config = plan::write(folder.path(), &plan, front.address(), &addresses)?;
        on_host(&client)?;
        let log = |name: &str| folder.path().join(format!("logs/{name}.log"));
        let mut directory = Process::new("directory", &["directory"], log("directory"));
        directory.start(&front, folder.path(), &[])?;
        wait_until_ready("the directory", SocketAddr::new(front.address(), 9089)).await?;
        plan::provision(&config, plan.accounts).await?;
        let mut router = Process::new("router", &["router", "--name", "router"], log("router"));
        router.start(&front, folder.path(), &[])?;
        let member = |(name, host): (String, Host)| {
            let process = Process::new(&name, &["backend", "--name", &name], log(&name));
            Member { name, host, mount: None, process }
        };
        let members = hosts.into_iter().map(member).collect();
        let (folder, plan) = (keep_if_asked(folder), plan);
        Ok(Self {
            members,
            router,
            _directory: directory,
            front,
            _client: client,
            network,
            config,
            plan,
            folder,
            _place: place,
        })
    }

    /// The members, in the order of their names.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One of them.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn member(&mut self, index: usize) -> Result<&mut Member> {
        self.members.get_mut(index).with_context(|| format!("there is no member {index}"))
    }

    /// Where the router speaks IMAP.
    #[must_use]
    pub fn imap(&self) -> SocketAddr {
        SocketAddr::new(self.front.address(), 143)
    }

    /// Where the router speaks SMTP.
    #[must_use]
    pub fn smtp(&self) -> SocketAddr {
        SocketAddr::new(self.front.address(), 25)
    }

    /// The host of directory and router.
    #[must_use]
    pub fn front(&self) -> &Host {
        &self.front
    }

    /// The addresses of all accounts.
    #[must_use]
    pub fn accounts(&self) -> Vec<String> {
        (1..=self.plan.accounts).map(account).collect()
    }

    /// Where the mail is, without any mount in between.
    #[must_use]
    pub fn backing(&self) -> PathBuf {
        plan::backing(self.folder.path())
    }

    /// One more host in the same network.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn spare_host(&mut self, name: &str) -> Result<Host> {
        self.network.host(name)
    }

    /// Starts a member that does not run: its host, its storage, its process, whatever is missing.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn start_member(&mut self, index: usize) -> Result<()> {
        let storage = self.plan.storage;
        let (folder, backing) = (self.folder.path().to_owned(), self.backing());
        let wrapper = self.plan.wrappers.get(index).cloned().unwrap_or_default();
        let member = self.member(index)?;
        if member.host.init().is_err() {
            member.mount = None;
            member.host.power_on()?;
        }
        if let (Storage::Mounted { cached }, None) = (storage, &member.mount) {
            let at = plan::storage(&folder, storage);
            member.mount = Some(Mount::new(&member.host, &backing, &at, cached)?);
        }
        member.process.start(&member.host, &folder, &wrapper)
    }

    /// Starts another process of a member's name on another host, with the same storage.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn start_twin(&self, name: &str, host: &Host) -> Result<(Process, Option<Mount>)> {
        let config = self.folder.path().join("twin.yaml");
        std::fs::write(&config, plan::with_member_at(&self.config, name, host.address()).render(self.folder.path()))?;
        let mount = match self.plan.storage {
            Storage::Folder => None,
            Storage::Mounted { cached } => {
                let at = plan::storage(self.folder.path(), self.plan.storage);
                Some(Mount::new(host, &self.backing(), &at, cached)?)
            }
        };
        let log = self.folder.path().join(format!("logs/{name}-twin.log"));
        let mut process = Process::new(name, &["backend", "--name", name], log);
        process.start_with(host, &config, &[])?;
        Ok((process, mount))
    }

    /// The power of a member's host fails.
    ///
    /// # Errors
    /// If it is off already.
    pub fn power_off(&mut self, index: usize) -> Result<()> {
        let member = self.member(index)?;
        // The kernel says good-bye for processes that die; a machine without power says nothing.
        member.host.unplug()?;
        member.host.power_off()?;
        member.process.wait()?;
        member.mount = None;
        Ok(())
    }

    /// Waits until the router and every member that should run are ready.
    ///
    /// # Errors
    /// If they are not in time; the message holds what they said.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let ready = async {
            for member in &mut self.members {
                wait_until_ready(&member.name, member.metrics()).await?;
            }
            wait_until_ready("the router", SocketAddr::new(self.front.address(), 9090)).await
        };
        ready.await.map_err(|error: anyhow::Error| error.context(self.logs()))
    }

    /// Asks a member's admin API; the path follows `/admin/v1/`.
    ///
    /// # Errors
    /// If it does not answer within a second.
    pub async fn ask(&self, index: usize, path: &str) -> Result<Value> {
        let member = self.members.get(index).with_context(|| format!("there is no member {index}"))?;
        let token = std::fs::read_to_string(&self.config.admin_token)?;
        let path = format!("/admin/v1/{path}");
        let question = http::get_as(member.metrics(), &path, Some(token.trim()));
        let answer = tokio::time::timeout(Duration::from_secs(1), question).await??;
        ensure!(answer.status == 200, "{} answered {}: {}", member.name, answer.status, answer.body);
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Whether every member says that it is registered with one and the same controller.
    pub async fn all_registered(&self) -> bool {
        let mut terms = std::collections::BTreeSet::new();
        for index in 0..self.members.len() {
            let Ok(status) = self.ask(index, "status").await else { return false };
            let is_registered = status.get("registered").and_then(Value::as_bool) == Some(true);
            if !is_registered || status.get("controller").is_none_or(Value::is_null) {
                return false;
            }
            terms.insert(status.get("term").and_then(Value::as_u64));
        }
        terms.len() == 1
    }

    /// The index of the controller: what the members with the highest term say.
    ///
    /// # Errors
    /// If no member knows one.
    pub async fn controller(&self) -> Result<usize> {
        let mut best: Option<(u64, String)> = None;
        for index in 0..self.members.len() {
            let Ok(status) = self.ask(index, "status").await else { continue };
            let (term, name) = (status.get("term").and_then(Value::as_u64), status.get("controller"));
            if let (Some(term), Some(name)) = (term, name.and_then(Value::as_str))
                && best.as_ref().is_none_or(|(highest, _)| term > *highest)
            {
                best = Some((term, name.to_owned()));
            }
        }
        let (_, name) = best.context("no member knows a controller")?;
        self.index(&name)
    }

    /// The index of the member that owns an account, if any does.
    ///
    /// # Errors
    /// If no member can say.
    pub async fn owner(&self, account: &str) -> Result<Option<usize>> {
        let id = self.account_id(account).await?;
        for index in 0..self.members.len() {
            let Ok(answer) = self.ask(index, &format!("ownable/{id}")).await else { continue };
            return answer.get("owner").and_then(Value::as_str).map(|name| self.index(name)).transpose();
        }
        anyhow::bail!("no member can say who owns {account}")
    }

    /// The id of an account.
    ///
    /// # Errors
    /// If the directory does not know it.
    pub async fn account_id(&self, account: &str) -> Result<String> {
        let output = tokio::process::Command::new(program()?)
            .args(["account", "show", account, "--json", "--config"])
            .arg(plan::file(self.folder.path()))
            .output()
            .await?;
        let entry: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let id = entry.get("id").and_then(Value::as_str).with_context(|| format!("no id: {entry}"))?;
        Ok(id.to_owned())
    }

    /// Whether the processes that should run still do; reaps those that ended.
    ///
    /// # Errors
    /// If the system cannot say.
    pub fn is_running(&mut self, index: usize) -> Result<bool> {
        self.member(index)?.process.is_running()
    }

    /// How many files the router has open, and how many kilobytes of memory it uses.
    ///
    /// # Errors
    /// If it does not run.
    pub fn router_weight(&self) -> Result<(usize, u64)> {
        self.router.weight()
    }

    /// Ends all members in order, and checks every byte that is on the storage.
    ///
    /// # Errors
    /// If anything is damaged.
    pub fn stop_and_check(&mut self) -> Result<()> {
        for member in &mut self.members {
            member.process.stop()?;
        }
        let backing = self.backing();
        let arguments = ["store", "check", backing.to_str().context("the path of the storage")?];
        let said = tool::run(program()?, &arguments, self.folder.path(), b"")?;
        println!("  {}", said.lines().last().unwrap_or_default());
        Ok(())
    }

    /// The ends of all logs, for the message of a failed test.
    #[must_use]
    pub fn logs(&self) -> String {
        process::logs(&self.folder.path().join("logs"))
    }

    fn index(&self, name: &str) -> Result<usize> {
        self.members.iter().position(|member| member.name == name).with_context(|| format!("there is no {name}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

fn keep_if_asked(mut folder: TempDir) -> TempDir {
    if std::env::var_os("LANIAKEA_KEEP").is_some() {
        folder.disable_cleanup(true);
        eprintln!("keeps {}", folder.path().display());
    }
    folder
}

async fn wait_until_ready(what: &str, metrics: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + READY_DEADLINE;
    loop {
        let asked = tokio::time::timeout(Duration::from_secs(1), http::get(metrics, "/readyz")).await;
        if matches!(asked, Ok(Ok(answer)) if answer.status == 200) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{what} is not ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
