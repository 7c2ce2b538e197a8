//! Passwords: the stored forms, and the bounded work of checking them.
//!
//! - [`verify`] and [`hash_password`] are pure and slow on purpose; call them on a thread that may block.
//! - `Checker` runs them on such threads, a few at a time, and remembers for a short while what it has proved.
//!
//! What is stored is `{SCHEME}value` (RFC 2307 §5.3 and its relatives). A value without a scheme proves nothing: whoever
//! wants passwords in plain text says `{CLEARTEXT}`.

mod checker;
mod proofs;
mod scheme;
mod scram;

pub(crate) use checker::Checker;
pub use scheme::{has_scheme, hash_password, verify};
pub use scram::{ScramKeys, ScramShape};
