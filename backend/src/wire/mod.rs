//! Bytes ↔ values: the full syntax of the protocols members speak after login.
//!
//! **Architecture invariant:** syntax only. Nothing here knows a session, a driver, a socket, a
//! file or the time; every parser takes bytes and returns values, every serialiser the reverse.

pub mod imap;
pub mod jmap;
pub mod pop3;
