//! The LDAP server of installations that run none of their own.
//!
//! LDAP version 3 (RFC 4511) with simple binds, StartTLS and LDAPS, over an embedded database on a local disk. It is
//! meant for one machine: for high availability run OpenLDAP or 389-ds with replication; the client is the same.
//!
//! What it deliberately does not do: SASL, referrals, aliases, replication, a closed schema.
//!
//! - `schema`, `entry`, `filter`, `change`, `access`, `root`: what entries mean; pure.
//! - `store`: entries on the disk.
//! - `operation`: one request in, its answers out.
//! - `connection`, `stream`, `certificate`, `listen`: sockets, TLS and their limits.
//!
//! # Architecture invariants
//!
//! - Only the store's writer thread writes; an operation is answered after its commit.
//! - A panic costs the connection or the change it happened in, never the server.
//! - Only the administrator reads `userPassword`, by whatever operation.

mod access;
mod certificate;
mod change;
mod connection;
mod entry;
mod filter;
mod listen;
mod operation;
mod refusal;
mod root;
mod schema;
mod store;
mod stream;

use std::{io, path::PathBuf};

pub use certificate::ServerCertificate;
pub use listen::{Server, load};
pub use store::{Abandoned, LoadError, Loading};

use crate::dn::DnError;

/// Why the server cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener cannot be opened.
    #[error("listen for LDAP")]
    Listen(#[source] io::Error),
    /// A file cannot be read, or a folder not be made.
    #[error("read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("use the certificate {}", path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The database cannot be opened.
    #[error("open the directory's database")]
    Database(#[from] redb::Error),
    /// The base or the administrator's name is malformed.
    #[error("base or administrator")]
    Name(#[from] DnError),
    /// The administrator's password file is empty: that would let anybody in.
    #[error("the administrator's password is empty")]
    NoPassword,
    /// The base entry cannot be made.
    #[error("make the base entry: {0}")]
    Base(String),
}

/// Reads whatever the bytes hold as requests. For fuzzing: no input may make it panic.
pub fn fuzz_requests(bytes: &[u8]) {
    connection::fuzz_requests(bytes);
}
