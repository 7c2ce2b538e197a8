//! The protocol of a cluster as an executable specification: every interleaving of a few incarnations over a few terms,
//! grants and changes is looked at, and none may break a promise.
//!
//! It says what `backend/src/cluster/PROTOCOL.md` and `backend/src/store/format/FORMAT.md` say, without a byte, a socket or
//! a clock. An actor is an *incarnation* of a member; a crash, an endless pause and a cable pulled for ever are all the same:
//! it never takes a step again. An owner that sleeps and wakes up too late is one that takes its steps late. Nothing is fair,
//! no message ever has to arrive, and what a rule does not forbid happens.
//!
//! - [`state`]: all there is in the world, field by field.
//! - [`action`]: all that can happen.
//! - [`ownership`]: rules 1 to 4: joining, terms, gathering, grants, releases, fences.
//! - [`opening`]: how an owner reads a log and seals it.
//! - [`commit`]: rules 5 and 6: writing, syncing, ticking, answering; reads.
//! - [`keeping`]: snapshots, rotation, and the deletion of what nobody needs.
//! - [`log`]: the files of an ownable, and what an opening would find in them.
//! - [`promise`]: what must hold in every state.
//! - [`mutant`]: the rules, left out one at a time: each has to lead to a broken promise.
//! - [`size`]: how large a world is explored.
//! - [`check`]: runs all of it.
//!
//! What is left out: directories whose names are not synced, failing disks, torn batches (the crash tests of the store go
//! through those, operation by operation), the read lease, which is made of time, and liveness (both the simulation's
//! business).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod action;
pub mod check;
pub mod commit;
pub mod history;
pub mod keeping;
pub mod log;
pub mod mutant;
pub mod opening;
pub mod ownership;
pub mod promise;
pub mod size;
pub mod state;
pub mod world;
