//! `COPY`, `MOVE` and `EXPUNGE`: messages that come and go.

use super::ImapSession;
use super::ask::Purpose;
use super::finish::Done;
use super::store::read_only;
use super::view::Access;
use crate::mailbox::{MailboxId, MailboxName, Request, UidSet};
use crate::wire::imap::command::{Numbering, Transfer};
use crate::wire::imap::sequence::SequenceSet;

impl ImapSession {
    /// Copies messages (RFC 3501 §6.4.7).
    pub(super) fn copy(&mut self, tag: String, transfer: &Transfer) {
        if let Some(Sources { from, uids, to }) = self.sources(&tag, transfer) {
            match uids.is_empty() {
                true => self.finish(&tag, Done::ok("no messages to copy")),
                false => self.ask(tag, Request::Copy { from, uids, to }, Purpose::Copy),
            }
        }
    }

    /// Moves messages (RFC 6851).
    pub(super) fn move_messages(&mut self, tag: String, transfer: &Transfer) {
        if self.is_read_only() {
            return self.finish(&tag, read_only());
        }
        if let Some(Sources { from, uids, to }) = self.sources(&tag, transfer) {
            match uids.is_empty() {
                true => self.finish(&tag, Done::ok("no messages to move")),
                false => self.ask(tag, Request::Move { from, uids, to }, Purpose::Move),
            }
        }
    }

    /// Removes what is deleted (RFC 3501 §6.4.3), or of that only some (RFC 4315 §2.1).
    pub(super) fn expunge(&mut self, tag: String, set: Option<&SequenceSet>) {
        let Some(view) = &self.view else {
            return;
        };
        if self.is_read_only() {
            return self.finish(&tag, read_only());
        }
        let (uids, text) = match set {
            Some(set) => (view.resolve(set, Numbering::Uid).map(|ranges| view.uids(&ranges)), "UID EXPUNGE completed"),
            // What the client has not been told of it cannot have meant.
            None => (Ok(view.known_uids()), "EXPUNGE completed"),
        };
        match uids {
            Ok(uids) if uids.is_empty() => self.finish(&tag, Done::ok(text)),
            Ok(uids) => {
                let mailbox = view.mailbox();
                self.ask(tag, Request::Expunge { mailbox, uids: Some(uids) }, Purpose::Expunge(text));
            }
            Err(bad) => self.bad(Some(&tag), None, bad.0),
        }
    }

    fn sources(&mut self, tag: &str, transfer: &Transfer) -> Option<Sources> {
        let view = self.view.as_ref()?;
        let from = view.mailbox();
        let uids = match view.resolve(&transfer.set, transfer.numbering) {
            Ok(ranges) => view.uids(&ranges),
            Err(bad) => {
                self.bad(Some(tag), None, bad.0);
                return None;
            }
        };
        let to = self.name(tag, &transfer.to)?;
        Some(Sources { from, uids, to })
    }

    fn is_read_only(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.access == Access::ReadOnly)
    }
}

/// What is to be copied or moved, and where to.
struct Sources {
    from: MailboxId,
    uids: UidSet,
    to: MailboxName,
}
