//! IMAP4rev1 after login: the authenticated and the selected state (RFC 3501 §3.2, §3.3).
//!
//! Commands run one at a time, in the order they came. A command that needs an answer from outside
//! (the account's worker, the store, the read permit) leaves the session in a phase that says
//! which; no further command is read meanwhile.
//!
//! Whatever can be long is made by [`ImapSession::poll`] in slices, so that a session never holds
//! more than about a slice of output and a few bodies' bytes, however large the mailbox.
//!
//! Between commands a session is the account's id, the capabilities enabled, and the view; the view
//! is a mailbox id, a validity and the mod-sequence the client was last told of. That is all a new
//! owner needs in order to go on.

mod append;
mod ask;
mod dispatch;
mod fetch;
mod finish;
mod idle;
mod list;
mod names;
pub(super) mod outbox;
mod quota;
mod reply;
mod search;
mod select;
mod status;
mod store;
mod telling;
mod transfer;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::ask::Asked;
use self::fetch::Fetching;
use self::outbox::Outbox;
use self::search::Searching;
use self::telling::Telling;
use self::view::View;
use super::{Fault, Input, Output, Session, SessionSettings};
use crate::mailbox::Account;
use crate::wire::imap::read::{Event, Reader};
use crate::wire::imap::response::{Condition, untagged};

pub use self::reply::fault_code;

/// What a session can do, for `[CAPABILITY …]` in the completion of a login and for CAPABILITY.
///
/// A router may advertise the same, since it forwards everything after login unseen.
pub const CAPABILITIES: &str = "IMAP4rev1 LITERAL+ ID ENABLE IDLE NAMESPACE CHILDREN UIDPLUS UNSELECT MOVE \
                                MULTIAPPEND SPECIAL-USE CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS STATUS=SIZE \
                                ESEARCH SEARCHRES CONDSTORE QRESYNC OBJECTID SAVEDATE QUOTA QUOTA=RES-STORAGE";

/// How long a client may be silent: RFC 3501 §5.4 asks for 30 minutes at least, and clients in IDLE
/// come back every 29 (RFC 2177).
pub const SILENCE_MAX: Duration = Duration::from_secs(31 * 60);
/// Commands in a row that are not understood before the connection is given up.
pub const BAD_COMMANDS_MAX: u32 = 20;
/// Unread bytes beyond which no more are wanted while a command runs.
const UNREAD_BYTES_MAX: usize = 64 * 1024;

/// One client's session on one account.
#[derive(Debug)]
pub struct ImapSession {
    /// The newest published value.
    account: Arc<Account>,
    reader: Reader,
    out: Outbox,
    /// The selected mailbox, if there is one.
    view: Option<View>,
    /// The client has shown that it knows mod-sequences (RFC 7162 §3.1).
    condstore: bool,
    /// The client has enabled QRESYNC: it is told of expunges by UID (RFC 7162 §3.2.3).
    qresync: bool,
    phase: Phase,
    /// Commands in a row that were not understood.
    bad_commands: u32,
    /// When the client last said something.
    heard: Instant,
    /// The client will say no more.
    ended: bool,
}

/// What the session is doing.
#[derive(Debug)]
enum Phase {
    /// Reading the next command.
    Ready,
    /// Within IDLE, whose tag this is.
    Idle(String),
    /// Waiting for the account's answer.
    Asked(Box<Asked>),
    /// Waiting for the read permit, with the reply that needs it.
    Confirming(Box<Confirming>),
    /// Writing updates and then a completion.
    Telling(Box<Telling>),
    /// Within FETCH.
    Fetching(Box<Fetching>),
    /// Within SEARCH.
    Searching(Box<Searching>),
}

/// A reply that shows the present state for certain, once the permit is there.
#[derive(Debug)]
struct Confirming {
    tag: String,
    /// All of it, completion included.
    reply: Vec<u8>,
    /// What is selected from then on, if the command was to select.
    view: Option<View>,
    /// What follows the reply.
    telling: Option<Telling>,
}

impl ImapSession {
    /// A session whose client has just logged in to `account`, having sent `unread` after that.
    pub fn new(now: Instant, account: Arc<Account>, settings: &SessionSettings, unread: Vec<u8>) -> ImapSession {
        ImapSession {
            reader: Reader::new(settings.message_bytes_max, unread),
            account,
            out: Outbox::default(),
            view: None,
            condstore: false,
            qresync: false,
            phase: Phase::Ready,
            bad_commands: 0,
            heard: now,
            ended: false,
        }
    }

