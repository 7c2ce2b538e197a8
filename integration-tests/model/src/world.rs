//! The world as the model checker sees it.

use stateright::{Model, Property};

use crate::action::Action;
use crate::log::Reading;
use crate::mutant::Mutant;
use crate::promise;
use crate::size::Size;
use crate::state::State;

/// A world of a size, in which one rule may be left out.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Its bounds.
    pub size: Size,
    /// The rule that nobody keeps in it.
    pub mutant: Option<Mutant>,
}

impl World {
    /// Whether this rule is left out.
    pub(crate) fn without(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// How logs are read here.
    pub(crate) fn reading(&self) -> Reading {
        Reading {
            after_crash: false,
            beyond_seals: self.without(Mutant::SkipSeal),
            any_snapshot: self.without(Mutant::TrustEverySnapshot),
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What comes after a broken promise proves nothing.
        if state.broken.is_none() {
            self.propose(state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.carry_out(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promise::properties()
    }
}
