//! `OK`, `NO`, `BAD`, `BYE`, with their response codes (RFC 3501 §7.1, RFC 5530).

use std::fmt;

use super::text::print;
use crate::mailbox::{MailboxId, ModSeq, UidSet, UidValidity};

/// How something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It was done.
    Ok,
    /// It was understood and not done.
    No,
    /// It was not understood.
    Bad,
    /// The connection ends.
    Bye,
}

/// What a client's program can act upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// A word that says it all: `TRYCREATE`, `NONEXISTENT`, `OVERQUOTA` …
    Word(&'static str),
    /// `APPENDUID validity uids` (RFC 4315 §3).
    AppendUid(UidValidity, UidSet),
    /// `COPYUID validity from to` (RFC 4315 §3): both lists in the same order.
    CopyUid(UidValidity, UidSet, UidSet),
    /// `MODIFIED set` (RFC 7162 §3.1.3): what was left alone, in the command's numbers.
    Modified(String),
    /// `HIGHESTMODSEQ n` (RFC 7162 §3.1.2.1).
    HighestModSeq(ModSeq),
    /// `MAILBOXID (id)` (RFC 8474 §4).
    MailboxId(MailboxId),
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Code::Word(word) => f.write_str(word),
            Code::AppendUid(validity, uids) => write!(f, "APPENDUID {validity} {uids}"),
            Code::CopyUid(validity, from, to) => write!(f, "COPYUID {validity} {from} {to}"),
            Code::Modified(set) => write!(f, "MODIFIED {set}"),
            Code::HighestModSeq(modseq) => write!(f, "HIGHESTMODSEQ {modseq}"),
            Code::MailboxId(id) => write!(f, "MAILBOXID ({id})"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Condition::Ok => "OK",
            Condition::No => "NO",
            Condition::Bad => "BAD",
            Condition::Bye => "BYE",
        })
    }
}

/// Writes the completion of the command `tag`.
pub fn tagged(out: &mut Vec<u8>, tag: &str, condition: Condition, code: Option<&Code>, text: &str) {
    line(out, tag, condition, code, text);
}

/// Writes a condition that completes nothing.
pub fn untagged(out: &mut Vec<u8>, condition: Condition, code: Option<&Code>, text: &str) {
    line(out, "*", condition, code, text);
}

fn line(out: &mut Vec<u8>, tag: &str, condition: Condition, code: Option<&Code>, text: &str) {
    match code {
        Some(code) => print(out, format_args!("{tag} {condition} [{code}] {text}\r\n")),
        None => print(out, format_args!("{tag} {condition} {text}\r\n")),
    }
}
