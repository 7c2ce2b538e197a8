//! POP3 after login: the TRANSACTION and the UPDATE state (RFC 1939 §5 and §6, RFC 2449).
//!
//! The client sees INBOX as it was at login; that nobody else has it open by POP3 meanwhile is the driver's business.
//! Deletions are asked for at QUIT, all in one request, and nowhere else: a connection that ends in any other way deletes
//! nothing. Commands may be pipelined; they run one at a time, in order. Listings and messages are made in slices as the
//! client takes them.

mod maildrop;

use std::fmt::Display;
use std::io::Write;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use laniakea_router::wire::line::{LineBuffer, LineError};

use self::maildrop::{Maildrop, NoMessage};
use super::imap::outbox::Outbox;
use super::{BodyFault, BodyResult, Fault, Input, Output, Session, SessionSettings};
use crate::mailbox::{Account, Reply, Request};
use crate::store::BodyRef;
use crate::wire::pop3::{COMMAND_BYTES_MAX, Command, Transparency, parse};

/// How long a client may be silent: RFC 1939 §3 asks for 10 minutes at least.
pub const SILENCE_MAX: Duration = Duration::from_secs(11 * 60);
/// Commands in a row that are not understood before the connection is given up.
pub const BAD_COMMANDS_MAX: u32 = 20;
/// Unread bytes beyond which no more are wanted while a command runs.
const UNREAD_BYTES_MAX: usize = 16 * 1024;
/// How much of a message is read at once.
const READ_BYTES: u64 = 128 * 1024;
/// What is on offer (RFC 2449 §6). The login's part is repeated: a client may ask only now.
const CAPABILITIES: &str = "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUSER\r\nSASL PLAIN LOGIN\r\n\
                            EXPIRE NEVER\r\nIMPLEMENTATION Laniakea\r\n";

/// One client's session on one account.
#[derive(Debug)]
pub struct Pop3Session {
    maildrop: Maildrop,
    lines: LineBuffer,
    out: Outbox,
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
    /// Waiting for the proof that the maildrop is the present one.
    Opening,
    /// Reading the next command.
    Ready,
    /// Within LIST or UIDL.
    Listing { what: Listing, next: u32 },
    /// Within RETR or TOP.
    Sending(Sending),
    /// Waiting for the account to remove what was deleted (the UPDATE state).
    Updating,
}

#[derive(Debug, Clone, Copy)]
enum Listing {
    Sizes,
    UniqueIds,
}

/// A message on its way to the client.
#[derive(Debug)]
struct Sending {
    body: BodyRef,
    size: u32,
    /// What of the body record is still to be read.
    rest: Range<u64>,
    transparency: Transparency,
    /// Whether the client was told that the message follows.
    announced: bool,
}

impl Pop3Session {
    /// A session whose client has just logged in to `account`, having sent `unread` after that.
    #[must_use]
    pub fn new(now: Instant, account: &Arc<Account>, _settings: &SessionSettings, unread: Vec<u8>) -> Self {
        let mut out = Outbox::default();
        out.ask(Output::Permit);
        Self {
            maildrop: Maildrop::new(account),
            lines: LineBuffer::with_unread(COMMAND_BYTES_MAX, unread),
            out,
            phase: Phase::Opening,
            bad_commands: 0,
            heard: now,
            ended: false,
        }
    }

    /// Does the next thing that can be done without anything from outside; `false` if there is none.
    fn advance(&mut self) -> bool {
        match &self.phase {
            Phase::Opening | Phase::Sending(_) | Phase::Updating => false,
            Phase::Ready => self.read_line(),
            Phase::Listing { what, next } => {
                let (what, next) = (*what, *next);
                self.list_more(what, next);
                true
            }
        }
    }

    fn read_line(&mut self) -> bool {
        match self.lines.next_line() {
            Ok(Some(line)) => match parse(&line) {
                Ok(command) => {
                    self.bad_commands = 0;
                    self.run(command);
                }
                Err(malformed) => self.on_bad(malformed),
            },
            Ok(None) => {
                if self.ended {
                    self.out.close();
                }
                return false;
            }
            Err(LineError::TooLong) => self.end("line too long"),
            Err(error @ (LineError::BareLineBreak | LineError::Nul)) => self.on_bad(error),
        }
        true
    }

