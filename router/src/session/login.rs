//! The frame of every session before login: what happens in which order, whatever the protocol.
//!
//! Reading in lock step, the SASL exchange, TLS, the wait after a wrong password, deadlines, the end. A [`Dialect`] adds the
//! commands of its protocol and says everything in its words.

use std::{fmt, mem, time::Instant};

use laniakea_directory::Secret;

use super::{
    Fault, Forward, Input, LoginOutcome, LoginRequest, Moved, Output, Peer, Protection, Session,
    conduct::{Conduct, Settings, login_request},
    sasl::{Exchange, Step},
    throttle::Verdict,
};
use crate::wire::{
    line::{LineBuffer, LineError},
    sasl::{Credentials, Malformed, Response, decode_response, encode},
};

/// One connection until the account is known.
#[derive(Debug)]
pub struct Login<D> {
    pub(super) conduct: Conduct,
    pub(super) dialect: D,
    state: State,
}

/// What is particular to one protocol.
pub trait Dialect: fmt::Debug + Sized {
    /// Begins before the first byte.
    fn new() -> Self;

    /// Says the first words.
    fn greet(login: &mut Login<Self>);

    /// What the client sent and nobody has read.
    fn lines(&mut self) -> &mut LineBuffer;

    /// As [`Self::lines`], at the end.
    fn into_lines(self) -> LineBuffer;

    /// Obeys the next command; `false` if there is none yet.
    fn read_command(login: &mut Login<Self>, now: Instant) -> bool;

    /// Says something that every protocol says.
    fn say(&self, tag: &str, said: &Said<'_>) -> Vec<u8>;

    /// Adds what this protocol knows of who wants to log in.
    fn complete(&self, _request: &mut LoginRequest) {}

    /// Forgets what was said before TLS.
    fn forget(&mut self) {}
}

/// What every protocol says in its own words.
#[derive(Debug)]
pub enum Said<'a> {
    /// The server's part of an exchange, encoded.
    Challenge(&'a str),
    /// The login is accepted.
    Accepted {
        /// What the client may do from now on, if it is to be told.
        capabilities: Option<&'a str>,
        /// For people.
        text: &'a str,
    },
    /// The login failed.
    Refused(Fault),
    /// Another member has the account.
    Moved(&'a Moved),
    /// The client gave an exchange up.
    Cancelled,
    /// The client's part of an exchange cannot be understood.
    Malformed,
    /// There is no such mechanism.
    UnknownMechanism,
    /// A password may only be sent inside TLS.
    Unprotected,
    /// The handshake may begin.
    BeginTls,
    /// It may not.
    NoTls,
    /// The connection ends.
    Bye(Bye),
}

/// Why we end a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bye {
    /// The client goes on and on without a login.
    TooManyCommands,
    /// Too much of what it says cannot be understood.
    TooManyBad,
    /// It has guessed often enough.
    TooManyFailures,
    /// It took too long.
    TooLate,
    /// It sends more than we keep.
    TooMuch,
    /// Where its next line begins is unknown.
    LineTooLong,
    /// It wants bytes from before TLS to be taken for bytes from inside (CVE-2011-0411).
    DataBeforeTls,
    /// The process stops.
    Stopping,
}

impl Bye {
    /// Returns the reason for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::TooManyCommands => "too many commands before login",
            Self::TooManyBad => "too many bad commands",
            Self::TooManyFailures => "too many failed logins",
            Self::TooLate => "no login in time",
            Self::TooMuch => "too much at once",
            Self::LineTooLong => "line too long",
            Self::DataBeforeTls => "data after STARTTLS",
            Self::Stopping => "shutting down",
        }
    }
}

/// The tag is empty in protocols without tags.
#[derive(Debug)]
enum State {
    /// Waits for a command.
    Command,
    /// Waits for the client's part of an exchange.
    Sasl {
        tag: String,
        exchange: Exchange,
    },
    /// Waits for the driver to try a login.
    LoggingIn {
        tag: String,
    },
    /// Waits for the client's answer to whoever checks the login.
    Answering {
        tag: String,
    },
    /// Waits for the driver to give a login up.
    Abandoned {
        tag: String,
        is_cancelled: bool,
    },
    /// Waits before it says that a login failed.
    Delayed {
        until: Instant,
        reply: Vec<u8>,
    },
    /// Waits for the driver to do the handshake.
    StartingTls,
    LoggedIn,
    Closed,
}

impl<D: Dialect> Login<D> {
    /// Begins with the greeting.
    #[must_use]
    pub fn new(now: Instant, settings: Settings) -> Self {
        let mut login = Self { conduct: Conduct::new(now, settings), dialect: D::new(), state: State::Command };
        D::greet(&mut login);
        login
    }

