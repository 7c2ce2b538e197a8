//! IMAP until the account is known (RFC 9051 §6.1, §6.2).
//!
//! Greeting, CAPABILITY, NOOP, ID, LOGOUT, STARTTLS, LOGIN, AUTHENTICATE; nothing else. The capabilities are those every
//! member keeps after login; a client that needs more asks again then, as RFC 9051 §6.1.1 says.

use std::time::Instant;

use super::{
    conduct::Conduct,
    login::{Bye, Dialect, Login, Said},
};
use crate::wire::{
    imap::{Command, Malformed, parse, tag_of},
    line::{LineBuffer, LineError},
    literal::{CommandError, CommandLimits, CommandReader, Piece},
    sasl::{Credentials, Proof},
};

/// What is on offer before login whatever the protection. LITERAL- because a literal has a limit here (RFC 7888 §5).
const CAPABILITIES: &str = "IMAP4rev1 LITERAL- SASL-IR ID ENABLE IDLE";

/// One IMAP connection until the account is known.
pub type ImapLogin = Login<Imap>;

/// What is particular to IMAP.
#[derive(Debug)]
pub struct Imap {
    reader: CommandReader,
}

impl Dialect for Imap {
    fn new() -> Self {
        Self { reader: CommandReader::new(CommandLimits::BEFORE_LOGIN) }
    }

    /// RFC 9051 §7.1.5, with the capabilities that §7.1 allows in it.
    fn greet(login: &mut ImapLogin) {
        let capabilities = capabilities(&login.conduct);
        let greeting = format!("* OK [CAPABILITY {capabilities}] {} ready", login.conduct.settings.host);
        login.conduct.say(greeting);
    }

    fn lines(&mut self) -> &mut LineBuffer {
        self.reader.lines()
    }

    fn into_lines(self) -> LineBuffer {
        self.reader.into_lines()
    }

    fn read_command(login: &mut ImapLogin, now: Instant) -> bool {
        match login.dialect.reader.next_piece() {
            Ok(None) => return false,
            Ok(Some(Piece::Announced)) => login.conduct.say("+ go ahead"),
            Ok(Some(Piece::Command(command))) => {
                if login.may_command() {
                    login.on_command(now, parse(&command));
                }
            }
            Err(error) => login.on_unreadable(&error),
        }
        true
    }

    fn say(&self, tag: &str, said: &Said<'_>) -> Vec<u8> {
        let line = match said {
            // The space belongs there even if nothing follows (RFC 9051 §7.6).
            Said::Challenge(challenge) => format!("+ {challenge}\r\n"),
            Said::Accepted { capabilities: Some(list), text } => format!("{tag} OK [CAPABILITY {list}] {text}\r\n"),
            Said::Accepted { capabilities: None, text } => format!("{tag} OK {text}\r\n"),
            Said::Refused(fault) => format!("{tag} {}\r\n", fault.imap_reply()),
            Said::Moved(moved) => format!("{tag} NO [{moved}] another member has this account\r\n"),
            Said::Cancelled => format!("{tag} BAD authentication cancelled\r\n"),
            Said::Malformed => bad(tag, "malformed response"),
            Said::UnknownMechanism => format!("{tag} NO unsupported mechanism\r\n"),
            Said::Unprotected => format!("{tag} NO [PRIVACYREQUIRED] begin TLS first\r\n"),
            Said::BeginTls => format!("{tag} OK begin TLS now\r\n"),
            Said::NoTls => bad(tag, "TLS is not available now"),
            Said::Bye(Bye::Stopping) => format!("* BYE [UNAVAILABLE] {}\r\n", Bye::Stopping.text()),
            // Whoever waits for the reply to a command gets one.
            Said::Bye(why @ (Bye::LineTooLong | Bye::DataBeforeTls)) => fatal(tag, why.text()),
            Said::Bye(why) => format!("* BYE {}\r\n", why.text()),
        };
        line.into_bytes()
    }
}

impl ImapLogin {
    fn on_command(&mut self, now: Instant, command: Result<(String, Command), Malformed>) {
        let (tag, command) = match command {
            Ok(command) => command,
            Err(Malformed { tag }) => return self.on_bad_command(tag.as_deref(), "malformed command"),
        };
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
                self.on_credentials(now, tag, Credentials { authzid: None, name, proof: Proof::Password(secret) });
            }
            Command::Authenticate { mechanism, initial } => self.on_auth(now, tag, &mechanism, initial.as_deref()),
            Command::Other => self.on_bad_command(Some(&tag), "unknown command, or one that needs a login"),
        }
    }

    fn on_unreadable(&mut self, error: &CommandError) {
        const LITERAL_TOO_LONG: &str = "[TOOBIG] literal too long before login";
        match error {
            CommandError::LiteralRefused { command } => {
                self.on_bad_command(tag_of(command).as_deref(), LITERAL_TOO_LONG);
            }
            // RFC 7888 §4 leaves the choice between reading it all and ending the connection; §5 asks for TOOBIG.
            CommandError::LiteralTooLong { command } => {
                self.conduct.write(fatal(&tag_of(command).unwrap_or_default(), LITERAL_TOO_LONG).into_bytes());
                self.close();
            }
            CommandError::Line(LineError::TooLong) => self.end("", Bye::LineTooLong),
            CommandError::Line(LineError::BareLineBreak) => self.on_bad_command(None, "lines end with CRLF"),
            CommandError::Line(LineError::Nul) => self.on_bad_command(None, "NUL in a command"),
        }
    }

    fn on_bad_command(&mut self, tag: Option<&str>, text: &str) {
        self.on_bad_reply(bad(tag.unwrap_or_default(), text).into_bytes());
    }
}

/// What cannot be understood has no tag either, perhaps.
fn bad(tag: &str, text: &str) -> String {
    let tag = if tag.is_empty() { "*" } else { tag };
    format!("{tag} BAD {text}\r\n")
}

/// Where the next command begins is unknown or too far away.
fn fatal(tag: &str, text: &str) -> String {
    format!("{}* BYE {text}\r\n", bad(tag, text))
}

/// Lists what is on offer now (RFC 9051 §6.2.3: no LOGIN where it would be refused).
fn capabilities(conduct: &Conduct) -> String {
    let mut list = CAPABILITIES.to_owned();
    if conduct.may_start_tls() {
        list.push_str(" STARTTLS");
    }
    if conduct.may_log_in() {
        conduct.mechanisms().for_each(|mechanism| list.push_str(&format!(" AUTH={mechanism}")));
    } else {
        list.push_str(" LOGINDISABLED");
    }
    list
}
