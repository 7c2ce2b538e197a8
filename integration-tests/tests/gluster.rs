//! Members on a real shared filesystem: GlusterFS with three copies, one member and one brick on each of three hosts.
//!
//! With the options it has by default it would lose mail, and no second member joins. With the right ones everything that
//! was acknowledged is there, once, whatever dies, freezes or is unplugged. Times are printed, not asserted.
//! `LANIAKEA_SOAK=MINUTES` repeats the faults for so long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::{Imap, http},
    gluster::{self, Mounting},
    hosts::{Host, Network, on_host},
    storm::{Ledger, Storm},
    up::program,
};
use laniakea_config::{Advertised, Config, Service};
use laniakea_directory::{Admin, ClusterName, ClusterRecord};
use rustix::process::{Pid, Signal, kill_process};

/// The password of all accounts.
const PASSWORD: &str = "correct horse";

/// How long a member may take to get ready, or a login to succeed again.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn mail_on_glusterfs_survives_members_that_die_freeze_and_are_cut_off() -> Result<()> {
    if !gluster::is_possible()? {
        return Ok(());
    }
    let mut site = Site::prepare().await?;
    let outcome = play(&mut site).await;
    if outcome.is_err() {
        eprintln!("{}", site.logs());
    }
    outcome
}

async fn play(site: &mut Site) -> Result<()> {
    site.refuse_default_options().await?;
    site.serve_with_the_right_ones().await?;
    let soak = std::env::var("LANIAKEA_SOAK").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(0);
    let until = Instant::now() + Duration::from_secs(60 * soak);
    let accounts: Vec<String> = (1..=6).map(|number| format!("user{number}@example.org")).collect();
    let mut ledger = Ledger::default();
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < until {
        let storm = Storm::go_on(ledger, site.at(FRONT, 25), &accounts, 3);
        let done = site.endure(&storm, &accounts[rounds % accounts.len()]).await;
        ledger = storm.end().await;
        done?;
        ledger.check_at(site.at(FRONT, 143), &accounts, PASSWORD, PATIENCE).await?;
        rounds += 1;
    }
    println!("  {rounds} rounds of three faults");
    Ok(())
}

/// The host of directory and router; the members' hosts come before it.
const FRONT: usize = 3;

/// Three hosts with a brick and a member each, one host in front.
struct Site {
    // In the order in which they end: the folder last.
    processes: Vec<Option<Child>>,
    hosts: Vec<Host>,
    _network: Network,
    config: Config,
    folder: tempfile::TempDir,
}

