//! `model`: explores the protocol of a cluster, whole or with a rule left out.
//!
//! ```text
//! cargo run --release -p laniakea-model -- check                      the small worlds
//! cargo run --release -p laniakea-model -- check --size three-members
//! cargo run --release -p laniakea-model -- check --all                the large ones as well: an hour
//! cargo run --release -p laniakea-model -- mutants                    every rule left out in turn
//! ```

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use laniakea_model::check::{Outcome, Progress, explore};
use laniakea_model::mutant::Mutant;
use laniakea_model::size::{self, SMALL, Size};
use laniakea_model::world::World;

/// Explores every interleaving of a small cluster and checks that no promise is ever broken.
///
/// The protocol is the one of backend/src/cluster/PROTOCOL.md and backend/src/store/format/FORMAT.md.
#[derive(Parser)]
#[command(
    after_help = "Example:\n  model check --size two-terms\n  model mutants --only skip-seal --json\n\nExit codes: 0 \
                        all is as it has to be, 1 a promise is broken or a mutant survives."
)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// How many threads explore.
    #[arg(long, global = true, default_value_t = 2)]
    threads: usize,
    /// Print one JSON object per world instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Explore worlds in which every rule is kept: no promise may be broken.
    Check {
        /// Only these; `model sizes` lists them.
        #[arg(long, num_args = 1..)]
        size: Vec<String>,
        /// All of them, the large ones as well.
        #[arg(long, conflicts_with = "size")]
        all: bool,
    },
    /// Explore worlds in which one rule is left out: each has to break a promise that a client would notice.
    Mutants {
        /// Only these.
        #[arg(long, num_args = 1..)]
        only: Vec<Mutant>,
        /// Print the counterexamples step by step.
        #[arg(long)]
        steps: bool,
    },
    /// List the sizes of worlds.
    Sizes,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let (worlds, steps) = match &arguments.what {
        What::Check { size, all } => (plain(size, *all)?, true),
        What::Mutants { only, steps } => (mutated(only), *steps),
        What::Sizes => {
            size::all().for_each(|size| println!("{size:?}"));
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut all_good = true;
    for world in worlds {
        let outcome = show_progress(world, arguments.threads);
        all_good &= outcome.is_good();
        if arguments.json {
            println!("{}", serde_json::to_string(&outcome)?);
        } else {
            print(&outcome, steps);
        }
    }
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plain(names: &[String], all: bool) -> Result<Vec<World>> {
    let sizes: Vec<Size> = match names {
        [] if all => size::all().collect(),
        [] => SMALL.to_vec(),
        names => {
            let find = |name: &String| size::find(name).with_context(|| format!("no size {name}; see `model sizes`"));
            names.iter().map(find).collect::<Result<_>>()?
        }
    };
    Ok(sizes.into_iter().map(|size| World { size, mutant: None }).collect())
}

fn mutated(only: &[Mutant]) -> Vec<World> {
    let chosen = if only.is_empty() { Mutant::all() } else { only };
    chosen.iter().map(|mutant| World { size: mutant.size(), mutant: Some(*mutant) }).collect()
}

/// How often a log is told how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);

fn show_progress(world: World, threads: usize) -> Outcome {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(name(world.size, world.mutant));
    let mut told = Duration::ZERO;
    let outcome = explore(world, threads, |Progress { states, depth, elapsed }| {
        let far = format!("{states} states, depth {depth}, {} s", elapsed.as_secs());
        // Without a terminal, a line now and then.
        if bar.is_hidden() && elapsed >= told + LINE_EVERY {
            told = elapsed;
            eprintln!("{}: {far}", bar.prefix());
        }
        bar.set_message(far);
        bar.tick();
    });
    bar.finish_and_clear();
    outcome
}

fn name(size: Size, mutant: Option<Mutant>) -> String {
    mutant.map_or_else(|| size.name.to_owned(), |mutant| format!("{mutant:?}"))
}

fn print(outcome: &Outcome, steps: bool) {
    let Outcome { states, steps: taken, depth, seconds, .. } = outcome;
    let (name, good) = (name(outcome.size, outcome.mutant), if outcome.is_good() { "good" } else { "BAD" });
    println!("{name:28} {good:4} {states:>11} states {taken:>12} steps  depth {depth:>3} {seconds:>8.1} s");
    for example in &outcome.broken {
        println!("    broken after {} steps: {}", example.actions.len().saturating_sub(1), example.promise);
        if steps {
            example.actions.iter().for_each(|action| println!("        {action}"));
        }
    }
    outcome.unreached.iter().for_each(|goal| println!("    never reached: {goal}"));
}
