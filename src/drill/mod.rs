//! `laniakea drill`: what clients notice when something dies, sleeps or is cut off, measured on a throw-away cluster.
//!
//! The cluster is made of the same processes as any other: directory, members, router. Only between them stand relays
//! that can fall silent, so that nothing here needs a privilege. Clients are open loops of probes at the router.

mod fault;
mod ledger;
mod probe;
mod relay;
mod report;
mod run;
mod site;
mod world;

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use rand::{SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;

use self::{
    fault::Fault,
    ledger::{Balance, Ledger},
    report::{Figures, describe, milliseconds},
    run::Drilling,
    world::World,
};
use crate::{
    exit::{Failure, say, say_json},
    up::supervise::Stop,
};

/// Kill, freeze and cut off members of a throw-away cluster, and measure what clients notice.
///
/// Starts a cluster of its own on this machine (directory, members, two routers, in a temporary folder), does to it what
/// nobody wishes for, and prints for how long clients of the router were without service. Needs no privilege. Everything
/// is ended and removed afterwards.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Drill {
    /// How often each fault is done.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// Only this fault; may be repeated [default: the six that kill, freeze and cut off].
    #[arg(long, value_name = "NAME")]
    fault: Vec<Fault>,
    /// How many members.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=9))]
    members: u16,
    /// How many accounts are probed, spread evenly over the members.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    accounts: u32,
    /// Chooses victims and moments; printed, so that a drill can be done again.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Keep the cluster's storage in a new folder below this one, on a mounted filesystem.
    #[arg(long, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Leave the folders, with logs and mail, and say where they are.
    #[arg(long)]
    keep: bool,
}

const AFTER_HELP: &str = "\
Examples:
  laniakea drill
  laniakea drill --fault kill-member --fault freeze-member --runs 20
  laniakea drill --fault kill-router --fault drain-member --fault restart-member
  laniakea drill --storage /mnt/gluster --json

Every 50 ms a probe of each kind begins, whether or not earlier ones were answered: NOOP in a session of each account that
is kept (noop), a login with SELECT to one of the victim's accounts (login), an LMTP delivery to one of them (deliver);
for faults of the controller a login to an account that is open nowhere (open). An outage lasts from the start of the first probe that fails or takes more than 1 s to the end of the
first of three successes in a row; where none fails, it is the longest answer. Each account of the victim counts in each
run, with the worst of its probes. BYSTANDERS is the worst that accounts at other members saw.

OK says whether the worst is within the target: yes; late, if it is within twice that at most; or NO.

Every acknowledged delivery is looked for at the end: exit code 1 if one is lost or there twice. Slow is no failure.";

impl Drill {
    pub fn run(self) -> Result<(), Failure> {
        crate::role::die_with_parent()?;
        crate::role::raise_limits();
        let folders = Folders::make(self.storage.as_deref())?;
        // Several threads, so that probes keep their time. This one starts the processes, which die with it.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
        let done = runtime.block_on(self.drill(&folders));
        if self.keep {
            eprintln!("{}", folders.keep());
        }
        done
    }

    async fn drill(&self, folders: &Folders) -> Result<(), Failure> {
        let mut stop = Stop::new().context("receive signals")?;
        let accounts = self.accounts + run::OPENED;
        let mut world = World::prepare(&folders.home(), self.members, accounts, folders.storage())?;
        let done = tokio::select! {
            done = self.drill_in(&mut world) => done,
            () = stop.asked() => Err(anyhow::anyhow!("stopped before the end").into()),
        };
        world.end().await;
        let (figures, balance) = done?;
        self.tell(&figures, balance)
    }

    async fn drill_in(&self, world: &mut World) -> Result<(Vec<Figures>, Balance), Failure> {
        let seed = self.seed.unwrap_or_else(|| rand::random::<u32>().into());
        let faults = if self.fault.is_empty() { Fault::USUAL.to_vec() } else { self.fault.clone() };
        let progress = Progress::new(u64::from(self.runs) * faults.len() as u64);
        progress.note(&format!("seed {seed}; starting {} members", self.members));
        world.start().await?;
        let mut figures: Vec<Figures> = faults.iter().map(|fault| Figures::new(*fault)).collect();
        let mut drilling = Drilling {
            world,
            accounts: self.accounts,
            random: StdRng::seed_from_u64(seed),
            ledger: Ledger::default(),
            run: 0,
        };
        // Fault after fault, again and again: what disturbs the machine for a while disturbs all of them.
        for run in 1..=self.runs {
            for figures in &mut figures {
                let what = format!("{} {run}/{}", figures.fault, self.runs);
                progress.show(&what);
                let outcome = drilling.once(figures, |step| progress.show(&format!("{what}: {step}"))).await;
                let (victim, worst) = outcome.with_context(|| format!("{} of run {run}", figures.fault))?;
                progress.done(&format!("{what}: {victim}, outage {}", milliseconds(worst)));
            }
        }
        progress.show("counting what was delivered");
        let balance = drilling.balance().await?;
        progress.end();
        Ok((figures, balance))
    }

    fn tell(&self, figures: &[Figures], balance: Balance) -> Result<(), Failure> {
        let Balance { accepted, lost, doubled } = balance;
        let deliveries = format!("{accepted} deliveries acknowledged, {lost} lost, {doubled} doubled");
        if self.json {
            say_json(&figures.iter().map(Figures::to_json).collect());
            eprintln!("{deliveries}");
        } else {
            say(format_args!("{}\n\n{deliveries}", describe(figures)));
        }
        if lost == 0 && doubled == 0 { Ok(()) } else { Err(Failure::Broken(anyhow::anyhow!("{deliveries}"))) }
    }
}

/// Where the cluster lives; removed when dropped.
struct Folders {
    scratch: TempDir,
    storage: Option<TempDir>,
}

impl Folders {
    fn make(storage: Option<&Path>) -> Result<Self, Failure> {
        let prefix = "laniakea-drill-";
        let scratch = tempfile::Builder::new().prefix(prefix).tempdir().context("make a temporary folder")?;
        let storage = storage.map(|parent| {
            let made = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
            made.with_context(|| format!("make a folder in {}", parent.display())).map_err(Failure::Usage)
        });
        Ok(Self { scratch, storage: storage.transpose()? })
    }

    fn home(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    fn storage(&self) -> Option<PathBuf> {
        self.storage.as_ref().map(|storage| storage.path().to_owned())
    }

    /// Leaves them; says where they are.
    fn keep(self) -> String {
        let mut kept = vec![self.scratch.keep()];
        kept.extend(self.storage.map(TempDir::keep));
        let kept: Vec<String> = kept.iter().map(|path| path.display().to_string()).collect();
        format!("kept: {}", kept.join(", "))
    }
}

/// What is being done: a bar on a terminal, else a line for each run.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(runs: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(runs);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {bar:24} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar }
    }

    /// Says what is being done now.
    fn show(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// Says something that stays.
    fn note(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.println(what),
            None => eprintln!("{what}"),
        }
    }

    /// Says how a run went.
    fn done(&self, what: &str) {
        self.note(what);
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
