//! Who may write: ownership in one cluster. Pure.
//!
//! **Architecture invariant:** nothing here touches a disk, a socket, a clock or a source of randomness, and nothing here
//! knows the store or a protocol of mail. Machines take events and return commands; `drive/control` carries them out, and
//! the simulator in `sim` runs the same code. What a machine may conclude from is in its events.
//!
//! **What types cannot do:** a [`Grant`] proves that this member *was* made owner, not that it still is. A process may
//! sleep between any two instructions, and a shared filesystem does not refuse the late write. So the epoch is in every
//! name an owner writes, and nothing is promised to a client before a tick begun after the fsync.
#![doc = include_str!("PROTOCOL.md")]

mod arbiter;
mod connectivity;
mod controller;
mod death;
mod election;
mod epoch;
#[cfg(test)]
pub(crate) mod fixture;
mod grant;
mod identity;
mod member;
mod message;
mod moment;
mod ownable;
mod seat;
mod view;

pub use arbiter::{
    Arbiter, ArbiterAnswer, ArbiterCall, DrainRecord, FenceOutcome, LiveEntry, Newcomer, Survey, TickError, TickName,
    perform,
};
pub use connectivity::{Graph, winning_side};
pub use controller::{Controller, ControllerCommand, ControllerEvent, DrainOrder, Offence, Registering};
pub use death::{Contact, Gone, Verdict};
pub use election::{Candidacy, Election};
pub use epoch::{Epoch, NotAnEpoch};
pub use grant::{Claim, Grant};
pub use identity::{Incarnation, Peer, SLOTS_MAX, Slots, TermRecord};
pub use member::{Member, MemberCommand, MemberEvent, Refusal};
pub use message::{
    Answer, BATCH_MAX, Health, Message, NotAMessage, PROTOCOL_VERSION, Ping, Pong, Registration, Roster, fuzz_message,
};
pub use moment::Moment;
pub use ownable::{OwnableId, QUEUE_SHARDS};
pub use seat::{Command, Event, JoinStep, Joining, LinkId, Notice, Seat, Side};
pub use view::{ClusterView, MemberView};
