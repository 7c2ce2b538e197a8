//! `APPEND` (RFC 3501 §6.3.11), of several messages too (RFC 3502).

use super::ImapSession;
use super::ask::Purpose;
use super::finish::Done;
use crate::mailbox::{BodyRecord, InternalDate, NewMessage, Refusal, Request, Timestamp};
use crate::wire::imap::command::{Append, AppendMessage, DateTime};
use crate::wire::imap::response::Code;

/// Why a message cannot be kept.
enum Unfit {
    Empty,
    HasNul,
    TooLarge,
}

impl ImapSession {
    /// Adds messages to a mailbox, all or none.
    pub(super) fn append(&mut self, tag: String, append: Append) {
        let Some(name) = self.name(&tag, &append.name) else {
            return;
        };
        if self.account.mailbox(&name).is_none() {
            return self.refuse(&tag, Refusal::TryCreate);
        }
        let messages: Result<Vec<NewMessage>, Unfit> = append.messages.into_iter().map(new_message).collect();
        match messages {
            Ok(messages) => self.ask(tag, Request::Append { mailbox: name, messages }, Purpose::Append),
            // RFC 3502 §6.3.11: how a client says that it has changed its mind.
            Err(Unfit::Empty) => self.finish(&tag, Done::no(Some(Code::Word("CANNOT")), "a message may not be empty")),
            // RFC 3501 §4.3.1: without the BINARY extension, NUL is in no message.
            Err(Unfit::HasNul) => self.finish(&tag, Done::no(Some(Code::Word("CANNOT")), "a message may not hold NUL")),
            Err(Unfit::TooLarge) => self.finish(&tag, Done::no(Some(Code::Word("TOOBIG")), "message too large")),
        }
    }
}

fn new_message(message: AppendMessage) -> Result<NewMessage, Unfit> {
    if message.content.is_empty() {
        return Err(Unfit::Empty);
    }
    if memchr::memchr(0, &message.content).is_some() {
        return Err(Unfit::HasNul);
    }
    Ok(NewMessage {
        flags: message.flags,
        internal_date: message.date.map(internal_date),
        body: BodyRecord::new(&message.content).ok_or(Unfit::TooLarge)?,
    })
}

fn internal_date(date: DateTime) -> InternalDate {
    InternalDate { at: Timestamp(date.unix_seconds), offset_minutes: date.offset_minutes }
}
