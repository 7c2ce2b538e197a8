//! `APPEND`, of one message or of several (RFC 3502).

use bytes::Bytes;

use super::store::parse_flag_list;
use super::{DateTime, WireName, name_argument};
use crate::mailbox::Flags;
use crate::wire::imap::cursor::{Cursor, Parsed};

/// `APPEND` (RFC 3501 §6.3.11, RFC 3502).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub name: WireName,
    /// What; at least one.
    pub messages: Vec<AppendMessage>,
}

/// One message of an APPEND.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendMessage {
    /// The flags it begins with.
    pub flags: Flags,
    /// Its internal date, if it is not to be now.
    pub date: Option<DateTime>,
    /// The message itself.
    pub content: Bytes,
}

impl Append {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Append> {
        let name = name_argument(cursor)?;
        let mut messages = Vec::new();
        while messages.is_empty() || cursor.peek() == Some(b' ') {
            cursor.space()?;
            messages.push(AppendMessage::parse(cursor)?);
        }
        Ok(Append { name, messages })
    }
}

impl AppendMessage {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<AppendMessage> {
        let mut flags = Flags::new();
        if cursor.peek() == Some(b'(') {
            flags = parse_flag_list(cursor)?;
            cursor.space()?;
        }
        let mut date = None;
        if cursor.peek() == Some(b'"') {
            date = Some(DateTime::parse(cursor)?);
            cursor.space()?;
        }
        let content = cursor.literal()?;
        Ok(AppendMessage { flags, date, content })
    }
}
