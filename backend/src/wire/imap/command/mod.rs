//! Commands as values: what a client may say once it is logged in.

mod append;
mod date;
mod fetch;
mod list;
mod mailbox;
mod search;
mod store;

pub use append::{Append, AppendMessage};
pub use date::{CivilDate, DateTime, MONTHS};
pub use fetch::{Fetch, FetchItem, Label, Partial, Section, SectionText};
pub use list::{List, ListReturn, Lsub, Selection, Status, StatusItem};
pub use mailbox::{Create, Rename, Resync, Select};
pub use search::{ReturnOption, Search, SearchKey};
pub use store::{Store, StoreMode, Transfer};

use bytes::Bytes;

use super::cursor::{Bad, Cursor, Parsed};
use super::read::{Raw, tag_of};
use super::sequence::SequenceSet;

/// A command with its tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Tagged {
    /// What the client calls the command; repeated in its completion.
    pub tag: String,
    /// The command.
    pub command: Command,
}

/// A mailbox name or pattern as the client wrote it: modified UTF-7, not checked.
pub type WireName = Bytes;

/// What the numbers of a command are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// Sequence numbers of the client's view.
    Sequence,
    /// UIDs: the command was prefixed with `UID`.
    Uid,
}

/// A command of the authenticated or selected state (RFC 3501 §6).
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `CAPABILITY`.
    Capability,
    /// `NOOP`.
    Noop,
    /// `LOGOUT`.
    Logout,
    /// `ID` (RFC 2971). What the client says of itself is parsed and forgotten.
    Id,
    /// `ENABLE` with the names given (RFC 5161).
    Enable(Vec<String>),
    /// `NAMESPACE` (RFC 2342).
    Namespace,
    /// `SELECT`.
    Select(Select),
    /// `EXAMINE`.
    Examine(Select),
    /// `CREATE`.
    Create(Create),
    /// `DELETE`.
    Delete(WireName),
    /// `RENAME`.
    Rename(Rename),
    /// `SUBSCRIBE`.
    Subscribe(WireName),
    /// `UNSUBSCRIBE`.
    Unsubscribe(WireName),
    /// `LIST`, basic or extended (RFC 5258).
    List(List),
    /// `LSUB`.
    Lsub(Lsub),
    /// `STATUS`.
    Status(Status),
    /// `APPEND`.
    Append(Append),
    /// `GETQUOTA` (RFC 9208 §4.1.1).
    GetQuota(Bytes),
    /// `GETQUOTAROOT` (RFC 9208 §4.1.2).
    GetQuotaRoot(WireName),
    /// `IDLE` (RFC 2177).
    Idle,
    /// `CHECK`.
    Check,
    /// `CLOSE`.
    Close,
    /// `UNSELECT` (RFC 3691).
    Unselect,
    /// `EXPUNGE`.
    Expunge,
    /// `UID EXPUNGE` (RFC 4315).
    UidExpunge(SequenceSet),
    /// `SEARCH` and `UID SEARCH`.
    Search(Search),
    /// `FETCH` and `UID FETCH`.
    Fetch(Fetch),
    /// `STORE` and `UID STORE`.
    Store(Store),
    /// `COPY` and `UID COPY`.
    Copy(Transfer),
    /// `MOVE` and `UID MOVE` (RFC 6851).
    Move(Transfer),
}

/// Why a command was not understood, and for which tag to say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUnderstood {
    /// The tag, where one could be made out.
    pub tag: Option<String>,
    /// What was wrong.
    pub bad: Bad,
}

/// Makes a command of what the reader found.
pub fn parse(raw: &Raw) -> Result<Tagged, NotUnderstood> {
    let Some(tag) = tag_of(&raw.text) else {
        return Err(NotUnderstood { tag: None, bad: Bad("missing tag") });
    };
    let mut cursor = Cursor::new(raw);
    cursor.run(|byte| byte != b' ');
    match parse_command(&mut cursor) {
        Ok(command) => Ok(Tagged { tag, command }),
        Err(bad) => Err(NotUnderstood { tag: Some(tag), bad }),
    }
}

