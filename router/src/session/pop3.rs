//! POP3's AUTHORIZATION state (RFC 1939 §4, RFC 2449, RFC 2595 §4, RFC 5034).
//!
//! Greeting, CAPA, STLS, USER and PASS, AUTH, QUIT; nothing else, not even NOOP. The account is locked at login by the
//! member that opens it, not here.

use std::{mem, time::Instant};

use super::{
    Fault, Forward, Input, LoginOutcome, Output, Peer, Protection, Session,
    conduct::{Conduct, Settings, login_request},
    sasl::{Exchange, MECHANISMS, Step},
    throttle::Verdict,
};
use crate::wire::{
    line::{LineBuffer, LineError},
    pop3::{Command, LINE_BYTES_MAX, Malformed, parse},
    sasl::Credentials,
};

/// What is on offer before and after login (RFC 2449 §6, RFC 3206 §5).
const CAPABILITIES: [&str; 5] = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"];

/// One POP3 connection until the account is known.
#[derive(Debug)]
pub struct Pop3Login {
    conduct: Conduct,
    lines: LineBuffer,
    /// Whom the last USER named; what stands there is checked with the password.
    name: Option<Vec<u8>>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waits for a command.
    Command,
    /// Waits for the client's part of an exchange.
    Sasl(Exchange),
    /// Waits for the driver to try a login.
    LoggingIn,
    /// Waits before it says that a login failed.
    Delayed {
        until: Instant,
        reply: &'static str,
    },
    /// Waits for the driver to do the handshake.
    StartingTls,
    LoggedIn,
    Closed,
}

impl Pop3Login {
    /// Begins with the greeting. It has no time stamp: APOP needs passwords stored in the clear.
    #[must_use]
    pub fn new(now: Instant, settings: Settings) -> Self {
        let mut conduct = Conduct::new(now, settings);
        // Where Dovecot's proxies look for it.
        let xclient = if conduct.settings.believes_claims { "[XCLIENT] " } else { "" };
        let greeting = format!("+OK {xclient}{} ready", conduct.settings.host);
        conduct.say(greeting);
        Self { conduct, lines: LineBuffer::new(LINE_BYTES_MAX), name: None, state: State::Command }
    }

    /// Reads on as far as the state allows: in lock step, one login at a time.
    fn advance(&mut self, now: Instant) {
        while matches!(self.state, State::Command | State::Sasl(_)) {
            match self.lines.next_line() {
                Ok(None) => return,
                Ok(Some(line)) => self.on_line(now, &line),
                Err(LineError::TooLong) => self.end("line too long"),
                Err(LineError::BareLineBreak) => self.on_bad("lines end with CRLF"),
                Err(LineError::Nul) => self.on_bad("NUL in a line"),
            }
        }
    }

