//! Mail protocols as a client sees them: small, strict, and loud about what is not as it should be.
//!
//! They know only what the tests need. Whether *other people's* clients are content is shown by `tests/real_clients.rs`.

mod connection;
pub mod http;
mod imap;
mod pop3;
mod smtp;

pub use connection::Connection;
pub use imap::{Imap, Response};
pub use pop3::Pop3;
pub use smtp::{Mail, Reply, Smtp};
