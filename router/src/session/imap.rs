//! IMAP until the account is known (RFC 9051 §6.1, §6.2).
//!
//! Greeting, CAPABILITY, NOOP, ID, LOGOUT, STARTTLS, LOGIN, AUTHENTICATE; nothing else. The capabilities are those every
//! member keeps after login; a client that needs more asks again then, as RFC 9051 §6.1.1 says.

use std::{mem, time::Instant};

use super::{
    Fault, Forward, Input, LoginOutcome, Output, Peer, Protection, Session,
    conduct::{Conduct, Settings, login_request},
    sasl::{Exchange, MECHANISMS, Step},
    throttle::Verdict,
};
use crate::wire::{
    imap::{Command, Malformed, parse, tag_of},
    line::LineError,
    literal::{CommandError, CommandLimits, CommandReader, Piece},
    sasl::Credentials,
};

/// What is on offer before login whatever the protection. LITERAL- because a literal has a limit here (RFC 7888 §5).
const CAPABILITIES: &str = "IMAP4rev1 LITERAL- SASL-IR ID ENABLE IDLE";

/// One IMAP connection until the account is known.
#[derive(Debug)]
pub struct ImapLogin {
    conduct: Conduct,
    reader: CommandReader,
    state: State,
}

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
    /// Waits before it says that a login failed.
    Delayed {
        until: Instant,
        reply: String,
    },
    /// Waits for the driver to do the handshake.
    StartingTls,
    LoggedIn,
    Closed,
}

impl ImapLogin {
    /// Begins with the greeting (RFC 9051 §7.1.5, with the capabilities §7.1 allows in it).
    #[must_use]
    pub fn new(now: Instant, settings: Settings) -> Self {
        let mut conduct = Conduct::new(now, settings);
        let greeting = format!("* OK [CAPABILITY {}] {} ready", capabilities(&conduct), conduct.settings.host);
        conduct.say(greeting);
        Self { conduct, reader: CommandReader::new(CommandLimits::BEFORE_LOGIN), state: State::Command }
    }

