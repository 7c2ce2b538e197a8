//! Sockets, files, clocks and threads of a member: carries out what the pure layers decide.

pub mod account;
pub mod admin;
pub mod clock;
pub mod control;
pub mod owned;
pub mod registry;
pub mod member;
pub mod session;
pub mod shard;
