//! `STORE` (RFC 3501 §6.4.6, RFC 7162 §3.1.3).

use super::ImapSession;
use super::ask::Purpose;
use super::finish::{Also, Done};
use super::view::{Access, SeqRange, View};
use crate::mailbox::{FlagChange, ModSeq, Reply, Request, SeqNo, Uid, UidSet};
use crate::wire::imap::command::{Numbering, Store, StoreMode};
use crate::wire::imap::response::Code;
use crate::wire::imap::response::search::number_set;

/// A STORE that was asked for.
#[derive(Debug)]
pub struct StoreAsked {
    numbering: Numbering,
    mode: StoreMode,
    change: FlagChange,
    /// The messages meant.
    ranges: Vec<SeqRange>,
    conditional: bool,
}

impl ImapSession {
    /// Changes flags.
    pub(super) fn store(&mut self, tag: String, store: Store) {
        let Some(view) = &self.view else {
            return;
        };
        if view.access == Access::ReadOnly {
            return self.finish(&tag, read_only().numbering(store.numbering));
        }
        let ranges = match view.resolve(&store.set, store.numbering) {
            Ok(ranges) => ranges,
            Err(bad) => return self.bad(Some(&tag), None, bad.0),
        };
        let request = Request::Store {
            mailbox: view.mailbox(),
            uids: view.uids(&ranges),
            change: store.change.clone(),
            unchanged_since: store.unchanged_since.map(ModSeq),
        };
        self.condstore |= store.unchanged_since.is_some();
        let asked = StoreAsked {
            numbering: store.numbering,
            mode: store.mode,
            change: store.change,
            ranges,
            conditional: store.unchanged_since.is_some(),
        };
        self.ask(tag, request, Purpose::Store(Box::new(asked)));
    }

    /// The flags were changed, but for those of `modified`.
    pub(super) fn stored(&mut self, tag: &str, store: StoreAsked, reply: Reply) {
        let Reply::Stored { modified, .. } = reply else {
            return self.finish(tag, Done::ok("STORE completed").numbering(store.numbering));
        };
        let Some(view) = &self.view else {
            return;
        };
        let also = self.also(view, &store, &modified);
        let done = match modified.is_empty() {
            true => Done::ok("STORE completed"),
            // RFC 7162 §3.1.3: this is OK, since a part of the command was carried out.
            false => Done::ok("conditional STORE completed in part").code(modified_code(view, &store, &modified)),
        };
        self.finish(tag, done.numbering(store.numbering).also(also));
    }

    /// Which flags are told besides those that others changed.
    fn also(&self, view: &View, store: &StoreAsked, modified: &UidSet) -> Also {
        let meant = view.uids(&store.ranges);
        let stored: UidSet = meant.iter().filter(|uid| !modified.contains(*uid)).collect();
        match store.mode {
            // RFC 3501 §6.4.6: the values after the command are returned, changed or not.
            StoreMode::Loud => Also::Flags(stored),
            // RFC 7162 §3.1.3: the new mod-sequence is told even so.
            StoreMode::Silent if store.conditional || self.condstore => {
                Also::ModSeqs(self.as_expected(view, store, &stored))
            }
            StoreMode::Silent => Also::AllBut(self.as_expected(view, store, &stored)),
        }
    }

    /// Those of the messages whose flags are what the client can work out by itself.
    ///
    /// RFC 3501 §6.4.6: `.SILENT` must not hide what somebody else changed meanwhile.
    fn as_expected(&self, view: &View, store: &StoreAsked, stored: &UidSet) -> UidSet {
        let Some(newest) = self.account.by_id(view.mailbox()) else {
            return UidSet::new();
        };
        let is_expected = |uid: &Uid| {
            let known = view.find(*uid).and_then(|seq| view.at(seq));
            let now = newest.find(*uid);
            known.zip(now).is_some_and(|(known, (_, now))| store.change.apply_to(&known.flags) == now.flags)
        };
        stored.iter().filter(is_expected).collect()
    }
}

/// The refusal of every change to a mailbox that was opened with EXAMINE.
pub(super) fn read_only() -> Done {
    Done::no(Some(Code::Word("NOPERM")), "the mailbox is selected read-only")
}

/// `MODIFIED` in the numbers of the command.
fn modified_code(view: &View, store: &StoreAsked, modified: &UidSet) -> Option<Code> {
    if store.numbering == Numbering::Uid {
        return Some(Code::Modified(modified.to_string()));
    }
    let numbers: Vec<u32> = modified.iter().filter_map(|uid| view.find(uid)).map(SeqNo::get).collect();
    let mut set = Vec::new();
    number_set(&mut set, &numbers);
    String::from_utf8(set).ok().map(Code::Modified)
}
