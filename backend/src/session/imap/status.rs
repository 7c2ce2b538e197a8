//! `STATUS`, and the same within LIST (RFC 5819).

use super::ImapSession;
use crate::mailbox::{Mailbox, Refusal};
use crate::wire::imap::command::{Status, StatusItem};
use crate::wire::imap::response::list;
use crate::wire::imap::response::{Condition, tagged};

impl ImapSession {
    /// Tells figures of a mailbox (RFC 3501 §6.3.10).
    pub(super) fn status(&mut self, tag: String, status: &Status) {
        let Some(name) = self.name(&tag, &status.name) else {
            return;
        };
        let Some(mailbox) = self.account.mailbox(&name) else {
            return self.refuse(&tag, Refusal::NoSuchMailbox);
        };
        let mut reply = Vec::new();
        write_status(&mut reply, mailbox, &status.items);
        tagged(&mut reply, &tag, Condition::Ok, None, "STATUS completed");
        self.note_modseq(&status.items);
        self.confirm(tag, reply);
    }

    /// RFC 7162 §3.1: a client that asks for HIGHESTMODSEQ knows mod-sequences.
    pub(super) fn note_modseq(&mut self, items: &[StatusItem]) {
        self.condstore |= items.contains(&StatusItem::HighestModSeq);
    }
}

/// Writes one STATUS response.
pub(super) fn write_status(out: &mut Vec<u8>, mailbox: &Mailbox, items: &[StatusItem]) {
    let figures: Vec<String> = items.iter().map(|item| figure(mailbox, *item)).collect();
    list::status(out, &mailbox.name, &figures);
}

fn figure(mailbox: &Mailbox, item: StatusItem) -> String {
    let tally = mailbox.tally();
    match item {
        StatusItem::Messages => format!("MESSAGES {}", mailbox.len()),
        StatusItem::Recent => format!("RECENT {}", mailbox.recent()),
        StatusItem::UidNext => format!("UIDNEXT {}", mailbox.uid_next),
        StatusItem::UidValidity => format!("UIDVALIDITY {}", mailbox.uid_validity),
        StatusItem::Unseen => format!("UNSEEN {}", tally.unseen),
        StatusItem::Deleted => format!("DELETED {}", tally.deleted),
        StatusItem::DeletedStorage => format!("DELETED-STORAGE {}", tally.deleted_bytes),
        StatusItem::Size => format!("SIZE {}", tally.bytes),
        StatusItem::HighestModSeq => format!("HIGHESTMODSEQ {}", mailbox.highest_modseq),
        StatusItem::MailboxId => format!("MAILBOXID ({})", mailbox.id),
    }
}
