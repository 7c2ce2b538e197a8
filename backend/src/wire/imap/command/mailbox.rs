//! Commands about one mailbox as a whole.

use super::{WireName, name_argument};
use crate::mailbox::SpecialUse;
use crate::wire::imap::cursor::{Bad, Cursor, Parsed};
use crate::wire::imap::sequence::SequenceSet;

/// `SELECT` or `EXAMINE` (RFC 3501 §6.3.1; parameters RFC 4466 §2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// Which mailbox.
    pub name: WireName,
    /// `(CONDSTORE)` was given (RFC 7162 §3.1.8).
    pub condstore: bool,
    /// `(QRESYNC (…))` was given.
    pub resync: Option<Resync>,
}

/// What a client remembers of a mailbox (RFC 7162 §3.2.5).
///
/// Its sample of sequence numbers (§3.2.5.2) is read and not used: it only shortens answers about
/// expunges that we no longer remember in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resync {
    /// The validity of its UIDs.
    pub uid_validity: u32,
    /// Up to when it has been told of changes.
    pub modseq: u64,
    /// The messages it remembers; all if it does not say.
    pub known: Option<SequenceSet>,
}

impl Select {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Select> {
        let name = name_argument(cursor)?;
        let (mut condstore, mut resync) = (false, None);
        if cursor.take(b' ') {
            cursor.list1(|cursor| {
                if cursor.take_keyword("CONDSTORE") {
                    condstore = true;
                } else if cursor.take_keyword("QRESYNC") {
                    resync = Some(Resync::parse(cursor)?);
                } else {
                    return Err(Bad("unknown SELECT parameter"));
                }
                Ok(())
            })?;
        }
        Ok(Select { name, condstore, resync })
    }
}

impl Resync {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Resync> {
        cursor.space()?;
        cursor.open()?;
        let uid_validity = cursor.number()?;
        cursor.space()?;
        let modseq = cursor.number64()?;
        let mut known = None;
        let mut more = cursor.take(b' ');
        if more && cursor.peek() != Some(b'(') {
            known = Some(SequenceSet::parse(cursor)?);
            more = cursor.take(b' ');
        }
        if more {
            cursor.open()?;
            SequenceSet::parse(cursor)?;
            cursor.space()?;
            SequenceSet::parse(cursor)?;
            cursor.close()?;
        }
        cursor.close()?;
        Ok(Resync { uid_validity, modseq, known })
    }
}

/// `CREATE` (RFC 3501 §6.3.3), with the uses of RFC 6154 §3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// The new mailbox.
    pub name: WireName,
    /// What it is to be for, as far as we know the words.
    pub special_use: Vec<SpecialUse>,
    /// A use was asked for that we do not know.
    pub unknown_use: bool,
}

impl Create {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Create> {
        let mut create = Create { name: name_argument(cursor)?, special_use: Vec::new(), unknown_use: false };
        if cursor.take(b' ') {
            cursor.list1(|cursor| create.parse_parameter(cursor))?;
        }
        Ok(create)
    }

    fn parse_parameter(&mut self, cursor: &mut Cursor<'_>) -> Parsed<()> {
        if !cursor.take_keyword("USE") {
            return Err(Bad("unknown CREATE parameter"));
        }
        cursor.space()?;
        cursor.list(|cursor| {
            cursor.expect(b'\\', "expected a special use")?;
            match SpecialUse::parse(&format!("\\{}", cursor.atom()?)) {
                Some(special_use) => self.special_use.push(special_use),
                None => self.unknown_use = true,
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// `RENAME` (RFC 3501 §6.3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The name it has.
    pub from: WireName,
    /// The name it is to have.
    pub to: WireName,
}

impl Rename {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Rename> {
        Ok(Rename { from: name_argument(cursor)?, to: name_argument(cursor)? })
    }
}
