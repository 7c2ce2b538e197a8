//! `FETCH` (RFC 3501 §6.4.5): message after message, as the driver takes the answer.
//!
//! Three things are bounded, whatever the client asks for: the text made at once (a slice), the
//! messages whose first bytes are read ahead ([`AHEAD_MAX`]), and the pieces of a large body that
//! are under way ([`PIECES_MAX`]). Bodies come in the order they were asked for, so one queue tells
//! what each of them is.

mod current;
mod need;

use std::collections::VecDeque;

use bytes::Bytes;

use self::current::{Current, Step};
use self::need::Need;
use super::ask::Purpose;
use super::finish::Done;
use super::outbox::Outbox;
use super::view::{Access, SeqRange, View};
use super::{ImapSession, Phase};
use crate::mailbox::{FlagChange, Message, ModSeq, Request, SeqNo, SystemFlag, Uid, UidSet};
use crate::session::{BodyFault, BodyResult, Output};
use crate::wire::imap::command::{Fetch, FetchItem, Numbering};
use crate::wire::imap::response::Code;
use crate::wire::imap::response::message::vanished;

/// Messages whose first bytes are asked for before their turn.
const AHEAD_MAX: usize = 4;
/// Pieces of one body under way.
const PIECES_MAX: usize = 2;
/// The size of a piece.
const PIECE_BYTES: u64 = 64 * 1024;

/// A FETCH under way.
#[derive(Debug)]
pub struct Fetching {
    tag: String,
    numbering: Numbering,
    items: Vec<FetchItem>,
    need: Need,
    /// Only messages that changed later.
    changed_since: Option<ModSeq>,
    targets: Targets,
    /// Messages in turn, the next one first.
    ahead: VecDeque<Ahead>,
    /// What the bodies under way are, in their order.
    awaited: VecDeque<Awaited>,
    current: Option<Current>,
    /// Messages that were told and become `\Seen`; `None` if none do.
    seen: Option<Vec<Uid>>,
    /// Something could not be read.
    trouble: Option<BodyFault>,
}

/// A message whose turn will come.
#[derive(Debug)]
struct Ahead {
    seq: SeqNo,
    message: Message,
    /// Its first bytes, once they are there.
    first: Option<Result<Bytes, BodyFault>>,
}

/// What a body under way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The first bytes of a message ahead.
    First,
    /// A part of the current message, of this length.
    Piece(u64),
    /// The whole header that fields are selected from, of this length.
    Header(u64),
}

impl ImapSession {
    /// Begins to tell of messages.
    pub(super) fn fetch(&mut self, tag: String, fetch: Fetch) {
        let Some(view) = &self.view else {
            return;
        };
        let ranges = match view.resolve(&fetch.set, fetch.numbering) {
            Ok(ranges) => ranges,
            Err(bad) => return self.bad(Some(&tag), None, bad.0),
        };
        if fetch.vanished && !self.qresync {
            return self.bad(Some(&tag), None, "VANISHED needs ENABLE QRESYNC");
        }
        if let (true, Some(modseq)) = (fetch.vanished, fetch.changed_since) {
            let gone = view.vanished_since(ModSeq(modseq), &view.meant(&fetch.set));
            vanished(self.out.text(), "(EARLIER) ", &gone);
        }
        // RFC 3501 §6.3.2: nothing becomes \Seen in a mailbox opened with EXAMINE.
        let marks_seen = view.access == Access::ReadWrite && fetch.items.iter().any(marks_seen);
        self.condstore |= fetch.changed_since.is_some() || fetch.items.contains(&FetchItem::ModSeq);
        self.phase = Phase::Fetching(Box::new(Fetching {
            tag,
            numbering: fetch.numbering,
            need: Need::of(&fetch.items),
            items: fetch.items,
            changed_since: fetch.changed_since.map(ModSeq),
            targets: Targets::new(ranges),
            ahead: VecDeque::new(),
            awaited: VecDeque::new(),
            current: None,
            seen: marks_seen.then(Vec::new),
            trouble: None,
        }));
    }

    /// Writes more of the answer; `false` if bodies must come first.
    pub(super) fn fetch_more(&mut self, mut fetching: Box<Fetching>) -> bool {
        let Some(view) = &self.view else {
            return true;
        };
        let mut step = fetching.step(view, &mut self.out);
        while step == Step::Again && !self.out.is_full() {
            step = fetching.step(view, &mut self.out);
        }
        match step {
            Step::Done => self.fetched(*fetching),
            Step::Again => self.phase = Phase::Fetching(fetching),
            Step::Wait => {
                self.phase = Phase::Fetching(fetching);
                return false;
            }
        }
        true
    }

    /// Bytes of a body have come, for whatever is waiting for them.
    pub(super) fn on_body(&mut self, body: BodyResult) {
        match &mut self.phase {
            Phase::Fetching(fetching) => fetching.on_body(body, &mut self.out),
            Phase::Searching(searching) => {
                if let Some(view) = &self.view {
                    searching.on_body(view, body, &mut self.out);
                }
            }
            Phase::Ready | Phase::Idle(_) | Phase::Asked(_) | Phase::Confirming(_) | Phase::Telling(_) => {}
        }
    }

