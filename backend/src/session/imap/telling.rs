//! Writes updates of the view, slice by slice, and then the end of whatever they belong to.

use super::outbox::Outbox;
use super::select::write_flags_in_use;
use super::view::{Updates, View};
use crate::mailbox::{Message, SeqNo, UidSet};
use crate::wire::imap::response::message::{flags, vanished};
use crate::wire::imap::response::text::print;

/// Updates on their way to the client.
#[derive(Debug)]
pub struct Telling {
    keywords: bool,
    expunged: std::vec::IntoIter<SeqNo>,
    vanished: UidSet,
    exists: Option<usize>,
    flagged: std::vec::IntoIter<SeqNo>,
    manner: Manner,
    /// What follows the updates: a completion, or nothing within IDLE.
    finally: Vec<u8>,
    /// The tag of the IDLE that goes on afterwards.
    pub idle: Option<String>,
}

/// What an unasked FETCH tells of a message.
#[derive(Debug, Default)]
pub struct Manner {
    /// Its UID: within UID commands (RFC 3501 §6.4.8).
    pub uid: bool,
    /// Its mod-sequence: for clients that know of them (RFC 7162 §3.1).
    pub modseq: bool,
    /// Expunges by UID, as VANISHED (RFC 7162 §3.2.10).
    pub vanished: bool,
    /// Of these, ascending, not the flags: after STORE with `.SILENT` (RFC 7162 §3.1.3).
    pub silent: Vec<SeqNo>,
}

impl Telling {
    /// Updates to be told in a manner, and what follows them.
    pub fn new(updates: Updates, manner: Manner, finally: Vec<u8>) -> Telling {
        Telling {
            keywords: updates.keywords,
            expunged: updates.expunged.into_iter(),
            vanished: updates.vanished,
            exists: updates.exists,
            flagged: updates.flagged.into_iter(),
            manner,
            finally,
            idle: None,
        }
    }

    /// Writes until all is said (`true`) or the outbox is full.
    pub fn write(&mut self, view: Option<&View>, out: &mut Outbox) -> bool {
        if self.manner.vanished && self.expunged.len() > 0 {
            self.expunged = Vec::new().into_iter();
            vanished(out.text(), "", &self.vanished);
        }
        for seq in self.expunged.by_ref() {
            print(out.text(), format_args!("* {seq} EXPUNGE\r\n"));
            if out.is_full() {
                return false;
            }
        }
        let Some(view) = view else {
            out.text().append(&mut self.finally);
            return true;
        };
        if std::mem::take(&mut self.keywords) {
            write_flags_in_use(out.text(), view);
        }
        if let Some(exists) = self.exists.take() {
            print(out.text(), format_args!("* {exists} EXISTS\r\n* {} RECENT\r\n", view.recent()));
        }
        for seq in self.flagged.by_ref() {
            if let Some(message) = view.at(seq) {
                self.manner.write(out.text(), view, seq, message);
            }
            if out.is_full() {
                return false;
            }
        }
        out.text().append(&mut self.finally);
        true
    }
}

impl Manner {
    /// Writes one FETCH with nothing but what may have changed.
    fn write(&self, out: &mut Vec<u8>, view: &View, seq: SeqNo, message: &Message) {
        print(out, format_args!("* {seq} FETCH ("));
        let mut space = "";
        if self.uid {
            print(out, format_args!("UID {}", message.uid));
            space = " ";
        }
        if self.modseq {
            print(out, format_args!("{space}MODSEQ ({})", message.modseq));
            space = " ";
        }
        if self.silent.binary_search(&seq).is_err() {
            out.extend_from_slice(space.as_bytes());
            flags(out, &message.flags, view.recency(message));
        }
        out.extend_from_slice(b")\r\n");
    }
}
