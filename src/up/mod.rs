//! `laniakea up`: a complete supercluster on this machine, each role a process of its own.
//!
//! It makes what is missing in the data folder, starts the processes, enters clusters and accounts in the directory,
//! says what runs where, keeps it running, and stops it in order. All decisions about mail are the roles' own: what
//! runs here is what runs on many machines, only closer together.

mod banner;
mod certificate;
mod endpoints;
pub mod generate;
pub mod home;
pub mod plan;
pub mod ports;
pub mod process;
pub mod provision;
pub mod supervise;

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    str::FromStr,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use laniakea_backend::drive::arbiter::{check_storage, initialise_storage};
use laniakea_config::{Config, Role};
use laniakea_directory::ClusterName;
use rand::Rng as _;

use self::{
    endpoints::Endpoints,
    home::Home,
    plan::Plan,
    ports::{FreePorts, Ports},
    process::Kind,
    provision::Password,
    supervise::{Stop, Supervisor},
};
use crate::{
    account::random_password,
    exit::{Failure, say},
    installation::command_runtime,
};

/// Run a complete supercluster on this machine, from nothing.
///
/// Makes a data folder with certificates, secrets and one configuration file; starts an LDAP directory, clusters of
/// members and routers, each a process of its own, all on 127.0.0.1; makes accounts; prints what to try. Starting it
/// again on the same folder goes on with the same data.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Up {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = laniakea_config::load::DATA_DEFAULT)]
    data: PathBuf,
    /// How many clusters, 1 to 9 [default: 2, or as before].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    clusters: Option<u16>,
    /// How many members in each cluster, 1 to 9 [default: 2, or as before].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    members: Option<u16>,
    /// How many routers, 1 to 9 [default: 1, or as before].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    routers: Option<u16>,
    /// How many accounts: user1@DOMAIN and so on, spread evenly over the clusters [default: 10, or as before].
    #[arg(long, value_name = "N")]
    accounts: Option<u32>,
    /// The password of all of them; made up without it.
    #[arg(long, value_name = "PW")]
    password: Option<String>,
    /// The domain of the addresses [default: example.org, or as before].
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// Where the ports begin; 0 for free ones [default: 10000, or as before].
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// Use this directory instead of the embedded one; may be repeated for its replicas.
    #[arg(long, value_name = "URL", requires_all = ["ldap_base", "ldap_bind_dn", "ldap_bind_password_file"])]
    ldap_url: Vec<String>,
    /// Its search base.
    #[arg(long, value_name = "DN", requires = "ldap_url")]
    ldap_base: Option<String>,
    /// Who may make entries there.
    #[arg(long, value_name = "DN", requires = "ldap_url")]
    ldap_bind_dn: Option<String>,
    /// File with the password of that name.
    #[arg(long, value_name = "FILE", requires = "ldap_url")]
    ldap_bind_password_file: Option<PathBuf>,
    /// Keep a cluster's mail in this folder of a mounted shared filesystem; may be repeated.
    #[arg(long, value_name = "CLUSTER=PATH")]
    storage: Vec<String>,
    /// Start a process that died again after so many seconds, or `never`.
    #[arg(long, value_name = "SECONDS|never", default_value = "10")]
    restart_after: RestartAfter,
}

const AFTER_HELP: &str = "\
Examples:
  laniakea up
  laniakea up --clusters 3 --members 3 --routers 2 --accounts 1000
  laniakea up --data /tmp/trial --base-port 0 --restart-after never
  laniakea up --storage cluster-1=/mnt/gluster/mail --clusters 1

Ports, with base port B (10000 unless told otherwise):
  directory               B+389 LDAP, B+636 LDAPS, B+391 metrics
  router r                B + 1000 x (r-1) + the usual port: 10143 is IMAP of router-1, 11025 SMTP of router-2; metrics 90
  member m of cluster c   B + 10000 + 1000 x c + 100 x m + the last two digits: 21143 is IMAP of cluster-1-a,
                          22210 POP3 of cluster-2-b; LMTP 24, metrics 90, handoff 01, control 02
A base of at most 12700 keeps all of them below the ports that the kernel gives outgoing connections.";