    fn on_line(&mut self, now: Instant, line: &[u8]) {
        if let State::Sasl(exchange) = mem::replace(&mut self.state, State::Command) {
            return self.on_sasl(now, exchange.go_on(line));
        }
        if !self.conduct.may_command() {
            return self.end("too many commands before login");
        }
        match parse(line) {
            Ok(command) => self.on_command(now, command),
            Err(Malformed::TooLong) => self.end("line too long"),
            Err(Malformed::Arguments) => self.on_bad("malformed command"),
        }
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Capa => self.list_capabilities(),
            Command::Stls => self.on_stls(),
            Command::Xclient(claims) => {
                self.conduct.claims = claims;
                self.conduct.say("+OK");
            }
            Command::Quit => {
                self.conduct.say("+OK bye");
                self.close();
            }
            Command::User(_) | Command::Pass(_) | Command::Auth { .. } if !self.conduct.may_log_in() => {
                self.conduct.say("-ERR [SYS/PERM] begin TLS first");
            }
            // Says the same for everybody (RFC 1939 §7 allows it): whether there is such an account stays untold.
            Command::User(name) => {
                self.name = Some(name);
                self.conduct.say("+OK now the password");
            }
            Command::Pass(secret) => match self.name.take() {
                Some(name) => self.on_credentials(now, Credentials { authzid: None, name, secret }),
                None => self.on_bad("USER comes first"),
            },
            Command::Auth { mechanism, .. } if mechanism.is_empty() => self.list_mechanisms(),
            Command::Auth { mechanism, initial } => {
                self.on_sasl(now, Exchange::begin(&mechanism, initial.as_deref()));
            }
            Command::Other => self.on_bad("unknown command, or one that needs a login"),
        }
    }

    fn list_capabilities(&mut self) {
        self.conduct.say("+OK");
        CAPABILITIES.iter().for_each(|capability| self.conduct.say(capability));
        if self.conduct.may_log_in() {
            self.conduct.say("USER");
            self.conduct.say(format_args!("SASL {}", MECHANISMS.join(" ")));
        }
        if self.conduct.may_start_tls() {
            self.conduct.say("STLS");
        }
        if self.conduct.settings.believes_claims {
            self.conduct.say("XCLIENT");
        }
        self.conduct.say(".");
    }

    /// A bare AUTH asks for the mechanisms, as clients from before RFC 2449 do.
    fn list_mechanisms(&mut self) {
        self.conduct.say("+OK");
        MECHANISMS.iter().for_each(|mechanism| self.conduct.say(mechanism));
        self.conduct.say(".");
    }

    fn on_stls(&mut self) {
        if !self.conduct.may_start_tls() {
            return self.on_bad("TLS is not available now");
        }
        match self.lines.drained() {
            Some(proof) => {
                self.conduct.say("+OK begin TLS now");
                self.conduct.ask(Output::StartTls(proof));
                self.state = State::StartingTls;
            }
            // Whoever put bytes behind STLS wants them to be taken for bytes from inside TLS (CVE-2011-0411).
            None => self.end("data after STLS"),
        }
    }

    fn on_sasl(&mut self, now: Instant, step: Step) {
        match step {
            Step::Challenge(challenge, exchange) => {
                self.conduct.say(format_args!("+ {challenge}"));
                self.state = State::Sasl(exchange);
            }
            Step::Done(credentials) => self.on_credentials(now, credentials),
            Step::Cancelled => self.conduct.say("-ERR authentication cancelled"),
            Step::Malformed => self.on_bad("malformed response"),
            Step::Unknown => self.conduct.say("-ERR unsupported mechanism"),
        }
    }

    fn on_credentials(&mut self, now: Instant, credentials: Credentials) {
        match login_request(String::new(), credentials, &self.conduct.claims) {
            Some(request) => {
                self.state = State::LoggingIn;
                self.conduct.ask(Output::Login(request));
            }
            None => self.on_refused(now, Fault::BadCredentials),
        }
    }

    fn on_outcome(&mut self, now: Instant, outcome: LoginOutcome) {
        if !matches!(self.state, State::LoggingIn) {
            return;
        }
        self.state = State::Command;
        match (outcome, self.conduct.settings.peer) {
            (LoginOutcome::Accepted { text, .. }, _) => {
                self.conduct.say(format_args!("+OK {text}"));
                self.state = State::LoggedIn;
            }
            (LoginOutcome::Relay(lines), _) => {
                self.conduct.write(lines);
                self.state = State::LoggedIn;
            }
            (LoginOutcome::Refused(fault), _) => self.on_refused(now, fault),
            (LoginOutcome::Moved(moved), Peer::Router) => {
                self.conduct.say(format_args!("-ERR [{moved}] another member has this account"));
                self.close();
            }
            // A client cannot follow, and must not see a ticket.
            (LoginOutcome::Moved(_), Peer::Client) => self.on_refused(now, Fault::Internal),
        }
    }

    fn on_refused(&mut self, now: Instant, fault: Fault) {
        match (fault, self.conduct.settings.peer) {
            (Fault::BadCredentials, Peer::Client) => {
                let until = now + self.conduct.throttle.on_failed_login();
                self.state = State::Delayed { until, reply: fault.pop3_reply() };
            }
            _ => self.conduct.say(fault.pop3_reply()),
        }
    }

    fn on_tick(&mut self, now: Instant) {
        match self.state {
            State::Delayed { until, reply } if until <= now => {
                self.conduct.say(reply);
                self.state = State::Command;
                if self.conduct.throttle.verdict() == Verdict::Close {
                    self.close();
                }
            }
            _ => {}
        }
        // A login under way has a deadline of its own.
        let is_waiting = matches!(self.state, State::LoggingIn | State::LoggedIn | State::Closed);
        if now >= self.conduct.until() && !is_waiting {
            self.end("no login in time");
        }
    }

    fn on_bad(&mut self, text: &str) {
        self.conduct.say(format_args!("-ERR {text}"));
        if self.conduct.throttle.on_bad_command() == Verdict::Close {
            self.close();
        }
    }

    fn end(&mut self, text: &str) {
        self.conduct.say(format_args!("-ERR {text}"));
        self.close();
    }

    fn close(&mut self) {
        self.conduct.ask(Output::Close);
        self.state = State::Closed;
    }
}

impl Session for Pop3Login {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Bytes(bytes) if !matches!(self.state, State::Closed) => {
                self.lines.push(bytes);
                self.advance(now);
                let is_open = !matches!(self.state, State::Closed);
                if is_open && !self.conduct.may_hold(self.lines.unread().len()) {
                    self.end("too much at once");
                }
            }
            Input::TlsDone(facts) if matches!(self.state, State::StartingTls) => {
                self.conduct.settings.protection = Protection::Active(facts);
                // What was said before TLS is forgotten (RFC 2595 §4).
                self.name = None;
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
        // Without a word: a server says nothing in POP3 that it was not asked for.
        if self.conduct.is_stopping && matches!(self.state, State::Command | State::Sasl(_)) {
            self.close();
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.conduct.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Delayed { until, .. } => Some(until.min(self.conduct.until())),
            State::LoggedIn | State::Closed => None,
            _ => Some(self.conduct.until()),
        }
    }

    fn is_logged_in(&self) -> bool {
        matches!(self.state, State::LoggedIn)
    }

    fn into_forward(self) -> Option<Forward> {
        matches!(self.state, State::LoggedIn).then(|| Forward { unread: self.lines.into_unread() })
    }
}
