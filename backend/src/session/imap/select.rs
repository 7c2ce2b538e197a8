//! `SELECT`, `EXAMINE` and `CLOSE`.

use std::sync::Arc;

use super::ask::Purpose;
use super::finish::Done;
use super::view::{Access, Numbers, View};
use super::{Confirming, ImapSession, Phase};
use crate::mailbox::{Flags, Mailbox, MailboxId, Refusal, Request, SystemFlag, Uid};
use crate::session::Output;
use crate::wire::imap::command::Select;
use crate::wire::imap::response::text::print;
use crate::wire::imap::response::{Code, Condition, tagged, untagged};

impl ImapSession {
    /// Selects a mailbox (RFC 3501 §6.3.1, §6.3.2).
    pub(super) fn select(&mut self, tag: String, select: &Select, access: Access) {
        // RFC 3501 §6.3.1: whatever comes of it, the mailbox selected until now no longer is.
        if self.view.take().is_some() {
            // RFC 7162 §3.2.11: what follows is about the other mailbox.
            untagged(self.out.text(), Condition::Ok, Some(&Code::Word("CLOSED")), "previous mailbox closed");
        }
        self.condstore |= select.condstore;
        let Some(name) = self.name(&tag, &select.name) else {
            return;
        };
        let Some(mailbox) = self.account.mailbox(&name) else {
            return self.refuse(&tag, Refusal::NoSuchMailbox);
        };
        let id = mailbox.id;
        match access {
            // RFC 3501 §2.3.2: whoever selects first is told of recent messages, and nobody else.
            Access::ReadWrite if mailbox.recent() > 0 => {
                self.ask(tag, Request::TakeRecent { mailbox: id }, Purpose::Select(id));
            }
            Access::ReadWrite | Access::ReadOnly => self.show(tag, id, access, None),
        }
    }

    /// Describes the mailbox to be selected, and asks whether the description is current.
    pub(super) fn show(&mut self, tag: String, id: MailboxId, access: Access, recent_from: Option<Uid>) {
        let Some(mailbox) = self.account.by_id(id).map(Arc::clone) else {
            return self.refuse(&tag, Refusal::NoSuchMailbox);
        };
        let recent_from = recent_from.unwrap_or(mailbox.recent_from);
        let view = View::new(mailbox, access, recent_from);
        let mut reply = Vec::new();
        describe(&mut reply, &view);
        let (code, text) = match access {
            Access::ReadWrite => ("READ-WRITE", "SELECT completed"),
            Access::ReadOnly => ("READ-ONLY", "EXAMINE completed"),
        };
        tagged(&mut reply, &tag, Condition::Ok, Some(&Code::Word(code)), text);
        self.confirm(tag, reply, Some(view));
    }

    /// Holds a reply back until it is known to show the present.
    pub(super) fn confirm(&mut self, tag: String, reply: Vec<u8>, view: Option<View>) {
        self.out.ask(Output::Permit);
        self.phase = Phase::Confirming(Box::new(Confirming { tag, reply, view }));
    }

    /// Removes what is deleted, tells nothing of it, and selects nothing (RFC 3501 §6.4.2).
    pub(super) fn close(&mut self, tag: String) {
        let Some(view) = &self.view else {
            return;
        };
        let mailbox = view.mailbox();
        // Only what the client knows to be there: what came since may be deleted by nobody's wish of its.
        let known = view.known_uids();
        let has_deleted = self.account.by_id(mailbox).is_some_and(|mailbox| mailbox.tally().deleted > 0);
        if view.access == Access::ReadOnly || !has_deleted {
            self.view = None;
            return self.finish(&tag, Done::ok("CLOSE completed").numbers(Numbers::Keep));
        }
        self.ask(tag, Request::Expunge { mailbox, uids: Some(known) }, Purpose::Close);
    }
}

/// Everything but the completion (RFC 3501 §6.3.1).
fn describe(out: &mut Vec<u8>, view: &View) {
    let mailbox = view.told();
    write_flags_in_use(out, view);
    print(out, format_args!("* {} EXISTS\r\n", view.len()));
    print(out, format_args!("* {} RECENT\r\n", view.recent()));
    if let Some(seq) = mailbox.first_unseen() {
        print(out, format_args!("* OK [UNSEEN {seq}] first unseen\r\n"));
    }
    print(out, format_args!("* OK [UIDVALIDITY {}] UIDs hold\r\n", mailbox.uid_validity));
    print(out, format_args!("* OK [UIDNEXT {}] next UID\r\n", mailbox.uid_next));
    print(out, format_args!("* OK [HIGHESTMODSEQ {}] latest change\r\n", mailbox.highest_modseq));
    print(out, format_args!("* OK [MAILBOXID ({})] this mailbox\r\n", mailbox.id));
}

/// Writes which flags there are and which of them can be kept (RFC 3501 §7.2.6, §7.1).
pub(super) fn write_flags_in_use(out: &mut Vec<u8>, view: &View) {
    let flags = flags_in_use(view.told());
    print(out, format_args!("* FLAGS ({flags})\r\n"));
    match view.access {
        // RFC 3501 §7.1: `\*` says that new keywords can be made.
        Access::ReadWrite => print(out, format_args!("* OK [PERMANENTFLAGS ({flags} \\*)] flags that are kept\r\n")),
        Access::ReadOnly => print(out, format_args!("* OK [PERMANENTFLAGS ()] no flags can be changed\r\n")),
    }
}

/// The system's flags and the mailbox's keywords.
fn flags_in_use(mailbox: &Mailbox) -> String {
    let system: Flags = SystemFlag::ALL.into_iter().map(crate::mailbox::Flag::System).collect();
    let mut flags = system.to_string();
    for keyword in mailbox.tally().keywords() {
        flags.push(' ');
        flags.push_str(keyword.as_str());
    }
    flags
}
