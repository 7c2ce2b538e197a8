//! Submission until the account is known (RFC 6409, RFC 4954).
//!
//! Greeting, EHLO, STARTTLS, AUTH; nothing that concerns mail, which the member that accepted the login takes. What EHLO
//! promises here is what that member keeps.

use std::{borrow::Cow, time::Instant};

use super::{
    LoginRequest,
    login::{Bye, Dialect, Login, Said},
    smtp::{Hello, capabilities},
};
use crate::wire::{
    claims::Claims,
    line::{LineBuffer, LineError},
    smtp::{Command, CommandFault, Reply, parse_command},
};

/// Longest line: an AUTH command (RFC 4954 §4).
const LINE_BYTES_MAX: usize = 12_288;

/// One submission connection until the account is known.
pub type SubmissionLogin = Login<Submission>;

/// What is particular to submission.
#[derive(Debug)]
pub struct Submission {
    lines: LineBuffer,
    hello: Option<Hello>,
}

impl Dialect for Submission {
    fn new() -> Self {
        Self { lines: LineBuffer::new(LINE_BYTES_MAX), hello: None }
    }

    fn greet(login: &mut SubmissionLogin) {
        let greeting = format!("{} ESMTP Laniakea submission ready", login.conduct.settings.host);
        login.reply(&Reply::plain(220, vec![greeting.into()]));
    }

    fn lines(&mut self) -> &mut LineBuffer {
        &mut self.lines
    }

    fn into_lines(self) -> LineBuffer {
        self.lines
    }

    fn read_command(login: &mut SubmissionLogin, now: Instant) -> bool {
        match login.dialect.lines.next_line() {
            Ok(None) => return false,
            Ok(Some(line)) => {
                if login.may_command() {
                    login.on_line(now, &line);
                }
            }
            Err(LineError::TooLong) => login.end("", Bye::LineTooLong),
            Err(LineError::BareLineBreak | LineError::Nul) => {
                login.on_bad_command(&Reply::new(500, (5, 5, 2), "line with a bare CR, a bare LF or a NUL"));
            }
        }
        true
    }

    fn say(&self, _tag: &str, said: &Said<'_>) -> Vec<u8> {
        encoded(&match said {
            Said::Challenge(challenge) => Reply::plain(334, vec![(*challenge).to_owned().into()]),
            Said::Accepted { text, .. } => Reply::new(235, (2, 7, 0), (*text).to_owned()),
            Said::Refused(fault) => return format!("{}\r\n", fault.smtp_reply()).into_bytes(),
            // Mail is taken by whichever member was asked.
            Said::Moved(_) => Reply::new(454, (4, 3, 0), "internal error"),
            Said::Cancelled => Reply::new(501, (5, 0, 0), "authentication cancelled"),
            Said::Malformed => Reply::new(501, (5, 5, 2), "malformed response"),
            Said::UnknownMechanism => Reply::new(504, (5, 5, 4), "unsupported mechanism"),
            Said::Unprotected => Reply::new(538, (5, 7, 11), "begin TLS first"),
            Said::BeginTls => Reply::new(220, (2, 0, 0), "ready to start TLS"),
            Said::NoTls => Reply::new(503, (5, 5, 1), "TLS is not available now"),
            Said::Bye(why) => match why {
                // The refusal of the last guess has said it.
                Bye::TooManyFailures => return Vec::new(),
                Bye::TooLate => Reply::new(421, (4, 4, 2), why.text()),
                Bye::Stopping => Reply::new(421, (4, 3, 2), why.text()),
                Bye::LineTooLong => Reply::new(500, (5, 5, 2), why.text()),
                Bye::DataBeforeTls => Reply::new(554, (5, 5, 1), why.text()),
                Bye::TooManyCommands | Bye::TooManyBad | Bye::TooMuch => Reply::new(421, (4, 7, 0), why.text()),
            },
        })
    }

    fn complete(&self, request: &mut LoginRequest) {
        request.hello.clone_from(&self.hello);
    }

    /// RFC 3207 §4.2.
    fn forget(&mut self) {
        self.hello = None;
    }
}

impl SubmissionLogin {
    fn on_line(&mut self, now: Instant, line: &[u8]) {
        match parse_command(line) {
            Ok(command) => self.on_command(now, command),
            Err(CommandFault::Unknown) => self.on_bad_command(&Reply::new(500, (5, 5, 1), "unknown command")),
            // Whatever it is, it needs a login.
            Err(CommandFault::Sender | CommandFault::Recipient | CommandFault::Parameter | CommandFault::Value) => {
                self.on_bad_command(&login_first());
            }
            Err(CommandFault::Syntax) => self.on_bad_command(&Reply::new(501, (5, 5, 4), "syntax error")),
        }
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Helo(name) => self.on_hello(Hello { name, extended: false }),
            Command::Ehlo(name) => self.on_hello(Hello { name, extended: true }),
            Command::StartTls => self.on_start_tls(""),
            Command::Auth { .. } if self.dialect.hello.is_none() => {
                self.on_bad_command(&Reply::new(503, (5, 5, 1), "send EHLO first"));
            }
            Command::Auth { mechanism, initial } => self.on_auth(now, String::new(), &mechanism, initial.as_deref()),
            Command::Xclient(claims) => self.on_xclient(claims),
            Command::Noop | Command::Reset => self.reply(&Reply::new(250, (2, 0, 0), "OK")),
            Command::Help => self.reply(&Reply::new(214, (2, 0, 0), "see RFC 6409")),
            Command::Quit => {
                let goodbye = format!("{} closing connection", self.conduct.settings.host);
                self.leave(&Reply::new(221, (2, 0, 0), goodbye));
            }
            Command::Mail(_) | Command::Rcpt(_) | Command::Data | Command::Verify => {
                self.on_bad_command(&login_first());
            }
            Command::Lhlo(_) | Command::Expand | Command::Bdat => {
                self.on_bad_command(&Reply::new(502, (5, 5, 1), "command not implemented"));
            }
            Command::Http => self.leave(&Reply::new(421, (4, 7, 0), "this is a mail server")),
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
                let mechanisms: Vec<_> = self.conduct.mechanisms().collect();
                lines.push(format!("AUTH {}", mechanisms.join(" ")).into());
            }
            if self.conduct.settings.believes_claims {
                lines.push("XCLIENT ADDR PORT DESTADDR DESTPORT NAME HELO PROTO LOGIN SESSION TTL".into());
            }
        }
        self.dialect.hello = Some(hello);
        self.reply(&Reply::plain(250, lines));
    }

    /// The session begins anew, for the client that the proxy names.
    fn on_xclient(&mut self, claims: Claims) {
        if !self.conduct.settings.believes_claims {
            return self.on_bad_command(&Reply::new(550, (5, 7, 0), "insufficient authorization"));
        }
        self.conduct.claims = claims;
        self.dialect.hello = None;
        Submission::greet(self);
    }

    fn on_bad_command(&mut self, reply: &Reply) {
        self.on_bad_reply(encoded(reply));
    }

    fn reply(&mut self, reply: &Reply) {
        self.conduct.write(encoded(reply));
    }

    fn leave(&mut self, reply: &Reply) {
        self.reply(reply);
        self.close();
    }
}

fn encoded(reply: &Reply) -> Vec<u8> {
    let mut bytes = Vec::new();
    reply.encode(&mut bytes);
    bytes
}

/// RFC 4954 §6.
fn login_first() -> Reply {
    Reply::new(530, (5, 7, 0), "authentication required")
}
