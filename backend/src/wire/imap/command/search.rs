//! `SEARCH`: criteria and what is wanted of what matches (RFC 3501 §6.4.4, RFC 4731).

use bytes::Bytes;

use super::{CivilDate, Numbering};
use crate::mailbox::{Flag, SystemFlag};
use crate::wire::imap::cursor::{Bad, Cursor, NESTING_MAX, Parsed};
use crate::wire::imap::sequence::SequenceSet;

/// Keys of one SEARCH, those inside others counted too.
const KEYS_MAX: usize = 256;

/// `SEARCH`.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// What the numbers of the answer are.
    pub numbering: Numbering,
    /// `RETURN (…)`: an extended answer with these; `None` asks for the plain one.
    pub returns: Option<Vec<ReturnOption>>,
    /// `CHARSET`, upper case.
    pub charset: Option<String>,
    /// What a message must meet: all of them.
    pub keys: Vec<SearchKey>,
}

/// What an extended answer tells (RFC 4731 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnOption {
    /// The lowest number.
    Min,
    /// The highest number.
    Max,
    /// All numbers.
    All,
    /// How many there are.
    Count,
    /// Nothing; the messages are kept for `$` (RFC 5182 §2).
    Save,
}

/// One criterion.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchKey {
    /// `ALL`.
    All,
    /// Has the flag: `SEEN`, `KEYWORD word` and so on.
    Flag(Flag),
    /// `RECENT`.
    Recent,
    /// `NEW`: recent and unseen.
    New,
    /// A sequence set.
    Sequence(SequenceSet),
    /// `UID set`.
    Uid(SequenceSet),
    /// `BEFORE`.
    Before(CivilDate),
    /// `ON`.
    On(CivilDate),
    /// `SINCE`.
    Since(CivilDate),
    /// `SENTBEFORE`.
    SentBefore(CivilDate),
    /// `SENTON`.
    SentOn(CivilDate),
    /// `SENTSINCE`.
    SentSince(CivilDate),
    /// `SAVEDBEFORE` (RFC 8514 §4.3).
    SavedBefore(CivilDate),
    /// `SAVEDON`.
    SavedOn(CivilDate),
    /// `SAVEDSINCE`.
    SavedSince(CivilDate),
    /// `LARGER`.
    Larger(u32),
    /// `SMALLER`.
    Smaller(u32),
    /// `HEADER name text`, and `FROM`, `TO`, `CC`, `BCC` and `SUBJECT`, which name theirs.
    Header {
        /// The field.
        name: Bytes,
        /// What it is to contain; empty: that it is there.
        text: Bytes,
    },
    /// `BODY`.
    Body(Bytes),
    /// `TEXT`.
    Text(Bytes),
    /// `MODSEQ`: changed at or after.
    ModSeq(u64),
    /// `EMAILID` (RFC 8474 §6).
    EmailId(Bytes),
    /// `THREADID` (RFC 8474 §6).
    ThreadId(Bytes),
    /// `NOT key`.
    Not(Box<SearchKey>),
    /// `OR key key`.
    Or(Box<SearchKey>, Box<SearchKey>),
    /// Keys in parentheses: all of them.
    And(Vec<SearchKey>),
}

impl Search {
    pub(super) fn parse(numbering: Numbering, cursor: &mut Cursor<'_>) -> Parsed<Search> {
        let mut search = Search { numbering, returns: None, charset: None, keys: Vec::new() };
        cursor.space()?;
        if cursor.take_keyword("RETURN") {
            cursor.space()?;
            search.returns = Some(parse_returns(cursor)?);
            cursor.space()?;
        }
        if cursor.take_keyword("CHARSET") {
            cursor.space()?;
            let charset = cursor.astring()?;
            search.charset = Some(String::from_utf8_lossy(&charset).to_ascii_uppercase());
            cursor.space()?;
        }
        let mut budget = Budget { keys: 0, operators: 0 };
        search.keys.push(SearchKey::parse(cursor, &mut budget)?);
        while cursor.take(b' ') {
            search.keys.push(SearchKey::parse(cursor, &mut budget)?);
        }
        Ok(search)
    }

