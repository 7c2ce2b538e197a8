//! Which member gets a connection, and what is tried when one fails.
//!
//! **Architecture invariant:** pure. The time and what was observed come in, an order of addresses comes out; a member's
//! health and an account's owner are hints that only save time, never proofs.

mod health;
mod owners;
mod plan;
mod retry;

pub use health::{Finding, Health, LOST_AFTER, RETURN, Standing};
pub use owners::Owners;
pub use plan::{Member, RouteKey, plan};
pub use retry::{Attempts, LOGIN_DEADLINE, Next, Target};
