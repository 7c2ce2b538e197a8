//! What a server says, written into a buffer piece by piece.
//!
//! Every function appends to a `Vec<u8>`; nothing is kept, so an answer about 100,000 messages is
//! written in as many slices as the socket takes.

pub mod condition;
pub mod envelope;
pub mod list;
pub mod message;
pub mod search;
pub mod structure;
pub mod text;

pub use condition::{Code, Condition, tagged, untagged};
