//! Logins at servers of other kinds, as machines: we are the client.
//!
//! Such a server gets nothing but the native protocol, written anew from parsed values: greeting, capabilities, STARTTLS
//! where it is asked for, a word on whose connection it is, and the login. What it promises is not known in advance, so
//! only what it has announced is used; a login is never sent before the TLS that the settings ask for.
//!
//! **Architecture invariant:** as in every session: no socket, no clock. The driver limits the time.

mod imap;
mod pop3;

use std::{collections::VecDeque, net::SocketAddr};

use laniakea_directory::Secret;
use zeroize::Zeroizing;

use super::{Fault, LoginRequest};
use crate::{
    handoff::SessionId,
    wire::{
        line::{Drained, LineBuffer, LineError},
        sasl::{decode, encode},
    },
};

pub use imap::ImapForeign;
pub use pop3::Pop3Foreign;

/// Longest line of such a server: its capabilities, or a challenge (RFC 5034 §4).
const LINE_BYTES_MAX: usize = 12_288;
/// Lines until the verdict: capabilities twice, one a line in POP3, and whatever else it has to say.
const LINES_MAX: usize = 200;

/// One login at a server of another kind. A protocol adds what to do with each line; the frame is the same for all.
pub trait ForeignLogin {
    /// What is said and heard.
    fn talk(&mut self) -> &mut Talk;

    /// Hears one line of the server.
    fn on_line(&mut self, line: &str);

    /// Begins anew inside TLS: what was said before is forgotten.
    fn on_encrypted(&mut self);

    /// Tells the machine what happened.
    fn handle(&mut self, input: Input<'_>) {
        match input {
            Input::Bytes(bytes) => self.talk().lines.push(bytes),
            Input::TlsDone => {
                self.talk().tls = Tls::Active;
                self.on_encrypted();
            }
            Input::Answer(answer) => {
                let answer = encode(answer.expose());
                self.talk().say(&answer);
            }
        }
        while let Some(line) = self.talk().next_line() {
            self.on_line(&line);
        }
    }

    /// Takes the next thing to do; to be called until there is none.
    fn poll(&mut self) -> Option<Output> {
        self.talk().outputs.pop_front()
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The server sent bytes.
    Bytes(&'a [u8]),
    /// The handshake that [`Output::StartTls`] asked for is done.
    TlsDone,
    /// What the client says to [`Output::Ask`].
    Answer(&'a Secret),
}

/// What the driver is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes.
    Write(Zeroizing<Vec<u8>>),
    /// Begin TLS, then [`Input::TlsDone`]; the proof says that the server sent nothing too early.
    StartTls(Drained),
    /// Ask the client, then [`Input::Answer`].
    Ask(Vec<u8>),
    /// The login is over.
    End(Verdict),
}

/// How a login ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The account is open.
    LoggedIn {
        /// The lines for the client, with their CRLFs.
        reply_lines: Vec<u8>,
        /// What the server sent behind them.
        unread: Vec<u8>,
    },
    /// The server said no.
    Refused(Fault),
    /// The server cannot be used; for the log.
    Unusable(&'static str),
}

/// How to go about a login.
#[derive(Debug, Clone)]
pub struct Approach {
    /// Who wants to log in.
    pub request: LoginRequest,
    /// Whether TLS is to be begun first.
    pub start_tls: bool,
    /// Whose connection it is, if the server is to be told.
    pub introduction: Option<Introduction>,
}

/// Whose connection it is, as Dovecot and others are told with ID (IMAP) and XCLIENT (POP3, SMTP, LMTP). They believe it
/// of networks they trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Introduction {
    /// The client.
    pub client: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
    /// The session's name in every log.
    pub session: SessionId,
    /// How many more proxies the connection may pass.
    pub ttl: u8,
}

/// What every machine keeps besides its state.
#[derive(Debug)]
pub struct Talk {
    lines: LineBuffer,
    outputs: VecDeque<Output>,
    heard: usize,
    tls: Tls,
    is_over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    Off,
    /// Nothing is read before the handshake is done.
    Handshake,
    Active,
}

impl Talk {
    fn new() -> Self {
        Self {
            lines: LineBuffer::new(LINE_BYTES_MAX),
            outputs: VecDeque::new(),
            heard: 0,
            tls: Tls::Off,
            is_over: false,
        }
    }

    fn say(&mut self, line: &str) {
        self.outputs.push_back(Output::Write(Zeroizing::new([line.as_bytes(), b"\r\n"].concat())));
    }

    /// The server's next line, as text.
    fn next_line(&mut self) -> Option<String> {
        if self.is_over || self.tls == Tls::Handshake {
            return None;
        }
        let line = match self.lines.next_line() {
            Ok(line) => line?,
            Err(LineError::TooLong | LineError::BareLineBreak | LineError::Nul) => return self.unusable("no lines"),
        };
        self.heard += 1;
        if self.heard > LINES_MAX {
            return self.unusable("talks without end");
        }
        match String::from_utf8(line) {
            Ok(line) => Some(line),
            Err(_) => self.unusable("no text"),
        }
    }

    /// Begins TLS, if the server has sent nothing behind its consent: such bytes would be taken for bytes from inside.
    fn start_tls(&mut self) {
        match self.lines.drained() {
            Some(proof) => {
                self.tls = Tls::Handshake;
                self.outputs.push_back(Output::StartTls(proof));
            }
            None => {
                self.unusable::<()>("data before the handshake");
            }
        }
    }

    /// Passes a challenge on to the client.
    fn ask(&mut self, challenge: &str) {
        match decode(challenge.as_bytes()) {
            Ok(challenge) => self.outputs.push_back(Output::Ask(challenge.to_vec())),
            Err(_) => {
                self.unusable::<()>("a challenge that is none");
            }
        }
    }

    fn is_encrypted(&self) -> bool {
        self.tls == Tls::Active
    }

    fn logged_in(&mut self, reply_lines: String) {
        let lines = std::mem::replace(&mut self.lines, LineBuffer::new(LINE_BYTES_MAX));
        self.end(Verdict::LoggedIn { reply_lines: reply_lines.into_bytes(), unread: lines.into_unread() });
    }

    fn unusable<T>(&mut self, why: &'static str) -> Option<T> {
        self.end(Verdict::Unusable(why));
        None
    }

    fn end(&mut self, verdict: Verdict) {
        self.is_over = true;
        self.outputs.push_back(Output::End(verdict));
    }
}

#[cfg(test)]
mod dialogue_test;
