//! The front end: login sessions, routing, handoff, forwarding.
//!
//! A router accepts a client, speaks the protocol's first lines until it knows the account, finds the account's home
//! cluster in the directory, hands the connection over to a member of it, and from then on copies bytes. Members use
//! the same parts: what happens before login happens in one place.
//!
//! The map, from bytes to sockets:
//!
//! - [`wire`]: bytes ↔ values. Lines, literals, the commands allowed before login, SASL, the PROXY header.
//! - [`session`]: the protocol until the account is known, as machines without sockets or clocks.
//! - [`handoff`]: how a connection is passed from a router to a member, and from a member to the owner.
//! - [`route`]: which member gets the connection, and what is tried next; pure.
//! - [`drive`]: sockets, clocks, tasks.
//! - [`observe`]: logs, metrics, health and the admin endpoint; for every role.
//! - [`dialogue`]: plays the text files that describe sessions, for the tests of every crate.
//!
//! # Architecture invariants
//!
//! - A router is stateless: whatever it holds is a cache, and any router may die. It cannot name a store, a controller
//!   or an owner, because the crate that can is to its right in the chain of crates.
//! - Nothing from a client is forwarded as text before login: commands are parsed into values and written anew.
//! - A router never verifies a password and never stores one; members verify.
//! - `wire` and `session` know no sockets, files, clocks or randomness.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod dialogue;
pub mod drive;
pub mod handoff;
pub mod observe;
pub mod route;
pub mod session;
pub mod wire;
