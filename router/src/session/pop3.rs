//! POP3's AUTHORIZATION state (RFC 1939 §4, RFC 2449, RFC 2595 §4, RFC 5034).
//!
//! Greeting, CAPA, STLS, USER and PASS, AUTH, QUIT; nothing else, not even NOOP. The account is locked at login by the
//! member that opens it, not here.

use std::time::Instant;

use super::login::{Bye, Dialect, Login, Said};
use crate::wire::{
    line::{LineBuffer, LineError},
    pop3::{Command, LINE_BYTES_MAX, Malformed, parse},
    sasl::{Credentials, Proof},
};

/// What is on offer before and after login (RFC 2449 §6, RFC 3206 §5).
const CAPABILITIES: [&str; 5] = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"];

/// One POP3 connection until the account is known.
pub type Pop3Login = Login<Pop3>;

/// What is particular to POP3.
#[derive(Debug)]
pub struct Pop3 {
    lines: LineBuffer,
    /// Whom the last USER named; what stands there is checked with the password.
    name: Option<Vec<u8>>,
}

impl Dialect for Pop3 {
    fn new() -> Self {
        Self { lines: LineBuffer::new(LINE_BYTES_MAX), name: None }
    }

    /// It has no time stamp: APOP needs passwords stored in the clear.
    fn greet(login: &mut Pop3Login) {
        // Where Dovecot's proxies look for it.
        let xclient = if login.conduct.settings.believes_claims { "[XCLIENT] " } else { "" };
        let greeting = format!("+OK {xclient}{} ready", login.conduct.settings.host);
        login.conduct.say(greeting);
    }

    fn lines(&mut self) -> &mut LineBuffer {
        &mut self.lines
    }

    fn into_lines(self) -> LineBuffer {
        self.lines
    }

    fn read_command(login: &mut Pop3Login, now: Instant) -> bool {
        match login.dialect.lines.next_line() {
            Ok(None) => return false,
            Ok(Some(line)) => {
                if login.may_command() {
                    login.on_line(now, &line);
                }
            }
            Err(LineError::TooLong) => login.end("", Bye::LineTooLong),
            Err(LineError::BareLineBreak) => login.on_bad_command("lines end with CRLF"),
            Err(LineError::Nul) => login.on_bad_command("NUL in a line"),
        }
        true
    }

    fn say(&self, _tag: &str, said: &Said<'_>) -> Vec<u8> {
        let line = match said {
            Said::Challenge(challenge) => format!("+ {challenge}\r\n"),
            Said::Accepted { text, .. } => format!("+OK {text}\r\n"),
            Said::Refused(fault) => format!("{}\r\n", fault.pop3_reply()),
            Said::Moved(moved) => format!("-ERR [{moved}] another member has this account\r\n"),
            Said::Cancelled => err("authentication cancelled"),
            Said::Malformed => err("malformed response"),
            Said::UnknownMechanism => err("unsupported mechanism"),
            Said::Unprotected => err("[SYS/PERM] begin TLS first"),
            Said::BeginTls => "+OK begin TLS now\r\n".to_owned(),
            Said::NoTls => err("TLS is not available now"),
            // Without a word: a server says nothing in POP3 that it was not asked for, or has just said it.
            Said::Bye(Bye::Stopping | Bye::TooManyBad | Bye::TooManyFailures) => String::new(),
            Said::Bye(Bye::DataBeforeTls) => err("data after STLS"),
            Said::Bye(why) => err(why.text()),
        };
        line.into_bytes()
    }

    /// RFC 2595 §4.
    fn forget(&mut self) {
        self.name = None;
    }
}

impl Pop3Login {
    fn on_line(&mut self, now: Instant, line: &[u8]) {
        match parse(line) {
            Ok(command) => self.on_command(now, command),
            Err(Malformed::TooLong) => self.end("", Bye::LineTooLong),
            Err(Malformed::Arguments) => self.on_bad_command("malformed command"),
        }
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Capa => self.list_capabilities(),
            Command::Stls => self.on_start_tls(""),
            Command::Xclient(claims) => {
                self.conduct.claims = claims;
                self.conduct.say("+OK");
            }
            Command::Quit => {
                self.conduct.say("+OK bye");
                self.close();
            }
            Command::User(_) | Command::Pass(_) | Command::Auth { .. } if !self.conduct.may_log_in() => {
                self.say("", &Said::Unprotected);
            }
            // Says the same for everybody (RFC 1939 §7 allows it): whether there is such an account stays untold.
            Command::User(name) => {
                self.dialect.name = Some(name);
                self.conduct.say("+OK now the password");
            }
            Command::Pass(secret) => match self.dialect.name.take() {
                Some(name) => {
                    let credentials = Credentials { authzid: None, name, proof: Proof::Password(secret) };
                    self.on_credentials(now, String::new(), credentials);
                }
                None => self.on_bad_command("USER comes first"),
            },
            Command::Auth { mechanism, .. } if mechanism.is_empty() => self.list_mechanisms(),
            Command::Auth { mechanism, initial } => self.on_auth(now, String::new(), &mechanism, initial.as_deref()),
            Command::Other => self.on_bad_command("unknown command, or one that needs a login"),
        }
    }

    fn list_capabilities(&mut self) {
        self.conduct.say("+OK");
        CAPABILITIES.iter().for_each(|capability| self.conduct.say(capability));
        if self.conduct.may_log_in() {
            self.conduct.say("USER");
            let mechanisms: Vec<_> = self.conduct.mechanisms().collect();
            self.conduct.say(format_args!("SASL {}", mechanisms.join(" ")));
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
        let mechanisms: Vec<_> = self.conduct.mechanisms().collect();
        mechanisms.iter().for_each(|mechanism| self.conduct.say(mechanism));
        self.conduct.say(".");
    }

    fn on_bad_command(&mut self, text: &str) {
        self.on_bad_reply(err(text).into_bytes());
    }
}

fn err(text: &str) -> String {
    format!("-ERR {text}\r\n")
}
