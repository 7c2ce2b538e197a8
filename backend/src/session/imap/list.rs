//! `LIST` and `LSUB`: which mailboxes there are.

use std::collections::BTreeSet;

use super::ImapSession;
use super::finish::Done;
use super::status::write_status;
use crate::mailbox::name::decode_utf7;
use crate::mailbox::{Account, ListPattern, MailboxName};
use crate::wire::imap::command::{List, Lsub, WireName};
use crate::wire::imap::response::{Condition, list, tagged};

impl ImapSession {
    /// Lists mailboxes (RFC 3501 §6.3.8, RFC 5258).
    pub(super) fn list(&mut self, tag: String, list: &List) {
        let mut reply = Vec::new();
        if !list.extended && list.patterns.iter().all(|pattern| pattern.is_empty()) {
            // RFC 3501 §6.3.8: an empty name asks for the hierarchy's separator.
            list::root(&mut reply, "LIST");
        } else {
            Listing::new(&self.account, list).write(&mut reply);
        }
        if list.returns.status.is_empty() {
            self.out.text().append(&mut reply);
            return self.finish(&tag, Done::ok("LIST completed"));
        }
        self.note_modseq(&list.returns.status);
        tagged(&mut reply, &tag, Condition::Ok, None, "LIST completed");
        self.confirm(tag, reply);
    }

    /// Lists subscriptions (RFC 3501 §6.3.9).
    pub(super) fn lsub(&mut self, tag: &str, lsub: &Lsub) {
        let mut reply = Vec::new();
        match lsub.pattern.is_empty() {
            true => list::root(&mut reply, "LSUB"),
            false => write_lsub(&mut reply, &self.account, lsub),
        }
        self.out.text().append(&mut reply);
        self.finish(tag, Done::ok("LSUB completed"));
    }
}

/// The patterns a client wrote. One that is wrongly encoded matches nothing.
fn patterns(reference: &WireName, patterns: &[WireName]) -> Vec<ListPattern> {
    let text = |wire: &WireName| decode_utf7(std::str::from_utf8(wire).ok()?).ok();
    let Some(reference) = text(reference) else {
        return Vec::new();
    };
    patterns.iter().filter_map(text).map(|pattern| ListPattern::new(&reference, &pattern)).collect()
}

/// One LIST being answered.
struct Listing<'a> {
    account: &'a Account,
    list: &'a List,
    patterns: Vec<ListPattern>,
    /// Names with something below that meets the selection without matching a pattern itself
    /// (RFC 5258 §3.5); empty unless RECURSIVEMATCH asks for them.
    parents: BTreeSet<MailboxName>,
}

impl<'a> Listing<'a> {
    fn new(account: &'a Account, list: &'a List) -> Listing<'a> {
        let patterns = patterns(&list.reference, &list.patterns);
        let mut listing = Listing { account, list, patterns, parents: BTreeSet::new() };
        if list.selection.recursive {
            let is_hidden = |name: &&MailboxName| !listing.matches(name) && listing.is_selected(name);
            let names = account.mailboxes().map(|mailbox| &mailbox.name).chain(account.subscriptions());
            listing.parents = names.filter(is_hidden).flat_map(|name| name.ancestors()).collect();
        }
        listing
    }

    fn write(&self, out: &mut Vec<u8>) {
        for name in self.candidates() {
            if self.matches(name) {
                self.write_name(out, name);
            }
        }
    }

    /// The names a selection is made from: mailboxes, or subscriptions whether they exist or not
    /// (RFC 5258 §3.1).
    fn candidates(&self) -> BTreeSet<&MailboxName> {
        let mailboxes = self.account.mailboxes().map(|mailbox| &mailbox.name);
        match self.list.selection.subscribed {
            false => mailboxes.collect(),
            true if self.list.selection.recursive => {
                mailboxes.chain(self.account.subscriptions()).chain(&self.parents).collect()
            }
            true => self.account.subscriptions().collect(),
        }
    }

    fn matches(&self, name: &MailboxName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    fn write_name(&self, out: &mut Vec<u8>, name: &MailboxName) {
        let selected = self.is_selected(name);
        let child_info = self.parents.contains(name);
        if !selected && !child_info {
            return;
        }
        list::list(out, &self.attributes(name), name, child_info);
        if let (Some(mailbox), false) = (self.account.mailbox(name), self.list.returns.status.is_empty()) {
            write_status(out, mailbox, &self.list.returns.status);
        }
    }

    fn is_selected(&self, name: &MailboxName) -> bool {
        let selection = self.list.selection;
        let special = || self.account.mailbox(name).is_some_and(|mailbox| mailbox.special_use.is_some());
        (!selection.subscribed || self.account.is_subscribed(name)) && (!selection.special_use || special())
    }

    fn attributes(&self, name: &MailboxName) -> Vec<&'static str> {
        let mut attributes = Vec::new();
        match self.account.mailbox(name) {
            // RFC 5258 §3: implies \NoSelect.
            None => attributes.push("\\NonExistent"),
            Some(mailbox) => attributes.extend(mailbox.special_use.map(|special_use| special_use.as_str())),
        }
        // RFC 3348 §3.
        attributes.push(match self.account.has_children(name) {
            true => "\\HasChildren",
            false => "\\HasNoChildren",
        });
        if self.list.returns.subscribed && self.account.is_subscribed(name) {
            attributes.push("\\Subscribed");
        }
        attributes
    }
}

fn write_lsub(out: &mut Vec<u8>, account: &Account, lsub: &Lsub) {
    let patterns = patterns(&lsub.reference, std::slice::from_ref(&lsub.pattern));
    let matches = |name: &MailboxName| patterns.iter().any(|pattern| pattern.matches(name));
    let mut names: BTreeSet<(&MailboxName, &[&str])> = BTreeSet::new();
    let ancestors: BTreeSet<MailboxName> = match lsub.pattern.ends_with(b"%") {
        true => account.subscriptions().flat_map(|name| name.ancestors()).collect(),
        false => BTreeSet::new(),
    };
    for name in account.subscriptions().filter(|name| matches(name)) {
        let attributes: &[&str] = if account.mailbox(name).is_some() { &[] } else { &["\\Noselect"] };
        names.insert((name, attributes));
    }
    // RFC 3501 §6.3.9: `%` must not hide a subscription below a level that has none itself.
    for name in ancestors.iter().filter(|name| matches(name) && !account.is_subscribed(name)) {
        names.insert((name, &["\\Noselect"]));
    }
    for (name, attributes) in names {
        list::lsub(out, attributes, name);
    }
}
