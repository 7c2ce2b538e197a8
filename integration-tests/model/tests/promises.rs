//! The small worlds, and every rule left out once. The large ones are run by command: `model check --all`.

use laniakea_model::check::{Outcome, explore};
use laniakea_model::mutant::Mutant;
use laniakea_model::size::{self, SMALL};
use laniakea_model::world::World;

fn outcome(world: World) -> Outcome {
    explore(world, 2, |_| ())
}

#[test]
fn no_promise_is_broken_in_any_small_world() {
    let mut states = 0;
    for size in SMALL {
        let outcome = outcome(World { size, mutant: None });
        assert!(outcome.is_good(), "{outcome:#?}");
        states += outcome.states;
    }
    println!("{states} states");
    assert!(states > 1_000_000, "{states}");
}

#[test]
fn every_rule_that_is_left_out_breaks_a_promise() {
    for mutant in Mutant::all() {
        let outcome = outcome(World { size: mutant.size(), mutant: Some(*mutant) });
        assert!(outcome.is_good(), "{mutant:?} goes unnoticed: {outcome:#?}");
        let example = &outcome.broken[0];
        println!("{mutant:?}: {} steps, {}", example.actions.len() - 1, example.promise);
    }
    assert!(Mutant::all().len() >= 12);
}

#[test]
fn no_two_sizes_have_one_name() {
    let mut names: Vec<_> = size::all().map(|size| size.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn one_thread_finds_as_many_states_as_two() {
    let world = World { size: SMALL[1], mutant: None };
    assert_eq!(explore(world, 1, |_| ()).states, explore(world, 2, |_| ()).states);
}