    fn run(&mut self, command: Command) {
        match command {
            Command::Stat => {
                let (count, bytes) = self.maildrop.size();
                self.say(format_args!("+OK {count} {bytes}"));
            }
            Command::List(None) => self.list(Listing::Sizes),
            Command::Uidl(None) => self.list(Listing::UniqueIds),
            Command::List(Some(number)) => self.list_one(Listing::Sizes, number),
            Command::Uidl(Some(number)) => self.list_one(Listing::UniqueIds, number),
            Command::Retr(number) => self.send(number, Transparency::whole()),
            Command::Top { message, lines } => self.send(message, Transparency::top(lines)),
            Command::Dele(number) => match self.maildrop.delete(number) {
                Ok(()) => self.say(format_args!("+OK message {number} deleted")),
                Err(error) => self.refuse(error),
            },
            Command::Rset => {
                self.maildrop.reset();
                let (count, bytes) = self.maildrop.size();
                self.say(format_args!("+OK maildrop has {count} messages ({bytes} octets)"));
            }
            Command::Noop => self.say("+OK"),
            Command::Capa => self.say(format_args!("+OK capabilities follow\r\n{CAPABILITIES}.")),
            Command::Quit => self.quit(),
        }
    }

    fn list(&mut self, what: Listing) {
        let (count, bytes) = self.maildrop.size();
        match what {
            Listing::Sizes => self.say(format_args!("+OK {count} messages ({bytes} octets)")),
            Listing::UniqueIds => self.say("+OK unique-id listing follows"),
        }
        self.phase = Phase::Listing { what, next: 1 };
    }

    /// Writes entries until there are enough for one slice.
    fn list_more(&mut self, what: Listing, mut next: u32) {
        while next <= self.maildrop.highest() && !self.out.is_full() {
            if let Ok(entry) = self.entry(what, next) {
                self.say(entry);
            }
            next += 1;
        }
        if next > self.maildrop.highest() {
            self.say(".");
            self.phase = Phase::Ready;
        } else {
            self.phase = Phase::Listing { what, next };
        }
    }

    fn list_one(&mut self, what: Listing, number: u32) {
        match self.entry(what, number) {
            Ok(entry) => self.say(format_args!("+OK {entry}")),
            Err(error) => self.refuse(error),
        }
    }

    fn entry(&self, what: Listing, number: u32) -> Result<String, NoMessage> {
        let message = self.maildrop.message(number)?;
        Ok(match what {
            Listing::Sizes => format!("{number} {}", message.size),
            Listing::UniqueIds => format!("{number} {}", self.maildrop.unique_id(message)),
        })
    }

    fn send(&mut self, number: u32, transparency: Transparency) {
        let (body, size, start) = match self.maildrop.message(number) {
            Ok(message) => (message.body, message.size, u64::from(message.summary_len)),
            Err(error) => return self.refuse(error),
        };
        let rest = start..start + u64::from(size);
        self.send_more(Sending { body, size, rest, transparency, announced: false });
    }

    /// Asks for the next piece of the message, or ends it.
    fn send_more(&mut self, mut sending: Sending) {
        if sending.rest.is_empty() {
            sending.announce(&mut self.out);
            sending.transparency.finish(self.out.text());
            self.phase = Phase::Ready;
            return;
        }
        let piece = sending.rest.start..sending.rest.end.min(sending.rest.start + READ_BYTES);
        sending.rest.start = piece.end;
        self.out.ask(Output::Read { body: sending.body, range: piece });
        self.phase = Phase::Sending(sending);
    }

