//! `LIST`, `LSUB` and `STATUS`.

use super::{WireName, name_argument};
use crate::wire::imap::cursor::{Bad, Cursor, Parsed};

/// Patterns in one extended LIST.
const PATTERNS_MAX: usize = 64;

/// `LIST` (RFC 3501 §6.3.8, RFC 5258 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Which mailboxes are meant at all.
    pub selection: Selection,
    /// What the patterns are relative to.
    pub reference: WireName,
    /// What names are wanted.
    pub patterns: Vec<WireName>,
    /// What is to be told of each.
    pub returns: ListReturn,
    /// Anything of RFC 5258 was used: an empty pattern has no special meaning then (§3).
    pub extended: bool,
}

/// Selection options (RFC 5258 §3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selection {
    /// `SUBSCRIBED`.
    pub subscribed: bool,
    /// `RECURSIVEMATCH`.
    pub recursive: bool,
    /// `SPECIAL-USE` (RFC 6154 §2).
    pub special_use: bool,
}

/// Return options (RFC 5258 §3.2). Children and special uses are told in any case, which costs
/// nothing and is allowed (RFC 6154 §2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListReturn {
    /// `SUBSCRIBED`.
    pub subscribed: bool,
    /// `STATUS (…)` (RFC 5819).
    pub status: Vec<StatusItem>,
}

impl List {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<List> {
        cursor.space()?;
        let mut extended = cursor.peek() == Some(b'(');
        let mut selection = Selection::default();
        if extended {
            selection = Selection::parse(cursor)?;
            cursor.space()?;
        }
        let reference = cursor.astring()?;
        cursor.space()?;
        let several = cursor.peek() == Some(b'(');
        let patterns = match several {
            true => cursor.list1(Cursor::pattern)?,
            false => vec![cursor.pattern()?],
        };
        if patterns.len() > PATTERNS_MAX {
            return Err(Bad("too many patterns"));
        }
        let mut returns = ListReturn::default();
        let wants_return = cursor.take(b' ');
        if wants_return {
            returns = ListReturn::parse(cursor)?;
        }
        extended |= several || wants_return;
        // RFC 5258 §3.1: SUBSCRIBED as a selection implies it as a return option.
        returns.subscribed |= selection.subscribed;
        Ok(List { selection, reference, patterns, returns, extended })
    }
}

impl Selection {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Selection> {
        let mut selection = Selection::default();
        cursor.list(|cursor| {
            match cursor.keyword()?.to_ascii_uppercase().as_str() {
                "SUBSCRIBED" => selection.subscribed = true,
                "RECURSIVEMATCH" => selection.recursive = true,
                "SPECIAL-USE" => selection.special_use = true,
                // There are no remote mailboxes to be added (RFC 5258 §3.1).
                "REMOTE" => {}
                _ => return Err(Bad("unknown LIST selection option")),
            }
            Ok(())
        })?;
        // RFC 5258 §3.1: RECURSIVEMATCH needs an option that is not a mere modifier.
        if selection.recursive && !(selection.subscribed || selection.special_use) {
            return Err(Bad("RECURSIVEMATCH needs a selection to match"));
        }
        Ok(selection)
    }
}

impl ListReturn {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<ListReturn> {
        if !cursor.take_keyword("RETURN") {
            return Err(Bad("expected RETURN"));
        }
        cursor.space()?;
        let mut returns = ListReturn::default();
        cursor.list(|cursor| {
            match cursor.keyword()?.to_ascii_uppercase().as_str() {
                "SUBSCRIBED" => returns.subscribed = true,
                "CHILDREN" | "SPECIAL-USE" => {}
                "STATUS" => {
                    cursor.space()?;
                    returns.status = cursor.list1(StatusItem::parse)?;
                }
                _ => return Err(Bad("unknown LIST return option")),
            }
            Ok(())
        })?;
        Ok(returns)
    }
}

/// `LSUB` (RFC 3501 §6.3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lsub {
    /// What the pattern is relative to.
    pub reference: WireName,
    /// What names are wanted.
    pub pattern: WireName,
}

impl Lsub {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Lsub> {
        let reference = name_argument(cursor)?;
        cursor.space()?;
        let pattern = cursor.pattern()?;
        Ok(Lsub { reference, pattern })
    }
}

/// `STATUS` (RFC 3501 §6.3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Which mailbox.
    pub name: WireName,
    /// What is to be told of it.
    pub items: Vec<StatusItem>,
}

impl Status {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Status> {
        let name = name_argument(cursor)?;
        cursor.space()?;
        let items = cursor.list1(StatusItem::parse)?;
        Ok(Status { name, items })
    }
}

/// One figure of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusItem {
    /// `MESSAGES`.
    Messages,
    /// `RECENT`.
    Recent,
    /// `UIDNEXT`.
    UidNext,
    /// `UIDVALIDITY`.
    UidValidity,
    /// `UNSEEN`.
    Unseen,
    /// `DELETED` (RFC 9051 §6.3.11).
    Deleted,
    /// `DELETED-STORAGE` (RFC 9208 §4.1.4).
    DeletedStorage,
    /// `SIZE` (RFC 8438).
    Size,
    /// `HIGHESTMODSEQ` (RFC 7162 §3.1.7).
    HighestModSeq,
    /// `MAILBOXID` (RFC 8474 §4.3).
    MailboxId,
}

impl StatusItem {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<StatusItem> {
        Ok(match cursor.keyword()?.to_ascii_uppercase().as_str() {
            "MESSAGES" => StatusItem::Messages,
            "RECENT" => StatusItem::Recent,
            "UIDNEXT" => StatusItem::UidNext,
            "UIDVALIDITY" => StatusItem::UidValidity,
            "UNSEEN" => StatusItem::Unseen,
            "DELETED" => StatusItem::Deleted,
            "DELETED-STORAGE" => StatusItem::DeletedStorage,
            "SIZE" => StatusItem::Size,
            "HIGHESTMODSEQ" => StatusItem::HighestModSeq,
            "MAILBOXID" => StatusItem::MailboxId,
            _ => return Err(Bad("unknown STATUS item")),
        })
    }
}
