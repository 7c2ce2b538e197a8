//! SEARCH: what is asked for, and whether a message is it (RFC 9051 §6.4.4).
//!
//! Most keys are answered from the account's index. Those that need more say how much of the body record must be read:
//! its summary, its header, or all of it. Reading is the caller's; nothing here does IO.
//!
//! Texts are compared decoded (charsets, base64, quoted-printable, encoded-words), composed, and without regard to case.
//! Every key costs time linear in what it looks at.

mod criterion;
mod decode;
mod judge;
#[cfg(test)]
mod judge_test;
mod text;

pub use self::criterion::{Criterion, EnvelopeField};
pub use self::judge::{Outcome, Subject};
pub use self::text::Needle;
