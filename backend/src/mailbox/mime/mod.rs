//! The structure of a message, found in one pass over its bytes: header, parts, addresses, offsets.
//!
//! Never fails and never recurses: what cannot be understood, or lies beyond a limit, is an opaque leaf that can be
//! fetched but not looked into. Every limit has a name here or in the module that keeps it. Decoding (charsets, base64,
//! encoded-words) is not done here: IMAP clients get what the sender wrote.

mod octets;
mod section;
mod summary;
mod walk;

pub use self::octets::Octets;
pub use self::section::{SectionKind, header_fields};
pub use self::summary::{Address, Content, DecodeError, Disposition, Envelope, Parameter, Part, Span, Summary};

/// Summarises a message.
pub fn summarise(message: &[u8]) -> Summary {
    walk::walk(message)
}
