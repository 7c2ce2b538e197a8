//! Real processes, real clients, simulation, benchmarks.
//!
//! - [`mod@bench`]: what the command `bench` measures.
//! - [`up`]: the real program in a folder of its own, killed and started again by tests.
//! - [`gluster`]: a real shared filesystem with three copies.
//! - [`cluster`]: a cluster whose members run on hosts, and what can be done to them.
//! - [`faultfs`]: a filesystem that fails on command.
//! - [`hosts`]: a network of hosts whose power fails and whose cables are cut.
//! - [`client`]: mail protocols as a client sees them.
//! - [`ledger`]: everything that was acknowledged, and whether it is there.
//! - [`nemesis`]: one fault after the other, and how long each is noticed.
//! - [`peers`]: other people's servers.
//! - [`storm`]: deliveries with a ledger of what was acknowledged.
//! - [`tool`]: other people's programs.
//!
//! The tests are in `tests/`; each file is one topic and starts what it needs itself. `integration-tests/run` installs
//! the programs they use and runs everything.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod bench;
pub mod client;
pub mod cluster;
pub mod faultfs;
pub mod gluster;
pub mod hosts;
pub mod ledger;
pub mod nemesis;
pub mod peers;
pub mod storm;
pub mod tool;
pub mod up;
