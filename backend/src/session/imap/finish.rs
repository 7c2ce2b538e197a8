//! The end of every command: what the view has missed, then the completion.

use std::sync::Arc;

use super::reply::{fault_code, name_code, refusal_code};
use super::telling::{Manner, Telling};
use super::view::{Numbers, Updates};
use super::{ImapSession, Phase};
use crate::mailbox::{Account, MailboxName, NameError, Refusal, SeqNo, UidSet};
use crate::session::Fault;
use crate::wire::imap::command::{Numbering, WireName};
use crate::wire::imap::response::{Code, Condition, tagged};

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    condition: Condition,
    code: Option<Code>,
    text: String,
    numbers: Numbers,
    numbering: Numbering,
    /// What is to be told besides what happened.
    also: Also,
}

/// Changes whose telling the command itself decides.
#[derive(Debug, Default)]
pub enum Also {
    /// None.
    #[default]
    Nothing,
    /// The flags of these, changed or not.
    Flags(UidSet),
    /// Of those that changed, all but these.
    AllBut(UidSet),
    /// Of these, nothing but the mod-sequence.
    ModSeqs(UidSet),
}

impl Done {
    /// It was done.
    pub fn ok(text: impl Into<String>) -> Done {
        Done::new(Condition::Ok, None, text)
    }

    /// It was not done.
    pub fn no(code: Option<Code>, text: impl Into<String>) -> Done {
        Done::new(Condition::No, code, text)
    }

    fn new(condition: Condition, code: Option<Code>, text: impl Into<String>) -> Done {
        Done {
            condition,
            code,
            text: text.into(),
            numbers: Numbers::MayChange,
            numbering: Numbering::Sequence,
            also: Also::Nothing,
        }
    }

    /// With a code for the client's program.
    pub fn code(mut self, code: Option<Code>) -> Done {
        self.code = code;
        self
    }

    /// With or without expunges being told.
    pub fn numbers(mut self, numbers: Numbers) -> Done {
        self.numbers = numbers;
        self
    }

    /// As the end of FETCH, STORE or SEARCH, by number or by UID.
    ///
    /// RFC 3501 §7.4.1 forbids EXPUNGE in the former; the latter are other commands, which do not
    /// count in sequence numbers, and tell UIDs with everything.
    pub fn numbering(mut self, numbering: Numbering) -> Done {
        self.numbering = numbering;
        self.numbers = match numbering {
            Numbering::Sequence => Numbers::Keep,
            Numbering::Uid => Numbers::MayChange,
        };
        self
    }

    /// With something told in any case, or in no case.
    pub fn also(mut self, also: Also) -> Done {
        self.also = also;
        self
    }
}

impl ImapSession {
    /// Ends the command: updates first, then its completion.
    pub(super) fn finish(&mut self, tag: &str, done: Done) {
        let mut finally = Vec::new();
        tagged(&mut finally, tag, done.condition, done.code.as_ref(), &done.text);
        let mut updates = self.update(done.numbers);
        let silent = self.apply_also(done.also, &mut updates);
        let mut manner = self.manner();
        manner.uid |= done.numbering == Numbering::Uid;
        manner.silent = silent;
        self.tell_later(Telling::new(updates, manner, finally));
    }

    /// How this client is told of changes.
    pub(super) fn manner(&self) -> Manner {
        // RFC 7162 §3.2.4: whoever knows mod-sequences is told them, and UIDs, with every change.
        Manner { uid: self.condstore, modseq: self.condstore, vanished: self.qresync, silent: Vec::new() }
    }

    /// Adds to the updates what is told in any case; returns what is told without its flags.
    fn apply_also(&self, also: Also, updates: &mut Updates) -> Vec<SeqNo> {
        let Some(view) = &self.view else {
            return Vec::new();
        };
        let numbers = |uids: UidSet| uids.iter().filter_map(|uid| view.find(uid)).collect::<Vec<_>>();
        let mut silent = Vec::new();
        match also {
            Also::Nothing => {}
            Also::Flags(uids) => updates.flagged.extend(numbers(uids)),
            Also::AllBut(uids) => {
                let others = numbers(uids);
                updates.flagged.retain(|seq| others.binary_search(seq).is_err());
            }
            Also::ModSeqs(uids) => {
                silent = numbers(uids);
                updates.flagged.extend(&silent);
            }
        }
        updates.flagged.sort_unstable();
        updates.flagged.dedup();
        silent
    }

    /// Puts updates in line; they are written as the driver takes them.
    pub(super) fn tell_later(&mut self, telling: Telling) {
        if !self.out.is_closed() {
            self.phase = Phase::Telling(Box::new(telling));
        }
    }

    /// Whether the client has not been told everything.
    pub(super) fn has_changes(&self) -> bool {
        let Some(view) = &self.view else {
            return false;
        };
        match self.account.by_id(view.mailbox()) {
            Some(newest) => view.has_ghosts() || newest.highest_modseq != view.told().highest_modseq,
            None => true,
        }
    }

    /// Brings the view up to the newest value.
    pub(super) fn update(&mut self, numbers: Numbers) -> Updates {
        let Some(view) = &mut self.view else {
            return Updates::default();
        };
        let newest = self.account.by_id(view.mailbox());
        match newest.filter(|newest| newest.uid_validity == view.told().uid_validity) {
            Some(newest) => view.update(newest, numbers),
            None => {
                // RFC 2180 §3.3: the selected mailbox is gone, and with it all that numbers meant.
                self.view = None;
                self.bye(None, "the selected mailbox was deleted");
                Updates::default()
            }
        }
    }

    /// Takes a newer value; within IDLE its changes are told at once (RFC 2177 §3).
    pub(super) fn on_state(&mut self, account: Arc<Account>) {
        self.account = account;
    }

    /// Ends a command that the account refused.
    pub(super) fn refuse(&mut self, tag: &str, refusal: Refusal) {
        self.finish(tag, Done::no(refusal_code(refusal), refusal.to_string()));
    }

    /// Ends a command for a reason that is not the client's.
    pub(super) fn fail(&mut self, tag: &str, fault: Fault) {
        self.finish(tag, Done::no(Some(fault_code(fault)), fault.to_string()));
    }

    /// The mailbox name a client wrote, or the end of the command if it is none.
    pub(super) fn name(&mut self, tag: &str, wire: &WireName) -> Option<MailboxName> {
        let text = std::str::from_utf8(wire).map_err(|_| NameError::Encoding);
        match text.and_then(MailboxName::parse_utf7) {
            Ok(name) => Some(name),
            Err(error) => {
                self.finish(tag, Done::no(Some(name_code(error)), error.to_string()));
                None
            }
        }
    }
}