    /// Whether a criterion names mod-sequences, which then are told too (RFC 7162 §3.1.5).
    pub fn names_modseq(&self) -> bool {
        self.keys.iter().any(SearchKey::names_modseq)
    }
}

/// `RETURN ()` is `RETURN (ALL)` (RFC 4731 §3.1).
fn parse_returns(cursor: &mut Cursor<'_>) -> Parsed<Vec<ReturnOption>> {
    let options = cursor.list(|cursor| match cursor.keyword()?.to_ascii_uppercase().as_str() {
        "MIN" => Ok(ReturnOption::Min),
        "MAX" => Ok(ReturnOption::Max),
        "ALL" => Ok(ReturnOption::All),
        "COUNT" => Ok(ReturnOption::Count),
        "SAVE" => Ok(ReturnOption::Save),
        _ => Err(Bad("unknown SEARCH return option")),
    })?;
    match options.is_empty() {
        true => Ok(vec![ReturnOption::All]),
        false => Ok(options),
    }
}

/// What a search may still spend.
struct Budget {
    keys: usize,
    /// `NOT`s and `OR`s that are open; parentheses are counted by the cursor.
    operators: usize,
}

/// `NOT` and `OR` within each other: a chain of ORs over a dozen words is common.
const OPERATORS_MAX: usize = 4 * NESTING_MAX;

impl SearchKey {
    fn parse(cursor: &mut Cursor<'_>, budget: &mut Budget) -> Parsed<SearchKey> {
        budget.keys += 1;
        if budget.keys > KEYS_MAX {
            return Err(Bad("too many search keys"));
        }
        match cursor.peek() {
            Some(b'(') => cursor.list1(|cursor| SearchKey::parse(cursor, budget)).map(SearchKey::And),
            Some(b'0'..=b'9' | b'*' | b'$') => SequenceSet::parse(cursor).map(SearchKey::Sequence),
            _ => {
                let name = cursor.keyword()?.to_ascii_uppercase();
                SearchKey::parse_operator(&name, cursor, budget)
            }
        }
    }