    fn on_body(&mut self, result: BodyResult) {
        let mut sending = match mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Sending(sending) => sending,
            other => {
                self.phase = other;
                return;
            }
        };
        match result {
            Ok(bytes) => {
                sending.announce(&mut self.out);
                if sending.transparency.feed(&bytes, self.out.text()) {
                    sending.rest.start = sending.rest.end;
                }
                self.send_more(sending);
            }
            // In the middle of a message nothing can be said that would not be read as part of it.
            Err(_) if sending.announced => self.out.close(),
            Err(BodyFault::Gone) => self.say("-ERR message is gone"),
            Err(BodyFault::Unavailable) => self.say("-ERR [SYS/TEMP] message cannot be read now"),
        }
    }

    /// RFC 1939 §6: only now are messages removed.
    fn quit(&mut self) {
        match self.maildrop.doomed() {
            Some((mailbox, uids)) => {
                self.out.ask(Output::Ask(Request::Remove { mailbox, uids }));
                self.phase = Phase::Updating;
            }
            None => self.bye("+OK bye"),
        }
    }

    fn on_reply(&mut self, reply: &Reply) {
        if !matches!(self.phase, Phase::Updating) {
            return;
        }
        match reply {
            Reply::Refused(_) => self.bye("-ERR [SYS/PERM] some deleted messages not removed"),
            _ => self.bye("+OK bye"),
        }
    }

    fn on_permitted(&mut self) {
        if matches!(self.phase, Phase::Opening) {
            self.phase = Phase::Ready;
        }
    }

    /// RFC 3206 tells a fault of ours from one of the client's.
    fn on_fault(&mut self, fault: Fault) {
        let code = match fault {
            Fault::Unavailable | Fault::Departed | Fault::ShuttingDown | Fault::Kicked | Fault::ReadOnly => "SYS/TEMP",
            Fault::Internal => "SYS/PERM",
        };
        match &self.phase {
            Phase::Sending(sending) if sending.announced => self.out.close(),
            Phase::Listing { .. } => self.out.close(),
            // The outcome may be unknown: what was not removed is there at the next login.
            Phase::Updating => self.bye(format_args!("-ERR [{code}] some deleted messages not removed: {fault}")),
            Phase::Opening | Phase::Ready | Phase::Sending(_) => self.bye(format_args!("-ERR [{code}] {fault}")),
        }
    }

    fn on_bad(&mut self, why: impl Display) {
        self.bad_commands += 1;
        if self.bad_commands > BAD_COMMANDS_MAX {
            self.end("too many bad commands");
        } else {
            self.refuse(why);
        }
    }

    fn end(&mut self, why: &str) {
        self.bye(format_args!("-ERR {why}"));
    }

    fn bye(&mut self, line: impl Display) {
        self.say(line);
        self.out.close();
        self.phase = Phase::Ready;
    }

    fn refuse(&mut self, why: impl Display) {
        self.say(format_args!("-ERR {why}"));
    }

    fn say(&mut self, line: impl Display) {
        say(&mut self.out, line);
    }
}

impl Sending {
    /// Says that the message follows, once it is known that it can be read.
    fn announce(&mut self, out: &mut Outbox) {
        if !self.announced {
            say(out, format_args!("+OK {} octets", self.size));
            self.announced = true;
        }
    }
}

fn say(out: &mut Outbox, line: impl Display) {
    // Writing to memory cannot fail.
    let _ = write!(out.text(), "{line}\r\n");
}

impl Session for Pop3Session {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.out.is_closed() {
            return;
        }
        match input {
            Input::Bytes(bytes) => {
                self.heard = now;
                self.lines.push(bytes);
            }
            Input::Eof => self.ended = true,
            // The maildrop is the one of the login.
            Input::State(_) => {}
            Input::Reply(reply) => self.on_reply(&reply),
            Input::Body(body) => self.on_body(body),
            Input::Permitted => self.on_permitted(),
            Input::Failed(fault) => self.on_fault(fault),
            // RFC 1939 §3: the session ends without removing anything.
            Input::Deadline => {
                if self.deadline().is_some_and(|deadline| deadline <= now) {
                    self.end("logged out after a long silence");
                }
            }
        }
    }

    fn poll(&mut self) -> Option<Output> {
        while !self.out.is_full() && !self.out.is_closed() && self.advance() {}
        self.out.take()
    }

    fn deadline(&self) -> Option<Instant> {
        matches!(self.phase, Phase::Ready).then(|| self.heard + SILENCE_MAX)
    }

    fn wants_bytes(&self) -> bool {
        let has_room = matches!(self.phase, Phase::Ready) || self.lines.unread().len() < UNREAD_BYTES_MAX;
        has_room && !self.ended && !self.out.is_closed()
    }
}

#[cfg(test)]
mod dialogue_test;
