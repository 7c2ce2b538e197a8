//! An IMAP login at a server of another kind (RFC 9051 §6.1, §6.2; RFC 2971 for the word on whose connection it is).

use zeroize::Zeroizing;

use super::{Approach, ForeignLogin, Introduction, Output, Talk, Verdict};
use crate::{session::Fault, wire::sasl::Proof};

/// Our own commands' tag; the login has the client's, so that the reply to it can be passed on as it is.
const TAG: &str = "laniakea";

/// One IMAP login.
#[derive(Debug)]
pub struct ImapForeign {
    approach: Approach,
    talk: Talk,
    state: State,
    capabilities: Vec<String>,
    /// Capabilities that the server lists of its own accord when the login is done.
    untagged: String,
}

#[derive(Debug)]
enum State {
    Greeting,
    Capability,
    StartTls,
    Id,
    /// The mechanism was named; the server is to ask for the credentials.
    Prompt,
    Verdict,
}

impl ImapForeign {
    /// Begins; the server speaks first.
    #[must_use]
    pub fn new(approach: Approach) -> Self {
        Self { approach, talk: Talk::new(), state: State::Greeting, capabilities: Vec::new(), untagged: String::new() }
    }

    fn on_greeting(&mut self, line: &str) {
        if line.starts_with("* BYE") {
            return self.talk.end(Verdict::Refused(Fault::Unavailable));
        }
        if !line.starts_with("* OK") {
            // PREAUTH among them: a session that nobody has proved to be the client's.
            self.talk.unusable::<()>("no IMAP greeting");
            return;
        }
        if self.capabilities.is_empty() { self.ask_capabilities() } else { self.go_on() }
    }

    fn on_reply(&mut self, is_ok: bool) {
        match self.state {
            State::StartTls if is_ok => {
                self.talk.start_tls();
            }
            State::StartTls => {
                self.talk.unusable::<()>("STARTTLS is refused");
            }
            State::Id => self.authenticate(),
            _ => self.go_on(),
        }
    }

    /// Capabilities are known: TLS if it is to be, then the word on whose connection it is, then the login.
    fn go_on(&mut self) {
        if self.approach.start_tls && !self.talk.is_encrypted() {
            if !self.has("STARTTLS") {
                self.talk.unusable::<()>("no STARTTLS");
                return;
            }
            self.command("STARTTLS", State::StartTls);
        } else if let Some(introduction) = self.approach.introduction.filter(|_| self.has("ID")) {
            self.command(&id(&introduction), State::Id);
        } else {
            self.authenticate();
        }
    }

    fn authenticate(&mut self) {
        let request = &self.approach.request;
        let tag = &request.tag;
        let (mechanism, initial) = request.initial();
        let mechanism = mechanism.name();
        if self.has(&format!("AUTH={mechanism}")) {
            if self.has("SASL-IR") {
                self.talk.say(&Zeroizing::new(format!("{tag} AUTHENTICATE {mechanism} {}", *initial)));
                self.state = State::Verdict;
            } else {
                self.talk.say(&format!("{tag} AUTHENTICATE {mechanism}"));
                self.state = State::Prompt;
            }
            return;
        }
        let Proof::Password(secret) = &request.proof else {
            self.talk.unusable::<()>("it does not offer the client's mechanism");
            return;
        };
        if self.has("LOGINDISABLED") || request.authzid.is_some() {
            self.talk.unusable::<()>("no login with a password: does it want TLS?");
        } else {
            let name = quoted(request.login.as_str().as_bytes());
            let secret = quoted(secret.expose());
            let mut command = Zeroizing::new(format!("{tag} LOGIN ").into_bytes());
            command.extend_from_slice(&[name.as_slice(), b" ", secret.as_slice(), b"\r\n"].concat());
            self.talk.outputs.push_back(Output::Write(command));
            self.state = State::Verdict;
        }
    }

    fn on_verdict(&mut self, line: &str) {
        if line.starts_with("* BYE") {
            return self.talk.end(Verdict::Refused(Fault::Unavailable));
        }
        if line.starts_with("* CAPABILITY ") {
            self.untagged = format!("{line}\r\n");
        }
        let Some(reply) = reply_to(&self.approach.request.tag, line) else { return };
        if reply.starts_with("OK") {
            let lines = format!("{}{line}\r\n", self.untagged);
            self.talk.logged_in(lines);
        } else {
            self.talk.end(Verdict::Refused(Fault::of_foreign_imap(reply)));
        }
    }

    fn ask_capabilities(&mut self) {
        self.command("CAPABILITY", State::Capability);
    }

    fn command(&mut self, command: &str, state: State) {
        self.talk.say(&format!("{TAG} {command}"));
        self.state = state;
    }

    /// `* CAPABILITY …`, or a code in any condition.
    fn learn_capabilities(&mut self, line: &str) {
        let in_code = || line.split_once("[CAPABILITY ")?.1.split_once(']').map(|(list, _)| list);
        if let Some(list) = line.strip_prefix("* CAPABILITY ").or_else(in_code) {
            self.capabilities = list.split_ascii_whitespace().map(str::to_ascii_uppercase).collect();
        }
    }

    fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }
}

impl ForeignLogin for ImapForeign {
    fn talk(&mut self) -> &mut Talk {
        &mut self.talk
    }

    fn on_line(&mut self, line: &str) {
        self.learn_capabilities(line);
        match self.state {
            State::Greeting => self.on_greeting(line),
            State::Capability | State::StartTls | State::Id => {
                if let Some(reply) = reply_to(TAG, line) {
                    self.on_reply(reply.starts_with("OK"));
                } else if line.starts_with("* BYE") {
                    self.talk.end(Verdict::Refused(Fault::Unavailable));
                }
            }
            State::Prompt if line.starts_with('+') => {
                let (_, message) = self.approach.request.initial();
                self.talk.say(&message);
                self.state = State::Verdict;
            }
            State::Verdict if line.starts_with("+ ") => self.talk.ask(line.get(2..).unwrap_or_default()),
            State::Prompt | State::Verdict => self.on_verdict(line),
        }
    }

    /// RFC 9051 §6.2.1.
    fn on_encrypted(&mut self) {
        self.capabilities.clear();
        self.ask_capabilities();
    }
}

/// What follows the tag.
fn reply_to<'a>(tag: &str, line: &'a str) -> Option<&'a str> {
    line.strip_prefix(tag)?.strip_prefix(' ')
}

/// The fields that Dovecot, nginx and Cyrus know.
fn id(introduction: &Introduction) -> String {
    let Introduction { client, local, session, ttl } = introduction;
    format!(
        "ID (\"x-originating-ip\" \"{}\" \"x-originating-port\" \"{}\" \"x-connected-ip\" \"{}\" \"x-connected-port\" \"{}\" \"x-session-id\" \"{session}\" \"x-proxy-ttl\" \"{ttl}\")",
        client.ip(),
        client.port(),
        local.ip(),
        local.port(),
    )
}

/// A quoted string; a name or password holds no line break (`conduct::login_request`).
fn quoted(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut quoted = Zeroizing::new(vec![b'"']);
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    quoted
}