impl Site {
    /// Starts the volume, and the directory with its accounts; no member yet.
    async fn prepare() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("laniakea-gluster-").tempdir()?;
        let mut network = Network::new()?;
        let names = ["a", "b", "c", "front"];
        let hosts: Vec<Host> = names.into_iter().map(|name| network.host(name)).collect::<Result<_>>()?;
        let begin = Instant::now();
        gluster::start([&hosts[0], &hosts[1], &hosts[2]], &folder.path().join("gluster"))?;
        println!("  GlusterFS is up after {:?}", begin.elapsed());
        let config = make_installation(&hosts, folder.path())?;
        // Beside the router: clients of its loopback need no TLS.
        on_host(&hosts[FRONT])?;
        let processes = (0..hosts.len()).map(|_| None).collect();
        let mut site = Self { processes, hosts, _network: network, config, folder };
        // It ends with its host.
        drop(site.spawn(FRONT, "directory", &["directory"])?);
        site.tell_directory().await?;
        Ok(site)
    }

    /// The members are not where `up` had them.
    async fn tell_directory(&self) -> Result<()> {
        let begin = Instant::now();
        let admin = loop {
            match Admin::connect(&self.config.directory).await {
                Ok(admin) => break admin,
                Err(error) => ensure!(begin.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let cluster = &self.config.clusters[0];
        let members = cluster.members.iter().map(|member| member.handoff.to_string()).collect();
        Ok(admin.put_cluster(&ClusterRecord { name: ClusterName::new(&cluster.name), members }).await?)
    }

    fn storage(&self) -> PathBuf {
        self.folder.path().join("volume/blue")
    }

    fn mount_point(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    fn at(&self, host: usize, port: u16) -> SocketAddr {
        match host {
            FRONT => SocketAddr::from(([127, 0, 0, 1], port)),
            host => SocketAddr::new(self.hosts[host].address(), port),
        }
    }

    /// By default a mount answers from caches: the probe says so and names the options, and no second member joins.
    async fn refuse_default_options(&mut self) -> Result<()> {
        let two = [self.folder.path().join("one"), self.folder.path().join("two")];
        for mount in &two {
            gluster::mount(&self.hosts[0], mount, Mounting::Default)?;
        }
        let mut probe = self.hosts[0].command(program()?.to_str().context("path")?)?;
        let output = self.hosts[0].output(probe.args(["store", "probe"]).args(&two))?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.code() == Some(78), "{}\n{said}{}", output.status, errors(&output.stderr));
        for expected in [
            "BROKEN",
            "volume set mail performance.quick-read off",
            "write-behind off",
            "attribute-timeout=0",
            "ping-timeout 5",
        ] {
            ensure!(said.contains(expected), "the advice lacks {expected}:\n{said}");
        }
        for mount in &two {
            gluster::unmount(&self.hosts[0], mount)?;
        }
        for host in &self.hosts[..2] {
            gluster::mount(host, &self.mount_point(), Mounting::Default)?;
        }
        let storage = self.storage();
        let storage = storage.to_str().context("path")?;
        self.hosts[0]
            .run(program()?.to_str().context("path")?, &["store", "init", "--cluster", "cluster-1", storage])?;
        self.start(0)?;
        self.until_ready(0).await?;
        self.start(1)?;
        let ended = self.wait_end(1).await?;
        ensure!(ended.code() == Some(78), "the second member ended with {ended}");
        let log = fs::read_to_string(self.log("cluster-1-b"))?;
        ensure!(log.contains("to do: gluster volume set mail performance.quick-read off"), "{log}");
        println!("  with default options: the probe and the second member refuse");
        Ok(())
    }

    async fn serve_with_the_right_ones(&mut self) -> Result<()> {
        self.signal(0, Signal::TERM)?;
        self.wait_end(0).await?;
        for host in &self.hosts[..2] {
            gluster::unmount(host, &self.mount_point())?;
        }
        gluster::make_coherent(&self.hosts[0])?;
        for host in &self.hosts[..3] {
            gluster::mount(host, &self.mount_point(), Mounting::Coherent)?;
        }
        for index in 0..3 {
            let begin = Instant::now();
            self.start(index)?;
            self.until_ready(index).await?;
            println!("  member {index} is ready after {:?}", begin.elapsed());
        }
        let log = fs::read_to_string(self.log("cluster-1-c"))?;
        ensure!(log.contains("the filesystem was probed and is sound"), "{log}");
        drop(self.spawn(FRONT, "router-1", &["router", "--name", "router-1"])?);
        ready(self.at(FRONT, 9090)).await
    }

    /// Kills, freezes and unplugs the owner of an account while mail comes in.
    async fn endure(&mut self, storm: &Storm, account: &str) -> Result<()> {
        self.progress(storm).await?;
        let imap = self.at(FRONT, 143);

        let owner = self.owner(account).await?;
        self.signal(owner, Signal::KILL)?;
        println!("  killed: next login after {:?}", until_login(imap, account).await?);
        self.wait_end(owner).await?;
        self.restart(owner).await?;
        self.progress(storm).await?;

        let owner = self.owner(account).await?;
        self.signal(owner, Signal::STOP)?;
        println!("  frozen: next login after {:?}", until_login(imap, account).await?);
        self.signal(owner, Signal::CONT)?;
        // It was fenced while it slept.
        let ended = self.wait_end(owner).await?;
        ensure!(ended.code() == Some(75), "the member that was frozen ended with {ended}");
        self.restart(owner).await?;
        self.progress(storm).await?;

        let owner = self.owner(account).await?;
        let stall = Stall::watch(&self.hosts[(owner + 1) % 3], &self.mount_point())?;
        self.hosts[owner].unplug()?;
        let outage = until_login(imap, account).await?;
        let stalled = stall.longest();
        println!(
            "  unplugged: next login after {outage:?}; the filesystem stood still for {stalled:?}, without it {:?}",
            outage.saturating_sub(stalled)
        );
        self.hosts[owner].plug()?;
        self.signal(owner, Signal::KILL)?;
        self.wait_end(owner).await?;
        self.restart(owner).await?;
        self.progress(storm).await
    }

    async fn progress(&self, storm: &Storm) -> Result<()> {
        let wanted = storm.ledger.len() + 20;
        let begin = Instant::now();
        while storm.ledger.len() < wanted {
            ensure!(begin.elapsed() < PATIENCE, "only {} of {wanted} deliveries", storm.ledger.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn owner(&self, account: &str) -> Result<usize> {
        let begin = Instant::now();
        loop {
            let mut explain = self.hosts[FRONT].command(program()?.to_str().context("path")?)?;
            explain.args(["explain", account, "--json", "--config"]).arg(self.folder.path().join("laniakea.yaml"));
            let output = self.hosts[FRONT].output(&mut explain)?;
            let story: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let owner = story.get("owner").and_then(serde_json::Value::as_str);
            let index = ["cluster-1-a", "cluster-1-b", "cluster-1-c"].iter().position(|name| Some(*name) == owner);
            if let Some(index) = index {
                return Ok(index);
            }
            ensure!(begin.elapsed() < PATIENCE, "nobody owns {account}: {story} {}", errors(&output.stderr));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Starts the member again until it stays: its first run after a fence may be told to come again.
    async fn restart(&mut self, index: usize) -> Result<()> {
        let begin = Instant::now();
        loop {
            self.start(index)?;
            match self.until_ready(index).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    ensure!(begin.elapsed() < PATIENCE, "{error:#}");
                    self.signal(index, Signal::KILL)?;
                    self.wait_end(index).await?;
                }
            }
        }
    }

    fn start(&mut self, index: usize) -> Result<()> {
        let name = ["cluster-1-a", "cluster-1-b", "cluster-1-c"][index];
        self.processes[index] = Some(self.spawn(index, name, &["backend", "--name", name])?);
        Ok(())
    }

    fn spawn(&mut self, host: usize, name: &str, arguments: &[&str]) -> Result<Child> {
        let log = File::options().create(true).append(true).open(self.log(name))?;
        let mut command = self.hosts[host].command(program()?.to_str().context("path")?)?;
        command.args(arguments).arg("--config").arg(self.folder.path().join("laniakea.yaml"));
        command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
        self.hosts[host].spawn(&mut command)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    async fn until_ready(&mut self, index: usize) -> Result<()> {
        let address = self.at(index, 9090);
        let process = self.processes[index].as_mut().context("it was never started")?;
        tokio::select! {
            done = ready(address) => done,
            ended = ended(process) => anyhow::bail!("the member ended with {}", ended?),
        }
    }

    async fn wait_end(&mut self, index: usize) -> Result<ExitStatus> {
        let process = self.processes[index].as_mut().context("it was never started")?;
        let status = tokio::time::timeout(PATIENCE, ended(process)).await.context("it does not end")??;
        self.processes[index] = None;
        Ok(status)
    }

    fn signal(&self, index: usize, signal: Signal) -> Result<()> {
        let process = self.processes[index].as_ref().context("it does not run")?;
        let pid = Pid::from_raw(i32::try_from(process.id())?).context("no process id")?;
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
        Ok(())
    }

    fn logs(&self) -> String {
        let names = ["cluster-1-a", "cluster-1-b", "cluster-1-c", "router-1", "directory"];
        let ends = names.map(|name| {
            let text = fs::read_to_string(self.log(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("== {name}\n{}\n", lines[lines.len().saturating_sub(25)..].join("\n"))
        });
        format!("{}{}", ends.concat(), self.config.domain)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Lets `up` make certificates, secrets and accounts on a host of its own, then spreads its members over the hosts.
fn make_installation(hosts: &[Host], folder: &Path) -> Result<Config> {
    let home = folder.to_str().context("path")?;
    let mut up = hosts[FRONT].command(program()?.to_str().context("path")?)?;
    up.args(["up", "--data", home, "--clusters", "1", "--members", "3", "--accounts", "6", "--password", PASSWORD]);
    up.stdout(Stdio::null()).stderr(Stdio::null());
    let mut up: Child = hosts[FRONT].spawn(&mut up)?;
    let begin = Instant::now();
    while !folder.join("endpoints.json").exists() {
        ensure!(begin.elapsed() < PATIENCE && up.try_wait()?.is_none(), "`up` does not get ready");
        std::thread::sleep(Duration::from_millis(100));
    }
    kill_process(Pid::from_raw(i32::try_from(up.id())?).context("no process id")?, Signal::TERM)?;
    up.wait()?;
    let file = folder.join("laniakea.yaml");
    let mut config = Config::load(&file).map_err(|faults| anyhow::anyhow!("{faults}"))?;
    let front = hosts[FRONT].address();
    let directory = config.directory.embedded.as_mut().context("no embedded directory")?;
    directory.listen = SocketAddr::new(front, 389);
    directory.listen_tls = None;
    directory.metrics = None;
    config.directory.urls = vec![format!("ldap://{front}:389")];
    let services = [(Service::Imap, 143), (Service::Smtp, 25), (Service::Lmtp, 24), (Service::Metrics, 9090)];
    config.routers[0].listen =
        services.map(|(service, port)| (service, SocketAddr::from(([127, 0, 0, 1], port)))).into();
    let cluster = &mut config.clusters[0];
    cluster.storage = folder.join("volume/blue");
    cluster.handoff_from = vec!["10.0.0.0/8".parse()?];
    for (member, host) in cluster.members.iter_mut().zip(hosts) {
        let at = |port| SocketAddr::new(host.address(), port);
        member.control = at(7001);
        member.handoff = at(7002);
        member.advertise = Advertised { control: at(7001), handoff: at(7002) };
        member.listen = [(Service::Imap, at(143)), (Service::Lmtp, at(24)), (Service::Metrics, at(9090))].into();
    }
    fs::write(&file, config.render(folder))?;
    Ok(config)
}

async fn ready(metrics: SocketAddr) -> Result<()> {
    let begin = Instant::now();
    loop {
        let asked = tokio::time::timeout(Duration::from_secs(1), http::get(metrics, "/readyz")).await;
        if matches!(asked, Ok(Ok(answer)) if answer.status == 200) {
            return Ok(());
        }
        ensure!(begin.elapsed() < PATIENCE, "{metrics} is not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn ended(process: &mut Child) -> Result<ExitStatus> {
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(status);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_login(imap: SocketAddr, account: &str) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        let login = async {
            let mut imap = Imap::login(imap, account, PASSWORD).await?;
            imap.ok("SELECT INBOX").await
        };
        match tokio::time::timeout(Duration::from_secs(15), login).await {
            Ok(Ok(_)) => return Ok(begin.elapsed()),
            failed => ensure!(begin.elapsed() < PATIENCE, "no login to {account}: {failed:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn errors(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Watches for how long the filesystem itself stands still, on a host that nothing happens to.
struct Stall {
    longest: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    begun: Arc<AtomicU64>,
    start: Instant,
}

impl Stall {
    fn watch(host: &Host, mount: &Path) -> Result<Self> {
        // Seen from here through the host's root folder.
        let folder = host.root()?.join(mount.strip_prefix("/")?);
        let (longest, over, begun) = <(Arc<AtomicU64>, Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let start = Instant::now();
        let watch = (longest.clone(), over.clone(), begun.clone());
        std::thread::spawn(move || {
            let (longest, over, begun) = watch;
            let mut number = 0_u64;
            while !over.load(Ordering::Relaxed) {
                number += 1;
                let (at, file) = (Instant::now(), folder.join(format!(".watch-{number}")));
                begun.store(micros(start.elapsed()), Ordering::Relaxed);
                let _ = fs::write(&file, b"x");
                let _ = fs::remove_file(&file);
                longest.fetch_max(micros(at.elapsed()), Ordering::Relaxed);
                begun.store(u64::MAX, Ordering::Relaxed);
            }
        });
        Ok(Self { longest, over, begun, start })
    }

    /// The longest time that one file took to be made and removed, the one that is under way included.
    fn longest(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        let now = micros(self.start.elapsed());
        let under_way = now.saturating_sub(self.begun.load(Ordering::Relaxed));
        Duration::from_micros(self.longest.load(Ordering::Relaxed).max(under_way))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
