//! Submission until the account is known (RFC 6409, RFC 4954).
//!
//! Greeting, EHLO, STARTTLS, AUTH; nothing that concerns mail, which the member that accepted the login takes. What EHLO
//! promises here is what that member keeps.

use std::{borrow::Cow, mem, time::Instant};

use super::{
    Fault, Forward, Input, LoginOutcome, Output, Peer, Protection, Session,
    conduct::{Conduct, Settings, login_request},
    sasl::{Exchange, MECHANISMS, Step},
    smtp::{Hello, capabilities},
    throttle::Verdict,
};
use crate::wire::{
    claims::Claims,
    line::{LineBuffer, LineError},
    sasl::Credentials,
    smtp::{Command, CommandFault, Reply, parse_command},
};

/// Longest line: an AUTH command (RFC 4954 §4).
const LINE_BYTES_MAX: usize = 12_288;

/// One submission connection until the account is known.
#[derive(Debug)]
pub struct SubmissionLogin {
    conduct: Conduct,
    lines: LineBuffer,
    hello: Option<Hello>,
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
        fault: Fault,
    },
    /// Waits for the driver to do the handshake.
    StartingTls,
    LoggedIn,
    Closed,
}

impl SubmissionLogin {
    /// Begins with the greeting.
    #[must_use]
    pub fn new(now: Instant, settings: Settings) -> Self {
        let conduct = Conduct::new(now, settings);
        let mut login = Self { conduct, lines: LineBuffer::new(LINE_BYTES_MAX), hello: None, state: State::Command };
        login.greet();
        login
    }

    fn greet(&mut self) {
        let greeting = format!("{} ESMTP Laniakea submission ready", self.conduct.settings.host);
        self.say(&Reply::plain(220, vec![greeting.into()]));
    }

    /// Reads on as far as the state allows: in lock step, one login at a time.
    fn advance(&mut self, now: Instant) {
        while matches!(self.state, State::Command | State::Sasl(_)) {
            match self.lines.next_line() {
                Ok(None) => return,
                Ok(Some(line)) => self.on_line(now, &line),
                Err(LineError::TooLong) => self.end(&Reply::new(500, (5, 5, 2), "line too long")),
                Err(LineError::BareLineBreak | LineError::Nul) => {
                    self.on_bad(&Reply::new(500, (5, 5, 2), "line with a bare CR, a bare LF or a NUL"));
                }
            }
        }
    }

