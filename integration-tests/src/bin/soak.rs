//! A cluster at work for as long as one likes, with one fault after the other, and a ledger of what was acknowledged.
//!
//! ```text
//! cargo build --release && LANIAKEA_BIN=target/release/laniakea \
//!     cargo run --release -p integration-tests --bin soak -- --minutes 10 [--members 3] [--accounts 12] [--seed N] [--json]
//! ```
//!
//! Needs root. Ends with 1 if anything was lost, doubled, taken back, or owned twice.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use integration_tests::{
    cluster::{Cluster, Plan, Storage},
    faultfs,
    ledger::{Count, Work},
    nemesis::{Fault, Outcome, strike},
};
use rand::{RngExt as _, SeedableRng, rngs::StdRng};
use serde::Serialize;

/// What was asked for.
struct Wish {
    minutes: u64,
    members: u8,
    accounts: u32,
    seed: u64,
    json: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Summary {
    seed: u64,
    minutes: f64,
    faults: BTreeMap<String, Row>,
    acknowledged: Count,
    /// Everything that was found to be wrong: lost, doubled, taken back, owned twice.
    wrongs: Vec<String>,
    /// Open files and kilobytes of memory of the router: at the beginning and at the end.
    router: [(usize, u64); 2],
}

/// One kind of fault.
#[derive(Serialize)]
struct Row {
    count: usize,
    /// How long accounts of the member were not served, in seconds; missing if others are not meant to take over.
    outage: Option<Times>,
    /// Until everything was well after the fault was gone, in seconds.
    healed: Times,
}

#[derive(Serialize)]
struct Times {
    p50: f64,
    p99: f64,
    worst: f64,
}

fn main() -> Result<ExitCode> {
    let wish = Wish::from_args(std::env::args().skip(1))?;
    if !faultfs::is_possible()? {
        bail!("hosts and their storage cannot be made here: see above");
    }
    // One thread: it moves to a host as a whole.
    let summary = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(soak(&wish))?;
    if wish.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        summary.tell();
    }
    Ok(if summary.wrongs.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn soak(wish: &Wish) -> Result<Summary> {
    let progress = ProgressBar::new(wish.minutes * 60);
    progress.set_style(ProgressStyle::with_template("{bar:30} {elapsed} of {len} s  {msg}")?);
    let plan = Plan { members: wish.members, accounts: wish.accounts, storage: Storage::STRICT, ..Plan::default() };
    let mut cluster = Cluster::start(plan).await?;
    let work = Work::begin(&cluster, 2).await?;
    let (mut dice, begin) = (StdRng::seed_from_u64(wish.seed), Instant::now());
    progress.println(format!("seed {}", wish.seed));
    let light = cluster.router_weight()?;
    let mut outcomes = Vec::new();
    while begin.elapsed() < Duration::from_secs(wish.minutes * 60) {
        let fault = *Fault::ALL.get(dice.random_range(0..Fault::ALL.len())).context("no faults")?;
        let of_controller = dice.random_bool(0.4);
        progress.set_position(begin.elapsed().as_secs());
        progress.set_message(format!(
            "{} faults, {} acknowledged, {} wrongs; now {fault:?}",
            outcomes.len(),
            work.ledger.count().total(),
            work.ledger.wrongs().len()
        ));
        outcomes.push(strike(&mut cluster, &work.ledger, fault, of_controller).await?);
    }
    let heavy = cluster.router_weight()?;
    progress.set_message("reading everything");
    let ledger = work.end().await;
    // What is wrong is in the ledger.
    let _ = ledger.judge(&cluster, Duration::from_secs(90)).await;
    if let Err(error) = cluster.stop_and_check() {
        ledger.wrong(format!("{error:#}"));
    }
    progress.finish_and_clear();
    Ok(Summary {
        seed: wish.seed,
        minutes: begin.elapsed().as_secs_f64() / 60.0,
        faults: rows(&outcomes),
        acknowledged: ledger.count(),
        wrongs: ledger.wrongs(),
        router: [light, heavy],
    })
}

fn rows(outcomes: &[Outcome]) -> BTreeMap<String, Row> {
    let mut kinds: BTreeMap<String, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        let of = if outcome.of_controller { "controller" } else { "member" };
        kinds.entry(format!("{:?} of {of}", outcome.fault)).or_default().push(outcome);
    }
    let row = |outcomes: Vec<&Outcome>| Row {
        count: outcomes.len(),
        outage: Times::of(outcomes.iter().filter_map(|outcome| outcome.outage).collect()),
        healed: Times::of(outcomes.iter().map(|outcome| outcome.healed).collect()).unwrap_or(Times {
            p50: 0.0,
            p99: 0.0,
            worst: 0.0,
        }),
    };
    kinds.into_iter().map(|(kind, outcomes)| (kind, row(outcomes))).collect()
}

impl Times {
    fn of(mut seconds: Vec<f64>) -> Option<Self> {
        seconds.sort_by(f64::total_cmp);
        let at = |hundredths: usize| seconds.get((seconds.len() * hundredths / 100).min(seconds.len() - 1)).copied();
        let worst = seconds.last().copied()?;
        Some(Self { p50: at(50)?, p99: at(99)?, worst })
    }
}

impl Summary {
    fn tell(&self) {
        println!("{:<32} {:>5}  {:>24}  {:>24}", "fault", "count", "not served p50/p99/worst", "healed p50/p99/worst");
        let show = |times: &Times| format!("{:.2}/{:.2}/{:.2} s", times.p50, times.p99, times.worst);
        for (kind, row) in &self.faults {
            let outage = row.outage.as_ref().map_or_else(String::new, show);
            println!("{kind:<32} {:>5}  {outage:>24}  {:>24}", row.count, show(&row.healed));
        }
        let faults: usize = self.faults.values().map(|row| row.count).sum();
        let Count { messages, flags, expunges } = self.acknowledged;
        println!("{faults} faults in {:.1} minutes, seed {}", self.minutes, self.seed);
        println!("acknowledged: {messages} messages, {flags} flags, {expunges} expunges");
        println!(
            "router: {} files and {} KiB at first, {} and {} at last",
            self.router[0].0, self.router[0].1, self.router[1].0, self.router[1].1
        );
        println!("wrongs (lost, doubled, taken back, owned twice, damaged): {}", self.wrongs.len());
        self.wrongs.iter().for_each(|wrong| println!("  {wrong}"));
    }
}

impl Wish {
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut wish = Self { minutes: 10, members: 3, accounts: 12, seed: rand::random(), json: false };
        while let Some(flag) = args.next() {
            if flag == "--json" {
                wish.json = true;
                continue;
            }
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--minutes" => wish.minutes = value.parse()?,
                "--members" => wish.members = value.parse()?,
                "--accounts" => wish.accounts = value.parse()?,
                "--seed" => wish.seed = value.parse()?,
                _ => bail!("usage: soak [--minutes N] [--members N] [--accounts N] [--seed N] [--json]"),
            }
        }
        Ok(wish)
    }
}
