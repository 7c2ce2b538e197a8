//! Commands that change which mailboxes there are: CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE.

use bytes::Bytes;

use super::ImapSession;
use super::ask::Purpose;
use super::finish::Done;
use crate::mailbox::Request;
use crate::mailbox::name::SEPARATOR;
use crate::wire::imap::command::{Create, Rename, WireName};
use crate::wire::imap::response::Code;

impl ImapSession {
    /// Makes a mailbox (RFC 3501 §6.3.3, RFC 6154 §3).
    pub(super) fn create(&mut self, tag: String, create: &Create) {
        let Some(name) = self.name(&tag, &without_separator(&create.name)) else {
            return;
        };
        if create.unknown_use || create.special_use.len() > 1 {
            let done = Done::no(Some(Code::Word("USEATTR")), "no mailbox can have that special use");
            return self.finish(&tag, done);
        }
        let special_use = create.special_use.first().copied();
        self.ask(tag, Request::Create { name, special_use }, Purpose::Complete("CREATE completed"));
    }

    /// Removes a mailbox (RFC 3501 §6.3.4).
    pub(super) fn delete(&mut self, tag: String, name: &WireName) {
        if let Some(name) = self.name(&tag, name) {
            self.ask(tag, Request::Delete { name }, Purpose::Complete("DELETE completed"));
        }
    }

    /// Renames a mailbox (RFC 3501 §6.3.5).
    pub(super) fn rename(&mut self, tag: String, rename: &Rename) {
        let Some(from) = self.name(&tag, &rename.from) else {
            return;
        };
        if let Some(to) = self.name(&tag, &without_separator(&rename.to)) {
            self.ask(tag, Request::Rename { from, to }, Purpose::Complete("RENAME completed"));
        }
    }

    /// Subscribes (RFC 3501 §6.3.6).
    pub(super) fn subscribe(&mut self, tag: String, name: &WireName) {
        if let Some(name) = self.name(&tag, name) {
            self.ask(tag, Request::Subscribe { name, on: true }, Purpose::Complete("SUBSCRIBE completed"));
        }
    }

    /// Ends a subscription (RFC 3501 §6.3.7).
    pub(super) fn unsubscribe(&mut self, tag: String, name: &WireName) {
        if let Some(name) = self.name(&tag, name) {
            self.ask(tag, Request::Subscribe { name, on: false }, Purpose::Complete("UNSUBSCRIBE completed"));
        }
    }
}

/// RFC 3501 §6.3.3: a separator at the end announces mailboxes below, which all of ours may have.
fn without_separator(name: &WireName) -> Bytes {
    match name.split_last() {
        Some((last, _)) if *last == SEPARATOR as u8 => name.slice(..name.len() - 1),
        _ => name.clone(),
    }
}