    /// Counts a command, and ends the connection if it is one too many.
    pub(super) fn may_command(&mut self) -> bool {
        let may = self.conduct.may_command();
        if !may {
            self.end("", Bye::TooManyCommands);
        }
        may
    }

    /// Begins TLS if that is possible now.
    pub(super) fn on_start_tls(&mut self, tag: &str) {
        if !self.conduct.may_start_tls() {
            return self.on_bad(tag, &Said::NoTls);
        }
        match self.dialect.lines().drained() {
            Some(proof) => {
                self.say(tag, &Said::BeginTls);
                self.conduct.ask(Output::StartTls(proof));
                self.state = State::StartingTls;
            }
            None => self.end(tag, Bye::DataBeforeTls),
        }
    }

    /// Begins a SASL exchange.
    pub(super) fn on_auth(&mut self, now: Instant, tag: String, mechanism: &str, initial: Option<&[u8]>) {
        if self.conduct.may_log_in() {
            let step = Exchange::begin(&self.conduct.settings.mechanisms, mechanism, initial);
            self.on_step(now, tag, step);
        } else {
            self.say(&tag, &Said::Unprotected);
        }
    }

    /// Has a login tried.
    pub(super) fn on_credentials(&mut self, now: Instant, tag: String, credentials: Credentials) {
        if !self.conduct.may_log_in() {
            return self.say(&tag, &Said::Unprotected);
        }
        match login_request(tag.clone(), credentials, &self.conduct.claims) {
            Some(mut request) => {
                self.dialect.complete(&mut request);
                self.state = State::LoggingIn { tag };
                self.conduct.ask(Output::Login(request));
            }
            None => self.on_refused(now, &tag, Fault::BadCredentials),
        }
    }

    /// Says what is wrong with a command, and counts it.
    pub(super) fn on_bad(&mut self, tag: &str, said: &Said<'_>) {
        let reply = self.dialect.say(tag, said);
        self.on_bad_reply(reply);
    }

    /// As [`Self::on_bad`], in words that one protocol alone has.
    pub(super) fn on_bad_reply(&mut self, reply: Vec<u8>) {
        self.conduct.write(reply);
        if self.conduct.throttle.on_bad_command() == Verdict::Close {
            self.end("", Bye::TooManyBad);
        }
    }

    pub(super) fn say(&mut self, tag: &str, said: &Said<'_>) {
        let bytes = self.dialect.say(tag, said);
        self.conduct.write(bytes);
    }

    /// Ends the connection with a word.
    pub(super) fn end(&mut self, tag: &str, why: Bye) {
        self.say(tag, &Said::Bye(why));
        self.close();
    }

    pub(super) fn close(&mut self) {
        self.conduct.ask(Output::Close);
        self.state = State::Closed;
    }

