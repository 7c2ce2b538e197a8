//! Mail that waits: one shard of the queue as a value, and the rules for trying again and giving up. Pure.
//!
//! A cluster's queue is 64 shards, each owned like an account, with the same log: when a member dies others claim its
//! shards and go on. Accepting mail means that its entry is synced and validated.
//!
//! **Invariant: for each recipient accepted, exactly one of "still queued", "delivered" and "bounced" holds.** A failure
//! and the bounce it causes are one batch; a recipient leaves an entry by exactly one change; an entry without recipients
//! is gone.

mod bounce;
mod change;
mod entry;
mod ramp;
mod schedule;
mod settle;
mod shard;
#[cfg(test)]
mod shard_test;
mod state;

pub use bounce::{Bounce, Report, bounce};
pub use change::{ChangeError, QueueChange, Settled};
pub use entry::{Entry, EntryId, NewEntry, Pending};
pub use ramp::Ramp;
pub use schedule::LIFETIME;
pub use settle::{Failed, Settlement, settle};
pub use shard::{member_of_shard, shards_of};
pub use state::Queue;