    /// All was told: marks messages seen, or completes the command.
    fn fetched(&mut self, fetching: Fetching) {
        let done = match fetching.trouble {
            None => Done::ok("FETCH completed"),
            // RFC 5530 §3.
            Some(BodyFault::Gone) => Done::no(Some(Code::Word("EXPUNGEISSUED")), "some messages are gone"),
            Some(BodyFault::Unavailable) => {
                Done::no(Some(Code::Word("UNAVAILABLE")), "some messages cannot be read now")
            }
        };
        let done = done.numbering(fetching.numbering);
        let seen: UidSet = fetching.seen.into_iter().flatten().collect();
        match &self.view {
            Some(view) if !seen.is_empty() => {
                let request = Request::Store {
                    mailbox: view.mailbox(),
                    uids: seen,
                    change: FlagChange::Add(SystemFlag::Seen.into()),
                    unchanged_since: None,
                };
                self.ask(fetching.tag, request, Purpose::Seen(done));
            }
            Some(_) | None => self.finish(&fetching.tag, done),
        }
    }
}

impl Fetching {
    /// Whether bytes announced to the client are still missing.
    pub fn is_within_literal(&self) -> bool {
        self.current.as_ref().is_some_and(Current::is_within_literal)
    }

    fn step(&mut self, view: &View, out: &mut Outbox) -> Step {
        self.read_ahead(view, out);
        if let Some(current) = &mut self.current {
            let step = current.write(view, &self.items, &mut self.awaited, out);
            if step != Step::Done {
                return step;
            }
            self.trouble = self.trouble.or(current.trouble());
            self.current = None;
            return Step::Again;
        }
        match self.ahead.front().map(|ahead| ahead.first.is_some()) {
            None => Step::Done,
            Some(false) => Step::Wait,
            Some(true) => {
                self.begin_next(out);
                Step::Again
            }
        }
    }

    /// Begins the message whose turn it is, or passes over it if it cannot be read.
    fn begin_next(&mut self, out: &mut Outbox) {
        let Some(Ahead { seq, message, first: Some(first) }) = self.ahead.pop_front() else {
            return;
        };
        match first {
            Ok(bytes) => {
                if let Some(seen) = &mut self.seen
                    && !message.flags.is_seen()
                {
                    seen.push(message.uid);
                }
                let window_start = self.need.first_bytes(&message).start;
                self.current = Some(Current::begin(seq, message, window_start, bytes, out));
            }
            Err(fault) => self.trouble = Some(fault),
        }
    }

    /// Takes messages into line and asks for their first bytes.
    fn read_ahead(&mut self, view: &View, out: &mut Outbox) {
        while self.ahead.len() < AHEAD_MAX {
            let Some(seq) = self.targets.next() else {
                return;
            };
            let Some(message) = view.at(seq) else {
                continue;
            };
            if self.changed_since.is_some_and(|since| message.modseq <= since) {
                continue;
            }
            let range = self.need.first_bytes(message);
            let first = range.is_empty().then(|| Ok(Bytes::new()));
            if first.is_none() {
                out.ask(Output::Read { body: message.body, range });
                self.awaited.push_back(Awaited::First);
            }
            self.ahead.push_back(Ahead { seq, message: message.clone(), first });
        }
    }

    fn on_body(&mut self, body: BodyResult, out: &mut Outbox) {
        match self.awaited.pop_front() {
            Some(Awaited::First) => self.on_first(body),
            Some(Awaited::Piece(length)) => match (&mut self.current, body) {
                (Some(current), Ok(bytes)) if bytes.len() as u64 == length => current.on_piece(&bytes, out),
                // Less than was announced can follow now: only the end of the connection is no lie.
                _ => out.close(),
            },
            Some(Awaited::Header(length)) => {
                let body = body.and_then(|bytes| exactly(bytes, length));
                if let Some(current) = &mut self.current {
                    current.on_header(body, &self.items, out);
                }
            }
            None => {}
        }
    }

    fn on_first(&mut self, body: BodyResult) {
        let waiting = self.ahead.iter_mut().find(|ahead| ahead.first.is_none());
        if let Some(ahead) = waiting {
            let range = self.need.first_bytes(&ahead.message);
            ahead.first = Some(body.and_then(|bytes| exactly(bytes, range.end - range.start)));
        }
    }
}

/// The bytes, if they are as many as were asked for.
fn exactly(bytes: Bytes, length: u64) -> BodyResult {
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(BodyFault::Unavailable),
    }
}

/// RFC 3501 §6.4.5: every section but those with `.PEEK` sets `\Seen`.
fn marks_seen(item: &FetchItem) -> bool {
    matches!(item, FetchItem::Section(section) if !section.peek)
}

/// The messages meant, one after the other.
#[derive(Debug)]
pub(super) struct Targets {
    ranges: std::vec::IntoIter<SeqRange>,
    /// What is left of the range begun.
    next: Option<SeqRange>,
}

impl Targets {
    pub(super) fn new(ranges: Vec<SeqRange>) -> Targets {
        Targets { ranges: ranges.into_iter(), next: None }
    }
}

impl Iterator for Targets {
    type Item = SeqNo;

    fn next(&mut self) -> Option<SeqNo> {
        let range = self.next.take().or_else(|| self.ranges.next())?;
        self.next = range.first.next().filter(|next| *next <= range.last).map(|first| SeqRange { first, ..range });
        Some(range.first)
    }
}
