//! Members of a dynamic cluster: ownership, fenced store, mailboxes, protocols, queue.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod cluster;
pub mod deliver;
pub mod drive;
pub mod mailbox;
pub mod probe;
pub mod proof;
pub mod queue;
mod sabotage;
pub mod session;

#[cfg(test)]
mod sim;
pub mod store;
pub mod wire;
pub mod worker;
