//! Locks: the same mail kept under a file lock for every operation, and by one owner.
//!
//! A client turns over one message at a time: it delivers 4 KiB, reads them, marks them as seen, removes them. Whatever is
//! acknowledged is on disk. The baselines exist here only, and are as good as their kind can be: files stay open, one sync
//! for each change, no protocol in front. Beside them stands the real thing at the same height: registry, worker, log,
//! tick, and claims to a real controller, without sessions in front.
//!
//! Under locks, every process may work on every account. With owners, all that is done to an account is done at its owner;
//! whoever comes to another member is sent there, which costs a connection one round trip and is not in these figures.

mod files;
mod keeper;
mod lock;
mod maildir;
mod mbox;
mod owned;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use laniakea_backend::drive::arbiter::initialise_storage;
use laniakea_directory::ClusterName;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::{CLUSTER, Spread, progress};

pub use keeper::{Keeper, keep};

/// How mail is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// By one owner, in a log.
    Owner,
    /// mbox and index without any lock: right only as long as one process uses the account.
    MboxUnlocked,
    /// mbox and index, each operation under an fcntl lock.
    MboxFcntl,
    /// The same under flock.
    MboxFlock,
    /// The same under a lock file.
    MboxDotlock,
    /// The same under a lock file and fcntl locks on mbox and index, as classic mbox servers do.
    MboxBoth,
    /// Maildir: no locks, but no UIDs either.
    Maildir,
}

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Locks {
    /// A folder on the filesystem to measure, or several mounts of the same folder, one for each process in turn.
    #[arg(long, required = true, num_args = 1..)]
    pub storage: Vec<PathBuf>,
    /// Processes that keep mail.
    #[arg(long, default_value_t = 3)]
    pub processes: usize,
    /// Accounts; each has one client, at one of the processes.
    #[arg(long, default_value_t = 24)]
    pub accounts: usize,
    /// All clients use the same account; what is not locked is left out.
    #[arg(long)]
    pub contend: bool,
    /// Which schemes, in this order; all of them unless told.
    #[arg(long, value_enum, num_args = 1..)]
    pub scheme: Vec<Scheme>,
    /// Seconds for each.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Every scheme is measured so often, in turn.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
}

/// What one scheme did: medians over the rounds.
#[derive(Debug, Serialize)]
pub struct Kept {
    /// Which.
    pub scheme: Scheme,
    /// Operations per second, median.
    pub per_second: f64,
    /// The slowest and the fastest round.
    pub range: [f64; 2],
    /// How long a delivery took, in the median round.
    pub delivery: Spread,
    /// What the owner did in what this scheme did; nothing if the owner was not measured.
    pub owner_is_faster: Option<f64>,
}

/// One round of one scheme.
#[derive(Debug, Clone, Copy)]
struct Round {
    per_second: f64,
    delivery: Spread,
}

/// Measures. `program` is this very program, which is started again to keep mail.
///
/// # Errors
/// If a process fails.
pub async fn measure(locks: &Locks, program: &Path) -> Result<Vec<Kept>> {
    let mut schemes: Vec<Scheme> = match &locks.scheme[..] {
        [] => <Scheme as clap::ValueEnum>::value_variants().to_vec(),
        chosen => chosen.to_vec(),
    };
    if locks.contend {
        // Without locks they would destroy one another's mail.
        schemes.retain(|scheme| *scheme != Scheme::MboxUnlocked);
    }
    let bar = progress((schemes.len() * locks.rounds) as u64, "schemes");
    let mut rounds: BTreeMap<Scheme, Vec<Round>> = BTreeMap::new();
    for number in 0..locks.rounds {
        for scheme in &schemes {
            let round = measure_round(locks, *scheme, number, program).await?;
            rounds.entry(*scheme).or_default().push(round);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let middle = |scheme: &Scheme| {
        let mut rounds = rounds.get(scheme)?.clone();
        rounds.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
        Some((*rounds.get(rounds.len() / 2)?, [rounds.first()?.per_second, rounds.last()?.per_second]))
    };
    let owner = middle(&Scheme::Owner).map(|(round, _)| round.per_second);
    let kept = schemes.iter().filter_map(|scheme| {
        let (round, range) = middle(scheme)?;
        let owner_is_faster = owner.map(|owner| owner / round.per_second);
        let Round { per_second, delivery } = round;
        Some(Kept { scheme: *scheme, per_second, range, delivery, owner_is_faster })
    });
    Ok(kept.collect())
}

async fn measure_round(locks: &Locks, scheme: Scheme, number: usize, program: &Path) -> Result<Round> {
    let first = locks.storage.first().context("a folder to measure")?;
    let name = format!("bench-{}-{number}-{scheme:?}", std::process::id());
    fs::create_dir_all(first.join(&name))?;
    let folder = Folder(first.join(&name));
    initialise_storage(&folder.0.join("storage"), &ClusterName::new(CLUSTER))?;
    let secrets = tempfile::tempdir()?;
    fs::write(secrets.path().join("key"), [7; 32])?;

    let mut processes = Vec::new();
    for (index, mount) in locks.storage.iter().cycle().take(locks.processes).enumerate() {
        let keeper = Keeper {
            scheme,
            folder: mount.join(&name),
            key: secrets.path().join("key"),
            process: index,
            accounts: accounts_of(locks, scheme, index),
            seconds: locks.seconds,
        };
        processes.push(Process::start(program, &keeper).await?);
    }
    for process in &mut processes {
        process.go().await?;
    }
    let mut sum = Round { per_second: 0.0, delivery: Spread::of(Vec::new()) };
    let mut deliveries = Vec::new();
    for process in processes {
        let done = process.finish().await?;
        sum.per_second += done.operations as f64 / locks.seconds;
        deliveries.extend(done.deliveries_us.into_iter().map(std::time::Duration::from_micros));
    }
    sum.delivery = Spread::of(deliveries);
    Ok(sum)
}

/// The accounts of one process's clients. What is contended for has its clients everywhere, or all at its owner.
fn accounts_of(locks: &Locks, scheme: Scheme, process: usize) -> Vec<u64> {
    let at = |client: &usize| client % locks.processes == process;
    match (locks.contend, scheme) {
        (false, _) => (0..locks.accounts).filter(at).map(|client| client as u64).collect(),
        (true, Scheme::Owner) if process == 0 => vec![0; locks.accounts],
        (true, Scheme::Owner) => Vec::new(),
        (true, _) => (0..locks.accounts).filter(at).map(|_| 0).collect(),
    }
}

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

/// A process that keeps mail, seen from outside.
struct Process {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts it and waits until it has opened its accounts.
    async fn start(program: &Path, keeper: &Keeper) -> Result<Self> {
        let mut process = Command::new(program)
            .arg("keeper")
            .arg(serde_json::to_string(keeper)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start a keeper")?;
        let mut lines = BufReader::new(process.stdout.take().context("the keeper's output")?).lines();
        let ready = lines.next_line().await?;
        ensure!(ready.as_deref() == Some("ready"), "the keeper is not ready: {ready:?}");
        Ok(Self { process, lines })
    }

    async fn go(&mut self) -> Result<()> {
        Ok(self.process.stdin.as_mut().context("the keeper's input")?.write_all(b"go\n").await?)
    }

    async fn finish(mut self) -> Result<keeper::Done> {
        let done = self.lines.next_line().await?.context("the keeper ended")?;
        drop(self.process.stdin.take());
        ensure!(self.process.wait().await?.success(), "a keeper failed");
        Ok(serde_json::from_str(&done)?)
    }
}