/// When a dead process is started again.
#[derive(Debug, Clone, Copy)]
pub enum RestartAfter {
    Never,
    Delay(Duration),
}

impl FromStr for RestartAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let seconds = text
            .trim_end_matches('s')
            .parse::<f64>()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        seconds.map(Self::Delay).ok_or_else(|| format!("`{text}` is neither a number of seconds nor `never`"))
    }
}

impl Up {
    pub fn run(self) -> Result<(), Failure> {
        crate::role::die_with_parent()?;
        crate::role::raise_limits();
        let home = Home::open(&self.data)?;
        let saved = Plan::saved(&home)?;
        let plan = Plan::new(&self, saved.as_ref())?;
        let password = self.password(&home)?;
        prepare(&home, &plan, saved.as_ref())?;
        let mut ports = Ports::new(plan.base_port);
        let config = configuration(&home, &plan, saved.as_ref(), &mut ports)?;
        home::replace(&home.plan(), &serde_json::to_vec_pretty(&plan).map_err(anyhow::Error::from)?)?;
        // One thread, which lives until the end: the processes die with the thread that started them.
        let done = command_runtime()?.block_on(run(&home, &config, &plan, &password, self.restart_after));
        drop(ports);
        done
    }

    /// The password of the accounts: as told, else that of the last start, else a new one.
    fn password(&self, home: &Home) -> Result<Password, Failure> {
        const NAME: &str = "accounts-password";
        let kept = fs::read_to_string(home.secret(NAME)).ok().filter(|text| !text.is_empty());
        let text = match (&self.password, &kept) {
            (Some(told), _) if told.is_empty() => {
                return Err(Failure::usage("--password is empty; an account without a password is not possible"));
            }
            (Some(told), _) => told.clone(),
            (None, Some(kept)) => kept.clone(),
            (None, None) => random_password(),
        };
        let is_new = kept.as_ref().is_some_and(|kept| *kept != text);
        if kept.as_ref() != Some(&text) {
            home.put_secret(NAME, text.clone().into_bytes())?;
        }
        Ok(Password { text, is_first: kept.is_none(), is_new })
    }
}

/// Makes certificates, secrets and storage, as far as they are missing.
pub fn prepare(home: &Home, plan: &Plan, saved: Option<&Plan>) -> Result<(), Failure> {
    certificate::ensure(home, &plan.domain, SystemTime::now())?;
    home.keep_secret("directory-password", || random_password().into_bytes())?;
    home.keep_secret("admin-token", || random_password().into_bytes())?;
    for name in plan.cluster_names() {
        home.keep_secret(&format!("{name}.key"), || {
            let mut key = vec![0; 32];
            rand::rng().fill_bytes(&mut key);
            key
        })?;
        let cluster = ClusterName::new(&name);
        let named = plan.storage.get(&name);
        let storage = named.cloned().unwrap_or_else(|| home.storage(&name));
        // What was there at the last start is not made again: where it is missing, nothing is mounted.
        let is_there = named.is_some() && saved.is_some_and(|saved| saved.storage.get(&name) == named);
        let ready = if is_there { check_storage(&storage, &cluster) } else { initialise_storage(&storage, &cluster) };
        ready
            .with_context(|| format!("prepare the storage of {name} in {}", storage.display()))
            .map_err(Failure::Configuration)?;
    }
    Ok(())
}

/// The configuration: that of the last start if it still fits, else a new one.
fn configuration(home: &Home, plan: &Plan, saved: Option<&Plan>, ports: &mut Ports) -> Result<Config, Failure> {
    let path = home.config();
    if let Some(saved) = saved.filter(|_| path.is_file()) {
        let differences = plan.differences(saved);
        if differences.is_empty() {
            // A person may have changed the file since; all of it is checked.
            let config = Config::load_for(&path, Role::All)?;
            if take_ports(&config, plan, ports)? {
                return Ok(config);
            }
            say("the ports of the last start are taken by somebody else: choosing others");
        } else {
            say(format_args!("the configuration is written anew, because of {}", differences.join(", ")));
        }
        let old = path.with_extension("yaml.old");
        fs::rename(&path, &old).with_context(|| format!("keep {}", path.display()))?;
        say(format_args!("the one of the last start is kept as {}", old.display()));
    }
    let config = generate::generate(home, plan, ports)?;
    if plan.base_port != 0 {
        check_ports(&config)?;
    }
    home::replace(&path, config.render(home.path()).as_bytes())?;
    Ok(Config::load_for(&path, Role::All)?)
}