    /// Reads on as far as the state allows: in lock step, one login at a time.
    fn advance(&mut self, now: Instant) {
        loop {
            let goes_on = match mem::replace(&mut self.state, State::Command) {
                State::Command => D::read_command(self, now),
                State::Sasl { tag, exchange } => self.read_exchange(now, tag, exchange),
                State::Answering { tag } => self.read_answer(tag),
                waiting => {
                    self.state = waiting;
                    false
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    fn read_exchange(&mut self, now: Instant, tag: String, exchange: Exchange) -> bool {
        match self.dialect.lines().next_line() {
            Ok(None) => {
                self.state = State::Sasl { tag, exchange };
                return false;
            }
            Ok(Some(line)) => self.on_step(now, tag, exchange.go_on(&line)),
            Err(LineError::TooLong) => self.end(&tag, Bye::LineTooLong),
            Err(LineError::BareLineBreak | LineError::Nul) => self.on_bad(&tag, &Said::Malformed),
        }
        true
    }

    fn read_answer(&mut self, tag: String) -> bool {
        let response = match self.dialect.lines().next_line() {
            Ok(None) => {
                self.state = State::Answering { tag };
                return false;
            }
            Ok(Some(line)) => decode_response(&line),
            Err(LineError::TooLong) => {
                self.end(&tag, Bye::LineTooLong);
                return false;
            }
            Err(LineError::BareLineBreak | LineError::Nul) => Err(Malformed),
        };
        let (state, output) = match response {
            Ok(Response::Data(data)) => (State::LoggingIn { tag }, Output::Answer(Secret::new(data.to_vec()))),
            Ok(Response::Cancel) => (State::Abandoned { tag, is_cancelled: true }, Output::Abandon),
            Err(Malformed) => (State::Abandoned { tag, is_cancelled: false }, Output::Abandon),
        };
        self.state = state;
        self.conduct.ask(output);
        false
    }

    fn on_step(&mut self, now: Instant, tag: String, step: Step) {
        match step {
            Step::Challenge(challenge, exchange) => {
                self.say(&tag, &Said::Challenge(challenge));
                self.state = State::Sasl { tag, exchange };
            }
            Step::Done(credentials) => self.on_credentials(now, tag, credentials),
            Step::Cancelled => self.say(&tag, &Said::Cancelled),
            Step::Malformed => self.on_bad(&tag, &Said::Malformed),
            Step::Unknown => self.say(&tag, &Said::UnknownMechanism),
        }
    }

    fn on_outcome(&mut self, now: Instant, outcome: LoginOutcome) {
        let tag = match mem::replace(&mut self.state, State::Command) {
            State::LoggingIn { tag } => tag,
            State::Abandoned { tag, is_cancelled: true } => return self.say(&tag, &Said::Cancelled),
            State::Abandoned { tag, is_cancelled: false } => return self.on_bad(&tag, &Said::Malformed),
            state => {
                self.state = state;
                return;
            }
        };
        match (outcome, self.conduct.settings.peer) {
            (LoginOutcome::Challenge(challenge), _) => {
                self.say(&tag, &Said::Challenge(&encode(&challenge)));
                self.state = State::Answering { tag };
            }
            (LoginOutcome::Accepted { capabilities, text }, _) => {
                self.say(&tag, &Said::Accepted { capabilities: capabilities.as_deref(), text: &text });
                self.state = State::LoggedIn;
            }
            (LoginOutcome::Relay(lines), _) => {
                self.conduct.write(lines);
                self.state = State::LoggedIn;
            }
            (LoginOutcome::Refused(fault), _) => self.on_refused(now, &tag, fault),
            (LoginOutcome::Moved(moved), Peer::Router) => {
                self.say(&tag, &Said::Moved(&moved));
                self.close();
            }
            // A client cannot follow, and must not see a ticket.
            (LoginOutcome::Moved(_), Peer::Client) => self.on_refused(now, &tag, Fault::Internal),
        }
    }

    fn on_refused(&mut self, now: Instant, tag: &str, fault: Fault) {
        let reply = self.dialect.say(tag, &Said::Refused(fault));
        match (fault, self.conduct.settings.peer) {
            (Fault::BadCredentials, Peer::Client) => {
                let until = now + self.conduct.throttle.on_failed_login();
                self.state = State::Delayed { until, reply };
            }
            _ => self.conduct.write(reply),
        }
    }

    fn on_tick(&mut self, now: Instant) {
        match mem::replace(&mut self.state, State::Command) {
            State::Delayed { until, reply } if until <= now => {
                self.conduct.write(reply);
                if self.conduct.throttle.verdict() == Verdict::Close {
                    self.end("", Bye::TooManyFailures);
                }
            }
            state => self.state = state,
        }
        // A login under way has a deadline of its own.
        let is_waiting =
            matches!(self.state, State::LoggingIn { .. } | State::Abandoned { .. } | State::LoggedIn | State::Closed);
        if now >= self.conduct.until() && !is_waiting {
            self.end("", Bye::TooLate);
        }
    }

    fn on_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.dialect.lines().push(bytes);
        self.advance(now);
        let held = self.dialect.lines().unread().len();
        if !matches!(self.state, State::Closed) && !self.conduct.may_hold(held) {
            self.end("", Bye::TooMuch);
        }
    }
}

impl<D: Dialect> Session for Login<D> {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Bytes(bytes) if !matches!(self.state, State::Closed) => self.on_bytes(now, bytes),
            Input::TlsDone(facts) if matches!(self.state, State::StartingTls) => {
                self.conduct.settings.protection = Protection::Active(facts);
                self.dialect.forget();
                self.state = State::Command;
            }
            Input::Login(outcome) => {
                self.on_outcome(now, outcome);
                self.advance(now);
            }
            Input::Tick => {
                self.on_tick(now);
                self.advance(now);
            }
            Input::Eof if !matches!(self.state, State::Closed) => self.close(),
            Input::Stop => self.conduct.is_stopping = true,
            Input::Bytes(_) | Input::TlsDone(_) | Input::Eof => {}
        }
        let is_with_client = matches!(self.state, State::Command | State::Sasl { .. } | State::Answering { .. });
        if self.conduct.is_stopping && is_with_client {
            self.end("", Bye::Stopping);
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.conduct.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Delayed { until, .. } => Some((*until).min(self.conduct.until())),
            State::LoggedIn | State::Closed => None,
            _ => Some(self.conduct.until()),
        }
    }

    fn is_logged_in(&self) -> bool {
        matches!(self.state, State::LoggedIn)
    }

    fn into_forward(self) -> Option<Forward> {
        matches!(self.state, State::LoggedIn).then(|| Forward { unread: self.dialect.into_lines().into_unread() })
    }
}
