//! Sockets, files, clocks and threads of a member: carries out what the pure layers decide.

pub mod control;
pub mod owned;
