//! A POP3 login at a server of another kind (RFC 1939 §7, RFC 2449, RFC 2595 §4, RFC 5034).

use zeroize::Zeroizing;

use super::{Approach, ForeignLogin, Introduction, Output, Talk, Verdict};
use crate::{session::Fault, wire::sasl::Proof};

/// Longest command with an initial response (RFC 5034 §4 with RFC 2449 §4); a longer one is sent when it is asked for.
const COMMAND_BYTES_MAX: usize = 255;

/// One POP3 login.
#[derive(Debug)]
pub struct Pop3Foreign {
    approach: Approach,
    talk: Talk,
    state: State,
    capabilities: Vec<String>,
    /// Dovecot 2.3 says so in its greeting, later versions among their capabilities.
    takes_xclient: bool,
}

#[derive(Debug)]
enum State {
    Greeting,
    /// Waits for the first line of the capabilities.
    Capa,
    /// Reads them.
    Capabilities,
    Stls,
    Xclient,
    /// The mechanism was named; the server is to ask for the credentials.
    Prompt,
    User,
    Verdict,
}

impl Pop3Foreign {
    /// Begins; the server speaks first.
    #[must_use]
    pub fn new(approach: Approach) -> Self {
        let (capabilities, takes_xclient) = Default::default();
        Self { approach, talk: Talk::new(), state: State::Greeting, capabilities, takes_xclient }
    }

    /// Capabilities are known, as far as there are any.
    fn go_on(&mut self) {
        if self.approach.start_tls && !self.talk.is_encrypted() {
            return self.command("STLS", State::Stls);
        }
        match self.approach.introduction.filter(|_| self.takes_xclient || self.has("XCLIENT")) {
            Some(introduction) => self.command(&xclient(&introduction), State::Xclient),
            None => self.authenticate(),
        }
    }

    fn authenticate(&mut self) {
        let request = &self.approach.request;
        let (mechanism, initial) = request.initial();
        let mechanism = mechanism.name();
        if self.offers(mechanism) {
            let command = Zeroizing::new(format!("AUTH {mechanism} {}", *initial));
            if command.len() + 2 <= COMMAND_BYTES_MAX {
                self.talk.say(&command);
                self.state = State::Verdict;
            } else {
                self.command(&format!("AUTH {mechanism}"), State::Prompt);
            }
        } else if matches!(request.proof, Proof::Exchange { .. }) {
            self.talk.unusable::<()>("it does not offer the client's mechanism");
        } else if request.authzid.is_some() {
            self.talk.unusable::<()>("no AUTH PLAIN");
        } else {
            let command = format!("USER {}", request.login);
            self.command(&command, State::User);
        }
    }

    fn pass(&mut self) {
        let Proof::Password(secret) = &self.approach.request.proof else { return };
        let command = Zeroizing::new([b"PASS ".as_slice(), secret.expose(), b"\r\n"].concat());
        self.talk.outputs.push_back(Output::Write(command));
        self.state = State::Verdict;
    }

    fn on_refusal(&mut self, line: &str) {
        if !line.starts_with("-ERR") {
            self.talk.unusable::<()>("no POP3");
            return;
        }
        let fault = match self.state {
            State::Greeting => Fault::Unavailable,
            _ => Fault::of_foreign_pop3(line),
        };
        self.talk.end(Verdict::Refused(fault));
    }

    fn command(&mut self, command: &str, state: State) {
        self.talk.say(command);
        self.state = state;
    }

    fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|line| line.split(' ').next() == Some(capability))
    }

    fn offers(&self, mechanism: &str) -> bool {
        let sasl = self.capabilities.iter().find_map(|line| line.strip_prefix("SASL "));
        sasl.is_some_and(|mechanisms| mechanisms.split(' ').any(|name| name == mechanism))
    }
}

impl ForeignLogin for Pop3Foreign {
    fn talk(&mut self) -> &mut Talk {
        &mut self.talk
    }

    fn on_line(&mut self, line: &str) {
        let is_ok = line.starts_with("+OK");
        match self.state {
            State::Greeting if is_ok => {
                self.takes_xclient = line.contains("[XCLIENT]");
                self.command("CAPA", State::Capa);
            }
            State::Greeting => self.on_refusal(line),
            State::Capa if is_ok => self.state = State::Capabilities,
            // A server from before RFC 2449: it knows USER and PASS.
            State::Capa => self.go_on(),
            State::Capabilities if line == "." => self.go_on(),
            State::Capabilities => self.capabilities.push(line.to_ascii_uppercase()),
            State::Stls if is_ok => {
                self.talk.start_tls();
            }
            State::Stls => {
                self.talk.unusable::<()>("STLS is refused");
            }
            // Not believed: the login itself may go on.
            State::Xclient => self.authenticate(),
            State::Prompt if line.starts_with("+ ") => {
                let (_, message) = self.approach.request.initial();
                self.talk.say(&message);
                self.state = State::Verdict;
            }
            State::User if is_ok => self.pass(),
            State::Verdict if line.starts_with("+ ") => self.talk.ask(line.get(2..).unwrap_or_default()),
            State::Verdict if is_ok => self.talk.logged_in(format!("{line}\r\n")),
            State::Prompt | State::User | State::Verdict => self.on_refusal(line),
        }
    }

    /// RFC 2595 §4.
    fn on_encrypted(&mut self) {
        self.capabilities.clear();
        self.command("CAPA", State::Capa);
    }
}

/// As Dovecot takes it from its own proxies.
fn xclient(introduction: &Introduction) -> String {
    let Introduction { client, session, ttl, .. } = introduction;
    format!("XCLIENT ADDR={} PORT={} SESSION={session} TTL={ttl}", client.ip(), client.port())
}
