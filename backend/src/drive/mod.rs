//! Sockets, files, clocks and threads of a member: carries out what the pure layers decide.

pub mod accept;
pub mod account;
pub mod admin;
pub mod admission;
pub mod arbiter;
pub mod clock;
pub mod control;
mod lanes;
pub mod login;
pub mod mail;
pub mod member;
pub mod owned;
pub mod probe;
pub mod quarantine;
pub mod registry;
pub mod run;
pub mod session;
pub mod storage;
pub mod web;

pub use run::{RunError, run};