    /// Reads on as far as the state allows: in lock step, one login at a time.
    fn advance(&mut self, now: Instant) {
        loop {
            let goes_on = match mem::replace(&mut self.state, State::Command) {
                State::Command => self.read_command(now),
                State::Sasl { tag, exchange } => self.read_sasl(now, tag, exchange),
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

    /// Whether there may be more to read.
    fn read_command(&mut self, now: Instant) -> bool {
        match self.reader.next_piece() {
            Ok(None) => return false,
            Ok(Some(Piece::Announced)) => self.conduct.say("+ go ahead"),
            Ok(Some(Piece::Command(_))) if !self.conduct.may_command() => self.bye("too many commands before login"),
            Ok(Some(Piece::Command(command))) => match parse(&command) {
                Ok((tag, command)) => self.on_command(now, tag, command),
                Err(Malformed { tag }) => self.on_bad(tag.as_deref(), "malformed command"),
            },
            Err(error) => self.on_unreadable(&error),
        }
        true
    }

    fn read_sasl(&mut self, now: Instant, tag: String, exchange: Exchange) -> bool {
        match self.reader.next_line() {
            Ok(None) => {
                self.state = State::Sasl { tag, exchange };
                return false;
            }
            Ok(Some(line)) => self.on_sasl(now, tag, exchange.go_on(&line)),
            Err(LineError::TooLong) => self.on_fatal(Some(&tag), "line too long"),
            Err(LineError::BareLineBreak | LineError::Nul) => self.on_bad(Some(&tag), "malformed response"),
        }
        true
    }

    fn on_command(&mut self, now: Instant, tag: String, command: Command) {
        match command {
            Command::Capability => {
                let capabilities = capabilities(&self.conduct);
                self.conduct.say(format_args!("* CAPABILITY {capabilities}"));
                self.conduct.say(format_args!("{tag} OK done"));
            }
            Command::Noop => self.conduct.say(format_args!("{tag} OK done")),
            Command::Id(claims) => {
                self.conduct.claims = *claims;
                self.conduct.say("* ID (\"name\" \"Laniakea\")");
                self.conduct.say(format_args!("{tag} OK done"));
            }
            Command::Logout => {
                self.conduct.say("* BYE logging out");
                self.conduct.say(format_args!("{tag} OK done"));
                self.close();
            }
            Command::StartTls => self.on_start_tls(&tag),
            Command::Login { name, secret } => {
                self.on_credentials(now, tag, Credentials { authzid: None, name, secret });
            }
            Command::Authenticate { mechanism, initial } if self.conduct.may_log_in() => {
                self.on_sasl(now, tag, Exchange::begin(&mechanism, initial.as_deref()));
            }
            Command::Authenticate { .. } => self.refuse_unprotected(&tag),
            Command::Other => self.on_bad(Some(&tag), "unknown command, or one that needs a login"),
        }
    }

    fn on_start_tls(&mut self, tag: &str) {
        if !self.conduct.may_start_tls() {
            return self.on_bad(Some(tag), "TLS is not available now");
        }
        match self.reader.drained() {
            Some(proof) => {
                self.conduct.say(format_args!("{tag} OK begin TLS now"));
                self.conduct.ask(Output::StartTls(proof));
                self.state = State::StartingTls;
            }
            // Whoever put bytes behind STARTTLS wants them to be taken for bytes from inside TLS (CVE-2011-0411).
            None => self.on_fatal(Some(tag), "data after STARTTLS"),
        }
    }

    fn on_sasl(&mut self, now: Instant, tag: String, step: Step) {
        match step {
            Step::Challenge(challenge, exchange) => {
                // The space belongs there even if nothing follows (RFC 9051 §7.6).
                self.conduct.say(format_args!("+ {challenge}"));
                self.state = State::Sasl { tag, exchange };
            }
            Step::Done(credentials) => self.on_credentials(now, tag, credentials),
            Step::Cancelled => self.conduct.say(format_args!("{tag} BAD authentication cancelled")),
            Step::Malformed => self.on_bad(Some(&tag), "malformed response"),
            Step::Unknown => self.conduct.say(format_args!("{tag} NO unsupported mechanism")),
        }
    }

    fn on_credentials(&mut self, now: Instant, tag: String, credentials: Credentials) {
        if !self.conduct.may_log_in() {
            return self.refuse_unprotected(&tag);
        }
        match login_request(tag.clone(), credentials, &self.conduct.claims) {
            Some(request) => {
                self.state = State::LoggingIn { tag };
                self.conduct.ask(Output::Login(request));
            }
            None => self.on_refused(now, &tag, Fault::BadCredentials),
        }
    }

    fn on_outcome(&mut self, now: Instant, outcome: LoginOutcome) {
        let State::LoggingIn { tag } = mem::replace(&mut self.state, State::Command) else { return };
        match (outcome, self.conduct.settings.peer) {
            (LoginOutcome::Accepted { capabilities: Some(list), text }, _) => {
                self.conduct.say(format_args!("{tag} OK [CAPABILITY {list}] {text}"));
                self.state = State::LoggedIn;
            }
            (LoginOutcome::Accepted { capabilities: None, text }, _) => {
                self.conduct.say(format_args!("{tag} OK {text}"));
                self.state = State::LoggedIn;
            }
            (LoginOutcome::Relay(lines), _) => {
                self.conduct.write(lines);
                self.state = State::LoggedIn;
            }
            (LoginOutcome::Refused(fault), _) => self.on_refused(now, &tag, fault),
            (LoginOutcome::Moved(moved), Peer::Router) => {
                self.conduct.say(format_args!("{tag} NO [{moved}] another member has this account"));
                self.close();
            }
            // A client cannot follow, and must not see a ticket.
            (LoginOutcome::Moved(_), Peer::Client) => self.on_refused(now, &tag, Fault::Internal),
        }
    }

    fn on_refused(&mut self, now: Instant, tag: &str, fault: Fault) {
        let reply = format!("{tag} {}", fault.imap_reply());
        match (fault, self.conduct.settings.peer) {
            (Fault::BadCredentials, Peer::Client) => {
                let until = now + self.conduct.throttle.on_failed_login();
                self.state = State::Delayed { until, reply };
            }
            _ => self.conduct.say(reply),
        }
    }

    fn on_tick(&mut self, now: Instant) {
        match mem::replace(&mut self.state, State::Command) {
            State::Delayed { until, reply } if until <= now => {
                self.conduct.say(reply);
                if self.conduct.throttle.verdict() == Verdict::Close {
                    self.bye("too many failed logins");
                }
            }
            state => self.state = state,
        }
        // A login under way has a deadline of its own.
        let is_waiting = matches!(self.state, State::LoggingIn { .. } | State::LoggedIn | State::Closed);
        if now >= self.conduct.until() && !is_waiting {
            self.bye("no login in time");
        }
    }

    fn on_unreadable(&mut self, error: &CommandError) {
        const LITERAL_TOO_LONG: &str = "[TOOBIG] literal too long before login";
        match error {
            CommandError::LiteralRefused { command } => self.on_bad(tag_of(command).as_deref(), LITERAL_TOO_LONG),
            // RFC 7888 §4 leaves the choice between reading it all and ending the connection; §5 asks for TOOBIG.
            CommandError::LiteralTooLong { command } => self.on_fatal(tag_of(command).as_deref(), LITERAL_TOO_LONG),
            CommandError::Line(LineError::TooLong) => self.on_fatal(None, "line too long"),
            CommandError::Line(LineError::BareLineBreak) => self.on_bad(None, "lines end with CRLF"),
            CommandError::Line(LineError::Nul) => self.on_bad(None, "NUL in a command"),
        }
    }

    fn on_bad(&mut self, tag: Option<&str>, text: &str) {
        self.conduct.say(format_args!("{} BAD {text}", tag.unwrap_or("*")));
        if self.conduct.throttle.on_bad_command() == Verdict::Close {
            self.bye("too many bad commands");
        }
    }

    /// Where the next command begins is unknown or too far away.
    fn on_fatal(&mut self, tag: Option<&str>, text: &str) {
        self.conduct.say(format_args!("{} BAD {text}", tag.unwrap_or("*")));
        self.bye(text);
    }

    fn refuse_unprotected(&mut self, tag: &str) {
        self.conduct.say(format_args!("{tag} NO [PRIVACYREQUIRED] begin TLS first"));
    }

    fn bye(&mut self, text: &str) {
        self.conduct.say(format_args!("* BYE {text}"));
        self.close();
    }

    fn close(&mut self) {
        self.conduct.ask(Output::Close);
        self.state = State::Closed;
    }
}

impl Session for ImapLogin {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Bytes(bytes) if !matches!(self.state, State::Closed) => {
                self.reader.push(bytes);
                self.advance(now);
                let is_open = !matches!(self.state, State::Closed);
                if is_open && !self.conduct.may_hold(self.reader.unread().len()) {
                    self.bye("too much at once");
                }
            }
            Input::TlsDone(facts) if matches!(self.state, State::StartingTls) => {
                self.conduct.settings.protection = Protection::Active(facts);
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
        if self.conduct.is_stopping && matches!(self.state, State::Command | State::Sasl { .. }) {
            self.bye("[UNAVAILABLE] shutting down");
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
        matches!(self.state, State::LoggedIn).then(|| Forward { unread: self.reader.into_unread() })
    }
}

/// Lists what is on offer now (RFC 9051 §6.2.3: no LOGIN where it would be refused).
fn capabilities(conduct: &Conduct) -> String {
    let mut list = CAPABILITIES.to_owned();
    if conduct.may_start_tls() {
        list.push_str(" STARTTLS");
    }
    if conduct.may_log_in() {
        MECHANISMS.iter().for_each(|mechanism| list.push_str(&format!(" AUTH={mechanism}")));
    } else {
        list.push_str(" LOGINDISABLED");
    }
    list
}
