//! Plays the dialogues of `integration-tests/dialogues/{imap,pop3}-prelogin` against the bare sessions.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use super::*;
use crate::dialogue::{Player, Said, Script};

struct Login<S> {
    session: Option<S>,
    now: Instant,
}

impl<S: Session> Login<S> {
    fn tell(&mut self, input: Input<'_>) {
        if let Some(session) = &mut self.session {
            session.handle(self.now, input);
        }
    }

    fn outcome(&mut self, outcome: LoginOutcome) -> Result<(), String> {
        self.tell(Input::Login(outcome));
        Ok(())
    }
}

impl<S: Session> Player for Login<S> {
    fn send(&mut self, bytes: &[u8]) {
        self.tell(Input::Bytes(bytes));
    }

    fn answer(&mut self, text: &str) -> Result<(), String> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "tls" => self.tell(Input::TlsDone(TlsFacts::default())),
            "eof" => self.tell(Input::Eof),
            "stop" => self.tell(Input::Stop),
            "tick" => {
                self.now = self.session.as_ref().and_then(Session::deadline).ok_or("no deadline")?;
                self.tell(Input::Tick);
            }
            "accepted" => {
                let (capabilities, text) = match rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
                    Some((capabilities, text)) => (Some(capabilities.to_owned()), text.to_owned()),
                    None => (None, rest.to_owned()),
                };
                return self.outcome(LoginOutcome::Accepted { capabilities, text });
            }
            "refused" => {
                let fault = Fault::ALL.into_iter().find(|fault| fault.as_str() == rest).ok_or("no such fault")?;
                return self.outcome(LoginOutcome::Refused(fault));
            }
            "challenge" => return self.outcome(LoginOutcome::Challenge(rest.into())),
            "relay" => return self.outcome(LoginOutcome::Relay(format!("{rest}\r\n").into_bytes())),
            "moved" => {
                let moved = format!("MOVED {rest}").parse().map_err(|_| "not an owner and a ticket")?;
                return self.outcome(LoginOutcome::Moved(moved));
            }
            _ => return Err(format!("no such answer: {word}")),
        }
        Ok(())
    }

    fn next_said(&mut self) -> Option<Said> {
        match self.session.as_mut()?.poll() {
            Some(Output::Write(bytes)) => Some(Said::Bytes(bytes)),
            Some(Output::StartTls(_)) => Some(Said::Asks("starttls".into())),
            Some(Output::Close) => Some(Said::Asks("close".into())),
            Some(Output::Login(request)) => Some(Said::Asks(show(&request))),
            Some(Output::Answer(answer)) => {
                Some(Said::Asks(format!("answer {}", answer.expose().escape_ascii()).trim_end().to_owned()))
            }
            Some(Output::Abandon) => Some(Said::Asks("abandon".into())),
            None => {
                self.session.as_ref().filter(|session| session.is_logged_in())?;
                let unread = self.session.take()?.into_forward()?.unread;
                Some(Said::Asks(format!("forward {}", unread.escape_ascii()).trim_end().to_owned()))
            }
        }
    }
}

fn show(request: &LoginRequest) -> String {
    let secret = match &request.proof {
        Proof::Password(secret) => String::from_utf8_lossy(secret.expose()).into_owned(),
        Proof::Exchange { mechanism, message } => {
            format!("{} {}", mechanism.name(), message.expose().escape_ascii())
        }
    };
    let authzid = request.authzid.as_ref().map(|authzid| format!(" authzid={authzid}")).unwrap_or_default();
    let claims = if request.claims == Default::default() { String::new() } else { show_claims(&request.claims) };
    let hello = request.hello.as_ref().map(|hello| format!(" hello={}", hello.name)).unwrap_or_default();
    format!("login {} {secret}{authzid}{claims}{hello}", request.login)
}

