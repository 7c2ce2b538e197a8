//! `SEARCH` (RFC 3501 §6.4.4, RFC 4731): message after message, reading only what the criteria need.
//!
//! Most searches are answered from the index. The others say, message by message, how much of a
//! body record they must see; a few of those reads are under way at a time, so that a search
//! through a large mailbox holds a few bodies and no more.

mod criteria;

use std::collections::VecDeque;

use bytes::Bytes;

use super::fetch::Targets;
use super::finish::Done;
use super::outbox::Outbox;
use super::view::{SeqRange, View};
use super::{ImapSession, Phase};
use crate::mailbox::search::{Criterion, Outcome, Subject};
use crate::mailbox::{Message, ModSeq, SeqNo, Timestamp, Uid, UidSet};
use crate::session::{BodyFault, BodyResult, Output};
use crate::wire::imap::command::{Numbering, ReturnOption, Search};
use crate::wire::imap::response::Code;
use crate::wire::imap::response::message::Recency;
use crate::wire::imap::response::search::{Found, esearch, search};

/// Messages whose bytes are read at a time.
const OPEN_MAX: usize = 4;
/// Messages judged before the driver has its turn again.
const SLICE_MESSAGES: usize = 1000;

/// A SEARCH under way.
#[derive(Debug)]
pub struct Searching {
    tag: String,
    numbering: Numbering,
    returns: Option<Vec<ReturnOption>>,
    names_modseq: bool,
    criterion: Criterion,
    targets: Targets,
    /// Messages that cannot be judged before bytes come, in the order they were asked for.
    open: VecDeque<Open>,
    hits: Vec<Hit>,
    /// Something could not be read: what was found is not all.
    trouble: Option<BodyFault>,
}

/// A message that waits for bytes.
#[derive(Debug)]
struct Open {
    seq: SeqNo,
    message: Message,
}

/// A message that is what was asked for.
#[derive(Debug, Clone, Copy)]
struct Hit {
    seq: SeqNo,
    uid: Uid,
    modseq: ModSeq,
}

impl ImapSession {
    /// Begins to look for messages.
    pub(super) fn search(&mut self, tag: String, search: Search) {
        let Some(view) = &self.view else {
            return;
        };
        if search.charset.as_deref().is_some_and(|charset| !is_known(charset)) {
            // RFC 3501 §6.4.4: the code lists what may be used instead.
            let code = Code::Word("BADCHARSET (US-ASCII UTF-8)");
            self.forget_saved(&search.returns);
            return self.finish(&tag, Done::no(Some(code), "unknown charset").numbering(search.numbering));
        }
        let criterion = match criteria::of(&search.keys, view) {
            Ok(criterion) => criterion,
            Err(bad) => return self.bad(Some(&tag), None, bad.0),
        };
        let names_modseq = search.names_modseq();
        self.condstore |= names_modseq;
        let all = SeqNo::from_index(view.len().saturating_sub(1));
        let all = (view.len() > 0).then_some(SeqRange { first: SeqNo::MIN, last: all });
        self.phase = Phase::Searching(Box::new(Searching {
            tag,
            numbering: search.numbering,
            returns: search.returns,
            names_modseq,
            criterion,
            targets: Targets::new(all.into_iter().collect()),
            open: VecDeque::new(),
            hits: Vec::new(),
            trouble: None,
        }));
    }

    /// Looks at more messages; `false` if bytes must come first.
    pub(super) fn search_more(&mut self, mut searching: Box<Searching>) -> bool {
        let Some(view) = &self.view else {
            return true;
        };
        let more = searching.judge_more(view, &mut self.out);
        if !more && searching.open.is_empty() {
            self.searched(*searching);
            return true;
        }
        self.phase = Phase::Searching(searching);
        more
    }

    /// RFC 5182 §2.1: a search that was to be saved and fails leaves nothing saved.
    fn forget_saved(&mut self, returns: &Option<Vec<ReturnOption>>) {
        let wants_save = returns.as_ref().is_some_and(|returns| returns.contains(&ReturnOption::Save));
        if let (true, Some(view)) = (wants_save, &mut self.view) {
            view.save(UidSet::new());
        }
    }

