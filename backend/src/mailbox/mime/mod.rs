//! The structure of a message, found in one pass over its bytes: header, parts, addresses, offsets.
//!
//! Never fails and never recurses: what cannot be understood, or lies beyond a limit, is an opaque leaf that can be
//! fetched but not looked into. Every limit is a named constant. Decoding (charsets, base64, encoded-words) is not done
//! here: IMAP clients get what the sender wrote. Lines may end in CRLF or in LF alone.

mod address;
mod cursor;
mod delimiters;
mod encode;
mod entity;
mod field;
mod octets;
mod parameter;
mod section;
mod summary;
mod walk;
#[cfg(test)]
mod walk_test;

pub use self::encode::DecodeError;
pub use self::field::{Field, fields};
pub use self::octets::Octets;
pub use self::section::{SectionKind, header_fields};
pub use self::summary::{Address, Content, Disposition, Envelope, Parameter, Part, Span, Summary};
pub use self::walk::{DEPTH_MAX, PARTS_MAX, summarise};
