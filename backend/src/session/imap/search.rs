//! `SEARCH` (RFC 3501 §6.4.4).

use super::ImapSession;
use super::finish::Done;
use crate::session::BodyResult;
use crate::wire::imap::command::Search;

/// A SEARCH under way.
#[derive(Debug)]
pub struct Searching;

impl ImapSession {
    /// Begins to look for messages.
    pub(super) fn search(&mut self, tag: String, search: Search) {
        self.finish(&tag, Done::no(None, "not searched").numbering(search.numbering));
    }

    /// Looks at more messages.
    pub(super) fn search_more(&mut self, _searching: Box<Searching>) -> bool {
        false
    }
}

impl Searching {
    /// Bytes have come.
    pub fn on_body(&mut self, _body: BodyResult) {}
}
