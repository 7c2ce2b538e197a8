//! Explores worlds and reports what it saw.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::Serialize;
use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::mutant::Mutant;
use crate::promise::HARM;
use crate::size::Size;
use crate::world::World;

/// What came of exploring a world.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// How large it was.
    pub size: Size,
    /// The rule that was left out.
    pub mutant: Option<Mutant>,
    /// States that differ.
    pub states: usize,
    /// Steps that were taken between them.
    pub steps: usize,
    /// The longest way to a state.
    pub depth: usize,
    /// How long it took.
    pub seconds: f64,
    /// Promises that are broken, each with a shortest way there; empty for a good protocol.
    pub broken: Vec<Counterexample>,
    /// What never came about although it should have: then the rest says little.
    pub unreached: Vec<&'static str>,
}

/// How a promise is broken.
#[derive(Debug, Serialize)]
pub struct Counterexample {
    /// The promise.
    pub promise: &'static str,
    /// Step by step.
    pub actions: Vec<String>,
}

impl Outcome {
    /// Whether all is as it has to be: the protocol holds and the world was large enough to say so, or the mutant was
    /// caught breaking what a client would notice.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self.mutant {
            None => self.broken.is_empty() && self.unreached.is_empty(),
            Some(_) => !self.broken.is_empty(),
        }
    }
}

/// How much has been seen so far.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// States that differ.
    pub states: usize,
    /// How far from the beginning they are.
    pub depth: usize,
    /// How long it has taken.
    pub elapsed: Duration,
}

/// How often somebody is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Explores all of a world; with a mutant, until it breaks a promise that a client would notice.
pub fn explore(world: World, threads: usize, tell: impl FnMut(Progress)) -> Outcome {
    let checker = world.checker().threads(threads);
    match world.mutant {
        // Depth first, so that few states have to be kept.
        None => watch(world, checker.finish_when(HasDiscoveries::AnyFailures).spawn_dfs(), tell),
        // Of three incarnations there are too many states for the shortest way.
        Some(_) if world.size.members > 2 => watch(world, checker.finish_when(harm()).spawn_dfs(), tell),
        // Breadth first: the counterexample is a shortest one, but for what two threads do at once.
        Some(_) => watch(world, checker.finish_when(harm()).spawn_bfs(), tell),
    }
}

fn harm() -> HasDiscoveries {
    HasDiscoveries::AnyOf(HARM.into())
}

fn watch(world: World, mut checker: impl Checker<World>, mut tell: impl FnMut(Progress)) -> Outcome {
    let began = Instant::now();
    let mut told = began;
    let threads = checker.handles();
    while threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(POLL_EVERY);
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            let (states, depth) = (checker.unique_state_count(), checker.max_depth());
            tell(Progress { states, depth, elapsed: began.elapsed() });
        }
    }
    // A thread that died has not looked at everything.
    let is_whole = threads.into_iter().all(|thread| thread.join().is_ok());
    assert!(is_whole, "a thread of the checker died");
    summarise(world, &checker, began.elapsed())
}

const POLL_EVERY: Duration = Duration::from_millis(5);

fn summarise(world: World, checker: &impl Checker<World>, took: Duration) -> Outcome {
    let found = checker.discoveries();
    let (promises, goals): (Vec<_>, Vec<_>) =
        world.properties().into_iter().partition(|property| property.expectation == Expectation::Always);
    let reached: BTreeSet<_> = found.keys().copied().collect();
    // Who stops at the first counterexample has not seen everything.
    let is_whole = world.mutant.is_none();
    let mut broken: Vec<_> = promises
        .iter()
        .filter(|promise| is_whole || HARM.contains(&promise.name))
        .filter_map(|promise| found.get(promise.name).map(|path| (promise.name, path.clone())))
        .map(|(promise, path)| {
            let actions = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
            Counterexample { promise, actions }
        })
        .collect();
    broken.sort_by_key(|example| example.actions.len());
    Outcome {
        size: world.size,
        mutant: world.mutant,
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        seconds: took.as_secs_f64(),
        broken,
        unreached: goals.iter().map(|goal| goal.name).filter(|goal| is_whole && !reached.contains(goal)).collect(),
    }
}
