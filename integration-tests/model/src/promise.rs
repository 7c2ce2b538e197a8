//! What must hold in every state (the invariants of `ARCHITECTURE.md`), and what must come about in some state, so that the
//! others say something.

use stateright::Property;

use crate::history::{History, Ownable};
use crate::log::{End, Missing, Reading, Segment};
use crate::state::{Broken, Member, State};
use crate::world::World;

/// I1: what was acknowledged is recovered, whatever crash comes now.
pub const KEPT: &str = "what was acknowledged is on disk and in the chain";
/// No delivery is there twice.
pub const ONCE: &str = "no change is there twice";
/// I6: a state once shown never rolls back.
pub const SEEN: &str = "what was seen is never taken back";
/// A reply has in it all that was acknowledged before the request.
pub const TRUE: &str = "no reply is stale or contradicts another";
/// I7: whatever an opening needs is there; bytes below a seal are on disk.
pub const THERE: &str = "no file that is needed is missing";
/// I2 and I3: of all who could still promise something, one owns.
pub const ONE_OWNER: &str = "one owner among the living";
/// I3: epochs rise from segment to segment.
pub const EPOCHS_RISE: &str = "epochs rise along the log";
/// I2: two incarnations never hold one epoch, and nobody writes into another's segment.
pub const ONE_WRITER: &str = "one epoch has one writer";

/// The promises whose breach a client would notice: a mutant has to break one of these.
pub const HARM: [&str; 5] = [KEPT, ONCE, SEEN, TRUE, THERE];

/// Somebody was fenced, and another one has acknowledged more.
pub const TAKEN_OVER: &str = "an owner is fenced after it acknowledged, and the next one acknowledges";
/// An owner has given back, and another one has gone on.
pub const GIVEN_BACK: &str = "an owner gives back in order, and the next one acknowledges";

/// All promises, and all that has to come about in some state.
pub fn properties() -> Vec<Property<World>> {
    vec![
        Property::always(KEPT, |world: &World, state: &State| {
            each(world, |one| {
                holds(left(world, state, one), |left| left.set().has_all(state.clients[one].acknowledged))
            })
        }),
        Property::always(ONCE, |world: &World, state: &State| {
            each(world, |one| {
                holds(left(world, state, one), |left| !left.has_twice())
                    && holds(state.logs[one].left(world.reading()), |visible| !visible.has_twice())
            })
        }),
        Property::always(SEEN, |world: &World, state: &State| {
            each(world, |one| holds(left(world, state, one), |left| left.begins_with(state.clients[one].seen)))
        }),
        Property::always(TRUE, |_: &World, state: &State| {
            !matches!(state.broken, Some(Broken::StaleRead | Broken::Contradiction))
        }),
        Property::always(THERE, |world: &World, state: &State| {
            let is_whole = |one| left(world, state, one).is_ok() && state.logs[one].left(world.reading()).is_ok();
            state.broken != Some(Broken::FileGone) && each(world, is_whole)
        }),
        Property::always(ONE_OWNER, |world: &World, state: &State| {
            state.broken != Some(Broken::NameReused) && each(world, |one| owners(state, one) <= 1)
        }),
        Property::always(EPOCHS_RISE, |world: &World, state: &State| {
            each(world, |one| state.logs[one].segments().is_sorted_by_key(|segment| segment.epoch))
        }),
        Property::always(ONE_WRITER, |world: &World, state: &State| each(world, |one| has_one_writer(state, one))),
        Property::sometimes(TAKEN_OVER, |world: &World, state: &State| any(world, |one| is_taken_over(state, one))),
        Property::sometimes(GIVEN_BACK, |world: &World, state: &State| {
            // Where nobody gives back there is nothing to see.
            !world.size.releases || any(world, |one| is_given_back(state, one))
        }),
    ]
}

/// What would be left of an ownable if everything crashed now.
fn left(world: &World, state: &State, ownable: Ownable) -> Result<History, Missing> {
    state.logs[ownable].left(Reading { after_crash: true, ..world.reading() })
}

/// What is missing is told of by a promise of its own.
fn holds(left: Result<History, Missing>, check: impl Fn(History) -> bool) -> bool {
    left.is_ok_and(check) || left.is_err()
}

fn each(world: &World, check: impl Fn(Ownable) -> bool) -> bool {
    (0..usize::from(world.size.ownables)).all(check)
}

fn any(world: &World, check: impl Fn(Ownable) -> bool) -> bool {
    (0..usize::from(world.size.ownables)).any(check)
}

fn is_taken_over(state: &State, ownable: Ownable) -> bool {
    is_passed_on(state, ownable, |first| first.end == End::Open && !state.live.has(usize::from(first.writer)))
}

fn is_given_back(state: &State, ownable: Ownable) -> bool {
    is_passed_on(state, ownable, |first| first.end == End::Visible)
}

/// Whether two incarnations have written to an ownable and the second one shows what it knows; and the first one's end.
fn is_passed_on(state: &State, ownable: Ownable, is_so: impl Fn(&Segment) -> bool) -> bool {
    let [first, second, ..] = state.logs[ownable].segments() else { return false };
    let shows = state.open(usize::from(second.writer), ownable).is_some_and(|open| open.shown > Some(0));
    first.writer != second.writer && first.durable > 0 && shows && is_so(first)
}

/// How many of those who could promise something own it.
fn owners(state: &State, ownable: Ownable) -> usize {
    let members = state.members.iter().enumerate();
    members.filter(|(who, member)| state.live.has(*who) && member.owned[ownable].is_some()).count()
}

fn has_one_writer(state: &State, ownable: Ownable) -> bool {
    let owned = |member: &Member| member.owned[ownable].map(|owned| owned.epoch);
    (0..state.members.len()).all(|who| {
        let Some(epoch) = owned(&state.members[who]) else { return true };
        let is_others = |segment: &Segment| segment.epoch == epoch && usize::from(segment.writer) != who;
        state.members[who + 1..].iter().all(|other| owned(other) != Some(epoch))
            && !state.logs[ownable].segments().iter().any(is_others)
    })
}