fn show_claims(claims: &Claims) -> String {
    let Claims { client, client_port, session, ttl, .. } = claims;
    let end = |value: Option<String>| value.unwrap_or_default();
    format!(
        " client={}:{} session={} ttl={}",
        end(client.map(|ip| ip.to_string())),
        end(client_port.map(|port| port.to_string())),
        end(session.map(|session| session.to_string())),
        end(ttl.map(|ttl| ttl.to_string()))
    )
}

fn settings(script: &BTreeMap<String, String>) -> Settings {
    let protection = match script.get("tls").map(String::as_str) {
        None | Some("offered") => Protection::Offered,
        Some("required") => Protection::Required,
        Some("active") => Protection::Active(TlsFacts::default()),
        Some("none") => Protection::Plain,
        Some(other) => panic!("tls={other}"),
    };
    let peer = match script.get("peer").map(String::as_str) {
        None | Some("client") => Peer::Client,
        Some("router") => Peer::Router,
        Some(other) => panic!("peer={other}"),
    };
    let believes_claims = script.get("proxy").is_some_and(|proxy| proxy == "believed");
    let others = script.get("sasl").map_or("", String::as_str).split(',').filter_map(Mechanism::parse);
    let mechanisms = Mechanism::ALWAYS.into_iter().chain(others).collect();
    let settings = Settings::new("mail.example.org", protection, peer);
    Settings { believes_claims, mechanisms, message_bytes_max: 1000, ..settings }
}

fn scripts(folder: &str) -> Vec<(PathBuf, Script)> {
    let dialogues = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/dialogues");
    let scripts = Script::all_in(&dialogues.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    assert!(!scripts.is_empty());
    scripts
}

fn play_all<S: Session>(folder: &str, begin: fn(Instant, Settings) -> S) {
    let mut failures = Vec::new();
    for (path, script) in scripts(folder) {
        let now = Instant::now();
        let mut player = Login { session: Some(begin(now, settings(&script.settings))), now };
        if let Err(error) = script.play(&mut player) {
            failures.push(format!("{}: {error}", path.display()));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn imap_dialogues_go_as_written() {
    play_all("imap-prelogin", ImapLogin::new);
}

#[test]
fn pop3_dialogues_go_as_written() {
    play_all("pop3-prelogin", Pop3Login::new);
}

#[test]
fn submission_dialogues_go_as_written() {
    play_all("submission-prelogin", SubmissionLogin::new);
}

#[test]
fn a_dribbled_dialogue_goes_the_same_way() {
    let now = Instant::now();
    let mut session = ImapLogin::new(now, Settings::new("x", Protection::Plain, Peer::Client));
    session.poll();
    for byte in b"a1 LOGIN {3+}\r\neve {6+}\r\nwonder\r\n" {
        assert_eq!(session.poll(), None);
        session.handle(now, Input::Bytes(&[*byte]));
    }
    assert!(matches!(session.poll(), Some(Output::Login(request)) if show(&request) == "login eve wonder"));
}

#[test]
fn what_is_sent_during_a_login_is_bounded() {
    let now = Instant::now();
    let mut session = ImapLogin::new(now, Settings::new("x", Protection::Plain, Peer::Client));
    session.handle(now, Input::Bytes(b"a1 LOGIN eve wonder\r\n"));
    for _ in 0..20 {
        session.handle(now, Input::Bytes(&[b'x'; 8192]));
    }
    assert!(std::iter::from_fn(|| session.poll()).any(|output| output == Output::Close));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_session_panic(packets: Vec<Vec<u8>>) {
        let now = Instant::now();
        let mut imap = ImapLogin::new(now, Settings::new("x", Protection::Offered, Peer::Client));
        let mut pop3 = Pop3Login::new(now, Settings::new("x", Protection::Offered, Peer::Client));
        let mut submission = SubmissionLogin::new(now, Settings::new("x", Protection::Offered, Peer::Client));
        for packet in packets {
            imap.handle(now, Input::Bytes(&packet));
            pop3.handle(now, Input::Bytes(&packet));
            submission.handle(now, Input::Bytes(&packet));
            while submission.poll().is_some() {}
            while imap.poll().is_some() || pop3.poll().is_some() {}
        }
    }
}