    fn parse_operator(name: &str, cursor: &mut Cursor<'_>, budget: &mut Budget) -> Parsed<SearchKey> {
        budget.operators += 1;
        if budget.operators > OPERATORS_MAX {
            return Err(Bad("search keys nested too deeply"));
        }
        let mut operand = |cursor: &mut Cursor<'_>| -> Parsed<Box<SearchKey>> {
            cursor.space()?;
            SearchKey::parse(cursor, budget).map(Box::new)
        };
        let key = match name {
            "NOT" => SearchKey::Not(operand(cursor)?),
            "OR" => SearchKey::Or(operand(cursor)?, operand(cursor)?),
            _ => SearchKey::parse_plain(name, cursor)?,
        };
        budget.operators -= 1;
        Ok(key)
    }

    /// The keys that hold no other keys.
    fn parse_plain(name: &str, cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
        if let Some(key) = SearchKey::bare(name) {
            return Ok(key);
        }
        cursor.space().map_err(|_| Bad("unknown search key, or one that lacks its argument"))?;
        Ok(match name {
            "KEYWORD" => parse_keyword(cursor)?,
            "UNKEYWORD" => SearchKey::Not(Box::new(parse_keyword(cursor)?)),
            "UID" => SearchKey::Uid(SequenceSet::parse(cursor)?),
            "BEFORE" => SearchKey::Before(CivilDate::parse(cursor)?),
            "ON" => SearchKey::On(CivilDate::parse(cursor)?),
            "SINCE" => SearchKey::Since(CivilDate::parse(cursor)?),
            "SENTBEFORE" => SearchKey::SentBefore(CivilDate::parse(cursor)?),
            "SENTON" => SearchKey::SentOn(CivilDate::parse(cursor)?),
            "SENTSINCE" => SearchKey::SentSince(CivilDate::parse(cursor)?),
            "SAVEDBEFORE" => SearchKey::SavedBefore(CivilDate::parse(cursor)?),
            "SAVEDON" => SearchKey::SavedOn(CivilDate::parse(cursor)?),
            "SAVEDSINCE" => SearchKey::SavedSince(CivilDate::parse(cursor)?),
            "LARGER" => SearchKey::Larger(cursor.number()?),
            "SMALLER" => SearchKey::Smaller(cursor.number()?),
            "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => {
                let name = Bytes::copy_from_slice(name.as_bytes());
                SearchKey::Header { name, text: cursor.astring()? }
            }
            "HEADER" => {
                let name = cursor.astring()?;
                cursor.space()?;
                SearchKey::Header { name, text: cursor.astring()? }
            }
            "BODY" => SearchKey::Body(cursor.astring()?),
            "TEXT" => SearchKey::Text(cursor.astring()?),
            "MODSEQ" => parse_modseq(cursor)?,
            "EMAILID" => SearchKey::EmailId(cursor.astring()?),
            "THREADID" => SearchKey::ThreadId(cursor.astring()?),
            _ => return Err(Bad("unknown search key")),
        })
    }

    /// The keys of one word.
    fn bare(name: &str) -> Option<SearchKey> {
        use SystemFlag::{Answered, Deleted, Draft, Flagged, Seen};
        let has = |flag| SearchKey::Flag(Flag::System(flag));
        let lacks = |flag| SearchKey::Not(Box::new(SearchKey::Flag(Flag::System(flag))));
        Some(match name {
            // RFC 8514 §4.3: every mailbox of ours remembers when its messages came.
            "ALL" | "SAVEDATESUPPORTED" => SearchKey::All,
            "ANSWERED" => has(Answered),
            "DELETED" => has(Deleted),
            "DRAFT" => has(Draft),
            "FLAGGED" => has(Flagged),
            "SEEN" => has(Seen),
            "UNANSWERED" => lacks(Answered),
            "UNDELETED" => lacks(Deleted),
            "UNDRAFT" => lacks(Draft),
            "UNFLAGGED" => lacks(Flagged),
            "UNSEEN" => lacks(Seen),
            "NEW" => SearchKey::New,
            "OLD" => SearchKey::Not(Box::new(SearchKey::Recent)),
            "RECENT" => SearchKey::Recent,
            _ => return None,
        })
    }

    fn names_modseq(&self) -> bool {
        match self {
            SearchKey::ModSeq(_) => true,
            SearchKey::Not(key) => key.names_modseq(),
            SearchKey::Or(one, other) => one.names_modseq() || other.names_modseq(),
            SearchKey::And(keys) => keys.iter().any(SearchKey::names_modseq),
            SearchKey::All
            | SearchKey::Flag(_)
            | SearchKey::Recent
            | SearchKey::New
            | SearchKey::Sequence(_)
            | SearchKey::Uid(_)
            | SearchKey::Before(_)
            | SearchKey::On(_)
            | SearchKey::Since(_)
            | SearchKey::SentBefore(_)
            | SearchKey::SentOn(_)
            | SearchKey::SentSince(_)
            | SearchKey::SavedBefore(_)
            | SearchKey::SavedOn(_)
            | SearchKey::SavedSince(_)
            | SearchKey::Larger(_)
            | SearchKey::Smaller(_)
            | SearchKey::Header { .. }
            | SearchKey::Body(_)
            | SearchKey::Text(_)
            | SearchKey::EmailId(_)
            | SearchKey::ThreadId(_) => false,
        }
    }
}

fn parse_keyword(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
    let word = cursor.atom()?;
    Flag::parse(word).map(SearchKey::Flag).map_err(|_| Bad("no such keyword"))
}

/// `MODSEQ [entry-name entry-type] value` (RFC 7162 §3.1.5). We keep one mod-sequence per
/// message, so that the entry, checked in form, makes no difference.
fn parse_modseq(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
    if cursor.peek() == Some(b'"') {
        cursor.string()?;
        cursor.space()?;
        match cursor.keyword()?.to_ascii_lowercase().as_str() {
            "priv" | "shared" | "all" => cursor.space()?,
            _ => return Err(Bad("unknown entry type")),
        }
    }
    cursor.number64().map(SearchKey::ModSeq)
}