    fn searched(&mut self, mut searching: Searching) {
        if searching.trouble.is_some() {
            self.forget_saved(&searching.returns);
            let done = Done::no(Some(Code::Word("UNAVAILABLE")), "some messages cannot be read now");
            return self.finish(&searching.tag, done.numbering(searching.numbering));
        }
        searching.hits.sort_unstable_by_key(|hit| hit.seq);
        let found = searching.found();
        if searching.wants(ReturnOption::Save)
            && let Some(view) = &mut self.view
        {
            view.save(searching.saved());
        }
        match &searching.returns {
            // RFC 5182 §2.4: nothing is told if nothing but saving was asked for.
            Some(options) if options.iter().all(|option| *option == ReturnOption::Save) => {}
            Some(options) => esearch(self.out.text(), &searching.tag, searching.numbering, options, &found),
            None => search(self.out.text(), &found),
        }
        self.finish(&searching.tag, Done::ok("SEARCH completed").numbering(searching.numbering));
    }
}

impl Searching {
    /// Judges messages until a slice is done (`true`), bytes must come, or none are left (`false`).
    fn judge_more(&mut self, view: &View, out: &mut Outbox) -> bool {
        for _ in 0..SLICE_MESSAGES {
            if self.open.len() >= OPEN_MAX {
                return false;
            }
            let Some(seq) = self.targets.next() else {
                return false;
            };
            if let Some(message) = view.at(seq) {
                self.judge(view, Open { seq, message: message.clone() }, &Bytes::new(), out);
            }
        }
        true
    }

    /// Judges a message by as much of its record as is there, and asks for more if need be.
    fn judge(&mut self, view: &View, open: Open, record: &Bytes, out: &mut Outbox) {
        let is_recent = view.recency(&open.message) == Recency::Recent;
        let subject = Subject { message: &open.message, is_recent, now: Timestamp(0) };
        match self.criterion.judge(&subject, record) {
            Outcome::Differs => {}
            Outcome::Matches => {
                self.hits.push(Hit { seq: open.seq, uid: open.message.uid, modseq: open.message.modseq });
            }
            Outcome::Needs(range) => {
                out.ask(Output::Read { body: open.message.body, range });
                self.open.push_back(open);
            }
        }
    }

    /// The bytes of the message that has waited longest.
    pub fn on_body(&mut self, view: &View, body: BodyResult, out: &mut Outbox) {
        let Some(open) = self.open.pop_front() else {
            return;
        };
        match body {
            Ok(record) => self.judge(view, open, &record, out),
            // A message that is gone is none that could be found.
            Err(BodyFault::Gone) => {}
            Err(BodyFault::Unavailable) => self.trouble = Some(BodyFault::Unavailable),
        }
    }

    fn found(&self) -> Found {
        Found {
            numbers: self.hits.iter().map(|hit| hit.number(self.numbering)).collect(),
            modseq: self.names_modseq.then(|| self.modseq_told()).flatten(),
        }
    }

    /// The highest mod-sequence of what is told (RFC 7162 §3.1.5, RFC 4731 §3.2).
    fn modseq_told(&self) -> Option<ModSeq> {
        self.told().map(|hit| hit.modseq).max()
    }

    /// What `$` is to mean (RFC 5182 §2.4).
    fn saved(&self) -> UidSet {
        self.told().map(|hit| hit.uid).collect()
    }

    /// The messages an answer is about: the ends alone if only they were asked for, else all.
    fn told(&self) -> impl Iterator<Item = &Hit> {
        use ReturnOption::{All, Count, Max, Min};
        let ends_only = (self.wants(Min) || self.wants(Max)) && !self.wants(All) && !self.wants(Count);
        let last = self.hits.len().saturating_sub(1);
        self.hits.iter().enumerate().filter_map(move |(index, hit)| {
            let is_end = (index == 0 && self.wants(Min)) || (index == last && self.wants(Max));
            (!ends_only || is_end).then_some(hit)
        })
    }

    fn wants(&self, option: ReturnOption) -> bool {
        self.returns.as_ref().is_some_and(|returns| returns.contains(&option))
    }
}

impl Hit {
    fn number(self, numbering: Numbering) -> u32 {
        match numbering {
            Numbering::Sequence => self.seq.get(),
            Numbering::Uid => self.uid.get(),
        }
    }
}

/// Texts are compared in Unicode; what else a text may come in we need not know.
fn is_known(charset: &str) -> bool {
    matches!(charset, "US-ASCII" | "UTF-8")
}