    /// Does the next thing that can be done without anything from outside; `false` if there is none.
    fn advance(&mut self) -> bool {
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Ready => self.read_command(),
            Phase::Idle(tag) => self.read_done(tag),
            Phase::Telling(telling) => self.tell(telling),
            Phase::Fetching(fetching) => self.fetch_more(fetching),
            Phase::Searching(searching) => self.search_more(searching),
            waiting @ (Phase::Asked(_) | Phase::Confirming(_)) => {
                self.phase = waiting;
                false
            }
        }
    }

    fn read_command(&mut self) -> bool {
        let Some(event) = self.reader.command() else {
            self.reader.shrink();
            if self.ended {
                self.out.close();
            }
            return false;
        };
        match event {
            Event::Command(raw) => self.run(&raw),
            Event::Continue => self.out.text().extend_from_slice(b"+ go on\r\n"),
            Event::Refused { tag, why } => self.refuse_oversized(tag.as_deref(), why),
            Event::Fatal(why) => self.bye(None, &why.to_string()),
        }
        true
    }

    fn tell(&mut self, mut telling: Box<Telling>) -> bool {
        if !telling.write(self.view.as_ref(), &mut self.out) {
            self.phase = Phase::Telling(telling);
        } else if let Some(tag) = telling.idle {
            self.phase = Phase::Idle(tag);
        }
        true
    }

    /// The permit is there: what was held back may go.
    fn on_permitted(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Confirming(mut confirming) => {
                self.out.text().append(&mut confirming.reply);
                if confirming.view.is_some() {
                    self.view = confirming.view;
                }
                if let Some(telling) = confirming.telling {
                    self.tell_later(telling);
                }
            }
            other => self.phase = other,
        }
    }

    fn on_fault(&mut self, fault: Fault) {
        if fault.is_final() {
            return self.end_by(fault);
        }
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Asked(asked) => self.fail(&asked.tag, fault),
            Phase::Confirming(confirming) => self.fail(&confirming.tag, fault),
            other => self.phase = other,
        }
    }

    /// Ends the session for a reason that is not the client's.
    fn end_by(&mut self, fault: Fault) {
        if let Phase::Fetching(fetching) = &self.phase
            && fetching.is_within_literal()
        {
            // Anything said now would be read as part of the message.
            return self.out.close();
        }
        self.bye(Some(fault_code(fault)), &fault.to_string());
    }

    fn bye(&mut self, code: Option<crate::wire::imap::response::Code>, text: &str) {
        untagged(self.out.text(), Condition::Bye, code.as_ref(), text);
        self.out.close();
        self.phase = Phase::Ready;
    }

    fn is_waiting_for_client(&self) -> bool {
        matches!(self.phase, Phase::Ready | Phase::Idle(_))
    }
}

impl Session for ImapSession {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.out.is_closed() {
            return;
        }
        if !self.is_waiting_for_client() {
            // Nobody is silent while we are the ones who work: a long download is no idling.
            self.heard = now;
        }
        match input {
            Input::Bytes(bytes) => {
                self.heard = now;
                self.reader.feed(bytes);
            }
            Input::Eof => self.ended = true,
            Input::State(account) => self.on_state(account),
            Input::Reply(reply) => self.on_reply(reply),
            Input::Body(body) => self.on_body(body),
            Input::Permitted => self.on_permitted(),
            Input::Failed(fault) => self.on_fault(fault),
            Input::Deadline => {
                if self.deadline().is_some_and(|deadline| deadline <= now) {
                    self.bye(None, "logged out after a long silence");
                }
            }
        }
    }

    fn poll(&mut self) -> Option<Output> {
        while !self.out.is_full() && !self.out.is_closed() && self.advance() {}
        self.out.take()
    }

    fn deadline(&self) -> Option<Instant> {
        self.is_waiting_for_client().then(|| self.heard + SILENCE_MAX)
    }

    fn wants_bytes(&self) -> bool {
        let has_room = self.is_waiting_for_client() || self.reader.buffered() < UNREAD_BYTES_MAX;
        has_room && !self.ended && !self.out.is_closed()
    }
}

#[cfg(test)]
mod dialogue_test;
#[cfg(test)]
mod session_test;
