//! Bytes ↔ values: the syntax of everything before login.
//!
//! **Architecture invariant:** syntax only. No module here knows what a command means, who may give it, or where it came
//! from; none names a session, a socket, a file or a clock. Every reader has a limit and takes its input in pieces.

pub mod auth_http;
pub mod bearer;
pub mod claims;
pub mod http;
pub mod imap;
pub mod line;
pub mod literal;
pub mod pop3;
pub mod proxy;
pub mod sasl;
pub mod scram;
pub mod smtp;