fn parse_command(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    cursor.expect(b' ', "missing command")?;
    let name = cursor.keyword().map_err(|_| Bad("missing command"))?;
    let command = match name.to_ascii_uppercase().as_str() {
        "CAPABILITY" => Command::Capability,
        "NOOP" => Command::Noop,
        "LOGOUT" => Command::Logout,
        "ID" => parse_id(cursor)?,
        "ENABLE" => parse_enable(cursor)?,
        "NAMESPACE" => Command::Namespace,
        "SELECT" => Command::Select(Select::parse(cursor)?),
        "EXAMINE" => Command::Examine(Select::parse(cursor)?),
        "CREATE" => Command::Create(Create::parse(cursor)?),
        "DELETE" => Command::Delete(name_argument(cursor)?),
        "RENAME" => Command::Rename(Rename::parse(cursor)?),
        "SUBSCRIBE" => Command::Subscribe(name_argument(cursor)?),
        "UNSUBSCRIBE" => Command::Unsubscribe(name_argument(cursor)?),
        "LIST" => Command::List(List::parse(cursor)?),
        "LSUB" => Command::Lsub(Lsub::parse(cursor)?),
        "STATUS" => Command::Status(Status::parse(cursor)?),
        "APPEND" => Command::Append(Append::parse(cursor)?),
        "GETQUOTA" => Command::GetQuota(name_argument(cursor)?),
        "GETQUOTAROOT" => Command::GetQuotaRoot(name_argument(cursor)?),
        "IDLE" => Command::Idle,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "EXPUNGE" => Command::Expunge,
        "UID" => parse_uid(cursor)?,
        "LOGIN" | "AUTHENTICATE" => return Err(Bad("already logged in")),
        "STARTTLS" => return Err(Bad("too late for STARTTLS")),
        other => parse_numbered(other, Numbering::Sequence, cursor)?,
    };
    cursor.end()?;
    Ok(command)
}

/// The commands that come with sequence numbers or, after `UID`, with UIDs.
fn parse_numbered(name: &str, numbering: Numbering, cursor: &mut Cursor<'_>) -> Parsed<Command> {
    match name {
        "SEARCH" => Search::parse(numbering, cursor).map(Command::Search),
        "FETCH" => Fetch::parse(numbering, cursor).map(Command::Fetch),
        "STORE" => Store::parse(numbering, cursor).map(Command::Store),
        "COPY" => Transfer::parse(numbering, cursor).map(Command::Copy),
        "MOVE" => Transfer::parse(numbering, cursor).map(Command::Move),
        _ => Err(Bad("unknown command")),
    }
}

/// `UID` and the command it changes (RFC 3501 §6.4.8).
fn parse_uid(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    cursor.space()?;
    let name = cursor.keyword()?.to_ascii_uppercase();
    if name == "EXPUNGE" {
        cursor.space()?;
        return SequenceSet::parse(cursor).map(Command::UidExpunge);
    }
    parse_numbered(&name, Numbering::Uid, cursor)
}

/// `ID` (RFC 2971 §4): NIL, or pairs.
fn parse_id(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    /// RFC 2971 §3.3 allows no more.
    const PAIRS_MAX: usize = 30;
    cursor.space()?;
    if cursor.take_keyword("NIL") {
        return Ok(Command::Id);
    }
    let pairs = cursor.list(|cursor| {
        cursor.string()?;
        cursor.space()?;
        cursor.nstring()
    })?;
    if pairs.len() > PAIRS_MAX {
        return Err(Bad("too many ID fields"));
    }
    Ok(Command::Id)
}

/// `ENABLE 1*(SP capability)`.
fn parse_enable(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let mut names = Vec::new();
    while names.is_empty() || cursor.peek() == Some(b' ') {
        cursor.space()?;
        names.push(cursor.atom()?.to_ascii_uppercase());
    }
    Ok(Command::Enable(names))
}

/// A space and a mailbox name.
fn name_argument(cursor: &mut Cursor<'_>) -> Parsed<WireName> {
    cursor.space()?;
    cursor.astring()
}

#[cfg(test)]
mod command_test;