    fn on_line(&mut self, now: Instant, line: &[u8]) {
        if let State::Sasl(exchange) = mem::replace(&mut self.state, State::Command) {
            return self.on_sasl(now, exchange.go_on(line));
        }
        if !self.conduct.may_command() {
            return self.end(&Reply::new(421, (4, 7, 0), "too many commands before login"));
        }
        match parse_command(line) {
            Ok(command) => self.on_command(now, command),
            Err(CommandFault::Unknown) => self.on_bad(&Reply::new(500, (5, 5, 1), "unknown command")),
            // Whatever it is, it needs a login.
            Err(CommandFault::Sender | CommandFault::Recipient | CommandFault::Parameter | CommandFault::Value) => {
                self.on_bad(&login_first());
            }
            Err(CommandFault::Syntax) => self.on_bad(&Reply::new(501, (5, 5, 4), "syntax error")),
        }
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Helo(name) => self.on_hello(Hello { name, extended: false }),
            Command::Ehlo(name) => self.on_hello(Hello { name, extended: true }),
            Command::StartTls => self.on_starttls(),
            Command::Auth { mechanism, initial } => self.on_auth(now, &mechanism, initial.as_deref()),
            Command::Xclient(claims) => self.on_xclient(claims),
            Command::Noop | Command::Reset => self.say(&Reply::new(250, (2, 0, 0), "OK")),
            Command::Help => self.say(&Reply::new(214, (2, 0, 0), "see RFC 6409")),
            Command::Quit => {
                let goodbye = format!("{} closing connection", self.conduct.settings.host);
                self.end(&Reply::new(221, (2, 0, 0), goodbye));
            }
            Command::Mail(_) | Command::Rcpt(_) | Command::Data | Command::Verify => self.on_bad(&login_first()),
            Command::Lhlo(_) | Command::Expand | Command::Bdat => {
                self.on_bad(&Reply::new(502, (5, 5, 1), "command not implemented"));
            }
            Command::Http => self.end(&Reply::new(421, (4, 7, 0), "this is a mail server")),
        }
    }

    fn on_hello(&mut self, hello: Hello) {
        let mut lines: Vec<Cow<'static, str>> = vec![self.conduct.settings.host.clone().into()];
        if hello.extended {
            lines.extend(capabilities(self.conduct.settings.message_bytes_max));
            if self.conduct.may_start_tls() {
                lines.push("STARTTLS".into());
            }
            if self.conduct.may_log_in() {
                lines.push(format!("AUTH {}", MECHANISMS.join(" ")).into());
            }
            if self.conduct.settings.believes_claims {
                lines.push("XCLIENT ADDR PORT DESTADDR DESTPORT NAME HELO PROTO LOGIN SESSION TTL".into());
            }
        }
        self.hello = Some(hello);
        self.say(&Reply::plain(250, lines));
    }

    fn on_starttls(&mut self) {
        if !self.conduct.may_start_tls() {
            return self.on_bad(&Reply::new(503, (5, 5, 1), "TLS is not available now"));
        }
        match self.lines.drained() {
            Some(proof) => {
                self.say(&Reply::new(220, (2, 0, 0), "ready to start TLS"));
                self.conduct.ask(Output::StartTls(proof));
                self.state = State::StartingTls;
            }
            // Whoever put bytes behind STARTTLS wants them to be taken for bytes from inside TLS (CVE-2011-0411).
            None => self.end(&Reply::new(554, (5, 5, 1), "data after STARTTLS")),
        }
    }

    /// The session begins anew, for the client that the proxy names.
    fn on_xclient(&mut self, claims: Claims) {
        if !self.conduct.settings.believes_claims {
            return self.on_bad(&Reply::new(550, (5, 7, 0), "insufficient authorization"));
        }
        self.conduct.claims = claims;
        self.hello = None;
        self.greet();
    }

    fn on_auth(&mut self, now: Instant, mechanism: &str, initial: Option<&[u8]>) {
        if self.hello.is_none() {
            return self.on_bad(&Reply::new(503, (5, 5, 1), "send EHLO first"));
        }
        if !self.conduct.may_log_in() {
            return self.say(&Reply::new(538, (5, 7, 11), "begin TLS first"));
        }
        self.on_sasl(now, Exchange::begin(mechanism, initial));
    }

    fn on_sasl(&mut self, now: Instant, step: Step) {
        match step {
            Step::Challenge(challenge, exchange) => {
                self.say(&Reply::plain(334, vec![challenge.into()]));
                self.state = State::Sasl(exchange);
            }
            Step::Done(credentials) => self.on_credentials(now, credentials),
            Step::Cancelled => self.say(&Reply::new(501, (5, 0, 0), "authentication cancelled")),
            Step::Malformed => self.on_bad(&Reply::new(501, (5, 5, 2), "malformed response")),
            Step::Unknown => self.say(&Reply::new(504, (5, 5, 4), "unsupported mechanism")),
        }
    }

    fn on_credentials(&mut self, now: Instant, credentials: Credentials) {
        match login_request(String::new(), credentials, &self.conduct.claims) {
            Some(mut request) => {
                request.hello.clone_from(&self.hello);
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
        match outcome {
            LoginOutcome::Accepted { text, .. } => {
                self.say(&Reply::new(235, (2, 7, 0), text));
                self.state = State::LoggedIn;
            }
            LoginOutcome::Relay(lines) => {
                self.conduct.write(lines);
                self.state = State::LoggedIn;
            }
            LoginOutcome::Refused(fault) => self.on_refused(now, fault),
            // Mail is taken by whichever member was asked.
            LoginOutcome::Moved(_) => self.on_refused(now, Fault::Internal),
        }
    }

    fn on_refused(&mut self, now: Instant, fault: Fault) {
        match (fault, self.conduct.settings.peer) {
            (Fault::BadCredentials, Peer::Client) => {
                let until = now + self.conduct.throttle.on_failed_login();
                self.state = State::Delayed { until, fault };
            }
            _ => self.say_fault(fault),
        }
    }

    fn on_tick(&mut self, now: Instant) {
        if let State::Delayed { until, fault } = self.state
            && until <= now
        {
            self.say_fault(fault);
            self.state = State::Command;
            if self.conduct.throttle.verdict() == Verdict::Close {
                self.close();
            }
        }
        // A login under way has a deadline of its own.
        let is_waiting = matches!(self.state, State::LoggingIn | State::LoggedIn | State::Closed);
        if now >= self.conduct.until() && !is_waiting {
            self.end(&Reply::new(421, (4, 4, 2), "no login in time"));
        }
    }

    fn on_bad(&mut self, reply: &Reply) {
        self.say(reply);
        if self.conduct.throttle.on_bad_command() == Verdict::Close {
            self.end(&Reply::new(421, (4, 7, 0), "too many bad commands"));
        }
    }

    fn say_fault(&mut self, fault: Fault) {
        self.conduct.say(fault.smtp_reply());
    }

    fn say(&mut self, reply: &Reply) {
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        self.conduct.write(bytes);
    }

    fn end(&mut self, reply: &Reply) {
        self.say(reply);
        self.close();
    }

    fn close(&mut self) {
        self.conduct.ask(Output::Close);
        self.state = State::Closed;
    }
}

/// RFC 4954 §6.
fn login_first() -> Reply {
    Reply::new(530, (5, 7, 0), "authentication required")
}

impl Session for SubmissionLogin {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Bytes(bytes) if !matches!(self.state, State::Closed) => {
                self.lines.push(bytes);
                self.advance(now);
                let is_open = !matches!(self.state, State::Closed);
                if is_open && !self.conduct.may_hold(self.lines.unread().len()) {
                    self.end(&Reply::new(421, (4, 7, 0), "too much at once"));
                }
            }
            Input::TlsDone(facts) if matches!(self.state, State::StartingTls) => {
                self.conduct.settings.protection = Protection::Active(facts);
                // What was said before TLS is forgotten (RFC 3207 §4.2).
                self.hello = None;
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
        if self.conduct.is_stopping && matches!(self.state, State::Command | State::Sasl(_)) {
            self.end(&Reply::new(421, (4, 3, 2), "shutting down"));
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