/// Whether the ports of `config` can be used. Fixed ones that are taken are a failure; free ones can be chosen anew.
fn take_ports(config: &Config, plan: &Plan, ports: &mut Ports) -> Result<bool, Failure> {
    if plan.base_port != 0 {
        return check_ports(config).map(|()| true);
    }
    let addresses: Vec<_> = generate::addresses(config).into_iter().map(|(address, _)| address).collect();
    match FreePorts::again(&addresses) {
        Some(again) => {
            *ports = Ports::Free(again);
            Ok(true)
        }
        None => Ok(false),
    }
}

fn check_ports(config: &Config) -> Result<(), Failure> {
    let taken: Vec<String> = generate::addresses(config)
        .into_iter()
        .filter_map(|(address, what)| {
            TcpListener::bind(address).err().map(|error| format!("  {address} ({what}): {error}"))
        })
        .collect();
    if taken.is_empty() {
        return Ok(());
    }
    Err(Failure::Temporary(anyhow::anyhow!(
        "these listeners cannot be opened:\n{}\nstop what uses them (`ss -ltnp` shows it), or choose another --base-port (0: free ports)",
        taken.join("\n")
    )))
}

async fn run(
    home: &Home,
    config: &Config,
    plan: &Plan,
    password: &Password,
    restart_after: RestartAfter,
) -> Result<(), Failure> {
    let mut stop = Stop::new().context("receive signals")?;
    let mut supervisor = Supervisor::new(process::processes(home, config), restart_after);
    let admin_password = match &config.directory.bind_password {
        Some(path) => fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?,
        None => String::new(),
    };
    let endpoints =
        Endpoints { home, config, password: &password.text, admin_password: admin_password.trim_end().to_owned() };
    // An old file would name processes that are no more.
    let _ = fs::remove_file(home.endpoints());
    let begun = tokio::select! {
        begun = begin(&mut supervisor, config, plan, password) => begun,
        () = stop.asked() => Err(Failure::Temporary(anyhow::anyhow!("stopped before all was ready"))),
    };
    let done = match begun {
        Ok(()) => {
            endpoints.write(&supervisor.processes)?;
            say(banner::banner(home, config, plan, &password.text, &supervisor.processes));
            supervisor.keep(&endpoints, &mut stop).await
        }
        Err(failure) => Err(failure),
    };
    if done.is_ok() {
        say("stopping: routers, members, directory");
    }
    supervisor.stop(&mut stop).await;
    done
}

/// Starts all, and enters what must stand in the directory.
async fn begin(supervisor: &mut Supervisor, config: &Config, plan: &Plan, password: &Password) -> Result<(), Failure> {
    let progress = progress(supervisor.processes.len());
    // The others would find no directory and wait a moment before they ask again.
    supervisor.start(&[Kind::Directory])?;
    supervisor.until_ready(&[Kind::Directory], |ready, name| show(&progress, ready, name)).await?;
    let base = usize::from(config.directory.embedded.is_some());
    progress.set_message("accounts");
    let new = provision::provision(config, plan, password, &progress).await?;
    let old = u64::from(plan.accounts).saturating_sub(u64::try_from(new).unwrap_or(u64::MAX));
    if plan.ldap.is_some() && password.is_first && old > 0 {
        say(format_args!(
            "{old} of the accounts were in the directory already: they keep their passwords and clusters"
        ));
    }
    supervisor.start(&[Kind::Member, Kind::Router])?;
    supervisor.until_ready(&[Kind::Member, Kind::Router], |ready, name| show(&progress, base + ready, name)).await?;
    progress.finish_and_clear();
    Ok(())
}

/// A bar on the terminal; nothing where there is none.
fn progress(total: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} ready {bar:24} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn show(progress: &ProgressBar, ready: usize, name: &str) {
    progress.set_position(u64::try_from(ready).unwrap_or(u64::MAX));
    progress.set_message(name.to_owned());
}
