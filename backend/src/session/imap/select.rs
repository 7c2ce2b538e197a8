//! `SELECT`, `EXAMINE` and `CLOSE`.

use std::sync::Arc;

use super::ask::Purpose;
use super::finish::Done;
use super::telling::Telling;
use super::view::{Access, Numbers, Updates, View};
use super::{Confirming, ImapSession, Phase};
use crate::mailbox::{Flags, Mailbox, MailboxId, ModSeq, Refusal, Request, SeqNo, SystemFlag, Uid, UidSet};
use crate::session::Output;
use crate::wire::imap::command::{Resync, Select};
use crate::wire::imap::response::message::vanished;
use crate::wire::imap::response::text::print;
use crate::wire::imap::response::{Code, Condition, tagged, untagged};

/// A mailbox that is being selected.
#[derive(Debug)]
pub struct Selecting {
    mailbox: MailboxId,
    access: Access,
    /// What the client remembers of it.
    resync: Option<Resync>,
}

impl ImapSession {
    /// Selects a mailbox (RFC 3501 §6.3.1, §6.3.2).
    pub(super) fn select(&mut self, tag: String, select: Select, access: Access) {
        if select.resync.is_some() && !self.qresync {
            // RFC 7162 §3.2.5.
            return self.bad(Some(&tag), None, "QRESYNC needs ENABLE QRESYNC");
        }
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
        let has_recent = mailbox.recent() > 0;
        let selecting = Selecting { mailbox: mailbox.id, access, resync: select.resync };
        match access {
            // RFC 3501 §2.3.2: whoever selects first is told of recent messages, and nobody else.
            Access::ReadWrite if has_recent => {
                let request = Request::TakeRecent { mailbox: selecting.mailbox };
                self.ask(tag, request, Purpose::Select(Box::new(selecting)));
            }
            Access::ReadWrite | Access::ReadOnly => self.show(tag, selecting, None),
        }
    }

    /// Describes the mailbox to be selected, and asks whether the description is current.
    pub(super) fn show(&mut self, tag: String, selecting: Selecting, recent_from: Option<Uid>) {
        let Some(mailbox) = self.account.by_id(selecting.mailbox).map(Arc::clone) else {
            return self.refuse(&tag, Refusal::NoSuchMailbox);
        };
        let recent_from = recent_from.unwrap_or(mailbox.recent_from);
        let view = View::new(mailbox, selecting.access, recent_from);
        let mut reply = Vec::new();
        describe(&mut reply, &view);
        let mut updates = Updates::default();
        if let Some(resync) = &selecting.resync {
            updates.flagged = missed(&mut reply, &view, resync);
        }
        let (code, text) = match selecting.access {
            Access::ReadWrite => ("READ-WRITE", "SELECT completed"),
            Access::ReadOnly => ("READ-ONLY", "EXAMINE completed"),
        };
        let mut finally = Vec::new();
        tagged(&mut finally, &tag, Condition::Ok, Some(&Code::Word(code)), text);
        let telling = Telling::new(updates, self.manner(), finally);
        self.out.ask(Output::Permit);
        self.phase = Phase::Confirming(Box::new(Confirming { tag, reply, view: Some(view), telling: Some(telling) }));
    }

    /// Holds a reply back until it is known to show the present.
    pub(super) fn confirm(&mut self, tag: String, reply: Vec<u8>) {
        self.out.ask(Output::Permit);
        self.phase = Phase::Confirming(Box::new(Confirming { tag, reply, view: None, telling: None }));
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

/// Writes which messages vanished since the client last looked, and returns which changed
/// (RFC 7162 §3.2.5.1); nothing if its UIDs no longer hold.
fn missed(out: &mut Vec<u8>, view: &View, resync: &Resync) -> Vec<SeqNo> {
    if resync.uid_validity != view.told().uid_validity.get() {
        return Vec::new();
    }
    let known = match &resync.known {
        Some(set) => view.meant(set),
        None => UidSet::all(),
    };
    let modseq = ModSeq(resync.modseq);
    vanished(out, "(EARLIER) ", &view.vanished_since(modseq, &known));
    let is_known = |seq: &SeqNo| view.at(*seq).is_some_and(|message| known.contains(message.uid));
    view.told().changed_since(modseq).into_iter().filter(is_known).collect()
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
