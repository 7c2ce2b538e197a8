//! What can go wrong with names, look-ups and the set-up of the client.

use std::{io, path::PathBuf, sync::Arc};

/// Why a look-up has no answer. Both are temporary for whoever asked: a reply of class 4, never a bounce.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No server answered, and nothing is remembered.
    #[error("ask the directory: {0}")]
    Unavailable(#[from] Outage),
    /// The directory answered with something that cannot be right.
    #[error("read the directory: {0}")]
    Inconsistent(#[from] Inconsistency),
}

/// Why no server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    /// Every server is down, or was a moment ago.
    #[error("no server can be reached")]
    NoServer,
    /// A server took longer than the deadline.
    #[error("no answer within the deadline")]
    TimedOut,
    /// The connection ended before the answer.
    #[error("the connection broke")]
    Broken,
    /// What came is not LDAP.
    #[error("the answer is not LDAP")]
    Garbled,
    /// The server refused the operation with this result code (RFC 4511 appendix A).
    #[error("the server refused with result code {0}")]
    Refused(u32),
    /// Too many password checks are waiting.
    #[error("too many password checks at once")]
    Overloaded,
}

/// What about an answer cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistency {
    /// More than one entry matches what must be unique.
    #[error("several entries match: {}", .0.join(" | "))]
    SeveralEntries(Arc<[String]>),
    /// An attribute that every account needs is absent.
    #[error("{dn} has no {attribute}")]
    Missing {
        /// The entry.
        dn: Arc<str>,
        /// The attribute.
        attribute: Arc<str>,
    },
    /// An attribute's value cannot be understood.
    #[error("{dn} has a bad value of {attribute}")]
    BadValue {
        /// The entry.
        dn: Arc<str>,
        /// The attribute.
        attribute: Arc<str>,
    },
}

/// Why a string is not an address or a login name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("empty")]
    Empty,
    /// Longer than the standards allow.
    #[error("too long")]
    TooLong,
    /// No `@` between local part and domain.
    #[error("no domain")]
    NoDomain,
    /// The local part breaks RFC 5321 §4.1.2.
    #[error("malformed local part")]
    LocalPart,
    /// The domain breaks RFC 5321 §4.1.2.
    #[error("malformed domain")]
    Domain,
    /// A control character, or bytes that are not UTF-8.
    #[error("a character that cannot stand in a name")]
    Character,
}

/// Why the client cannot even be prepared. An unreachable server is *not* a reason.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Not `ldap://host[:port]` or `ldaps://host[:port]`.
    #[error("the directory's URL {0:?} is not ldap://host:port or ldaps://host:port")]
    BadUrl(String),
    /// The search base is no distinguished name.
    #[error("the directory's base is malformed")]
    Base(#[source] crate::dn::DnError),
    /// No URL at all.
    #[error("no directory URL is configured")]
    NoUrl,
    /// A file of a secret or a certificate cannot be read.
    #[error("read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate file holds no usable certificate.
    #[error("{} holds no usable certificate", .0.display())]
    Certificate(PathBuf),
    /// A name to bind as, but no password: that would be an unauthenticated bind (RFC 4513 §5.1.2).
    #[error("bind_dn is given without a password")]
    NoPassword,
}
