//! `STORE`, `COPY` and `MOVE`.

use super::{Numbering, WireName, name_argument};
use crate::mailbox::{Flag, FlagChange, Flags};
use crate::wire::imap::cursor::{Bad, Cursor, Parsed};
use crate::wire::imap::sequence::SequenceSet;

/// Flags in one list.
const FLAGS_MAX: usize = 100;

/// `STORE` (RFC 3501 §6.4.6, RFC 7162 §3.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// What the set's numbers are.
    pub numbering: Numbering,
    /// Which messages.
    pub set: SequenceSet,
    /// What becomes of their flags.
    pub change: FlagChange,
    /// Whether the new flags are to be told.
    pub mode: StoreMode,
    /// `UNCHANGEDSINCE`.
    pub unchanged_since: Option<u64>,
}

/// Whether STORE tells the new flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// They are told.
    Loud,
    /// `.SILENT`: they are not.
    Silent,
}

impl Store {
    pub(super) fn parse(numbering: Numbering, cursor: &mut Cursor<'_>) -> Parsed<Store> {
        cursor.space()?;
        let set = SequenceSet::parse(cursor)?;
        cursor.space()?;
        let mut unchanged_since = None;
        if cursor.peek() == Some(b'(') {
            cursor.list1(|cursor| {
                unchanged_since = Some(parse_unchanged_since(cursor)?);
                Ok(())
            })?;
            cursor.space()?;
        }
        let sign = cursor.peek().filter(|byte| matches!(byte, b'+' | b'-'));
        if let Some(sign) = sign {
            cursor.take(sign);
        }
        let mode = match cursor.keyword()?.to_ascii_uppercase().as_str() {
            "FLAGS" => StoreMode::Loud,
            "FLAGS.SILENT" => StoreMode::Silent,
            _ => return Err(Bad("expected FLAGS")),
        };
        cursor.space()?;
        let flags = parse_flags(cursor)?;
        let change = match sign {
            Some(b'+') => FlagChange::Add(flags),
            Some(_) => FlagChange::Remove(flags),
            None => FlagChange::Replace(flags),
        };
        Ok(Store { numbering, set, change, mode, unchanged_since })
    }
}

fn parse_unchanged_since(cursor: &mut Cursor<'_>) -> Parsed<u64> {
    if !cursor.take_keyword("UNCHANGEDSINCE") {
        return Err(Bad("unknown STORE modifier"));
    }
    cursor.space()?;
    cursor.number64()
}

/// `flag-list`, or flags without parentheses as STORE allows.
fn parse_flags(cursor: &mut Cursor<'_>) -> Parsed<Flags> {
    if cursor.peek() == Some(b'(') {
        return parse_flag_list(cursor);
    }
    let mut flags = vec![parse_flag(cursor)?];
    while cursor.take(b' ') {
        flags.push(parse_flag(cursor)?);
    }
    collect(flags)
}

/// `flag-list = "(" [flag *(SP flag)] ")"`.
pub(super) fn parse_flag_list(cursor: &mut Cursor<'_>) -> Parsed<Flags> {
    let flags = cursor.list(parse_flag)?;
    collect(flags)
}

fn collect(flags: Vec<Flag>) -> Parsed<Flags> {
    if flags.len() > FLAGS_MAX {
        return Err(Bad("too many flags"));
    }
    Ok(flags.into_iter().collect())
}

fn parse_flag(cursor: &mut Cursor<'_>) -> Parsed<Flag> {
    let backslash = cursor.take(b'\\');
    let word = cursor.atom()?;
    let flag = match backslash {
        true => Flag::parse(&format!("\\{word}")),
        false => Flag::parse(word),
    };
    flag.map_err(|_| Bad("no such flag"))
}

/// `COPY` (RFC 3501 §6.4.7) and `MOVE` (RFC 6851).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// What the set's numbers are.
    pub numbering: Numbering,
    /// Which messages.
    pub set: SequenceSet,
    /// Where to.
    pub to: WireName,
}

impl Transfer {
    pub(super) fn parse(numbering: Numbering, cursor: &mut Cursor<'_>) -> Parsed<Transfer> {
        cursor.space()?;
        let set = SequenceSet::parse(cursor)?;
        let to = name_argument(cursor)?;
        Ok(Transfer { numbering, set, to })
    }
}
