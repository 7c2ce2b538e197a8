//! Sessions before login, with a driver that answers whatever they ask.

use std::time::Instant;

use laniakea_backend::proof::ScramServer;
use laniakea_config::Mechanism;
use laniakea_directory::{ScramKeys, ScramShape};
use laniakea_router::{
    handoff::TlsFacts,
    session::{
        Fault, ImapLogin, Input, LoginOutcome, LoginRequest, Output, Peer, Pop3Login, Protection, Session, Settings,
        SubmissionLogin,
    },
    wire::{
        sasl::{Credentials, Proof},
        scram::ClientFirst,
    },
};

use crate::packets;

/// IMAP until the account is known.
pub(crate) fn imap(bytes: &[u8]) {
    log_in(ImapLogin::new, bytes);
}

/// POP3 until the account is known.
pub(crate) fn pop3(bytes: &[u8]) {
    log_in(Pop3Login::new, bytes);
}

/// Submission until the account is known.
pub(crate) fn submission(bytes: &[u8]) {
    log_in(SubmissionLogin::new, bytes);
}

/// The messages of an exchange, as they are inside their base64.
pub(crate) fn sasl(bytes: &[u8]) {
    for mechanism in Mechanism::ALL {
        if let Ok(Credentials { name, .. }) = Credentials::of_exchange(mechanism, bytes) {
            assert!(!name.is_empty() && !name.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        }
    }
    let keys = ScramKeys::made_up(b"secret", b"eve", ScramShape::default());
    let Ok(first) = ClientFirst::parse(bytes) else { return };
    assert!(bytes.ends_with(first.bare.as_bytes()), "what is signed is what was sent");
    let (server, challenge) = ScramServer::begin(&first, keys, "ours");
    assert!(challenge.starts_with(&format!("r={}ours,", first.nonce)));
    assert_eq!(server.finish(bytes), None, "nobody has no proof");
}

fn log_in<S: Session>(begin: fn(Instant, Settings) -> S, bytes: &[u8]) {
    let kind = bytes.len() % 6;
    let protection = if kind < 3 { Protection::Offered } else { Protection::Required };
    let peer = if kind.is_multiple_of(3) { Peer::Router } else { Peer::Client };
    let mut now = Instant::now();
    let mechanisms = Mechanism::ALL.into();
    let mut session = begin(now, Settings { mechanisms, ..Settings::new("mail.example.org", protection, peer) });
    let mut refusals = kind;
    let mut sent = Vec::new();
    for packet in packets(bytes) {
        sent.extend_from_slice(packet);
        session.handle(now, Input::Bytes(packet));
        loop {
            match session.poll() {
                Some(Output::Write(lines)) => check_lines(&lines),
                Some(Output::StartTls(_)) => session.handle(now, Input::TlsDone(TlsFacts::default())),
                Some(Output::Login(request)) => {
                    check_request(&request);
                    let outcome = match refusals {
                        _ if !request.is_repeatable() => LoginOutcome::Challenge(bytes.to_vec()),
                        0 => LoginOutcome::Accepted { capabilities: None, text: "welcome".to_owned() },
                        _ => LoginOutcome::Refused(Fault::BadCredentials),
                    };
                    refusals = refusals.saturating_sub(1);
                    session.handle(now, Input::Login(outcome));
                    // The refusal is held back for a while.
                    if let Some(due) = session.deadline().filter(|_| refusals > 0) {
                        now = due;
                        session.handle(now, Input::Tick);
                    }
                }
                // The exchange goes on for as long as the client likes.
                Some(Output::Answer(answer)) => {
                    let challenge = LoginOutcome::Challenge(answer.expose().to_vec());
                    session.handle(now, Input::Login(challenge));
                }
                Some(Output::Abandon) => session.handle(now, Input::Login(LoginOutcome::Refused(Fault::Abandoned))),
                Some(Output::Close) => return,
                None => break,
            }
        }
        if session.is_logged_in() {
            let unread = session.into_forward().map(|forward| forward.unread).unwrap_or_default();
            assert!(sent.ends_with(&unread), "what is passed on is what came last");
            return;
        }
    }
    session.handle(now, Input::Stop);
    session.handle(now, Input::Eof);
}

/// No byte of what a client said may end a line elsewhere (CVE-2022-27924).
fn check_request(request: &LoginRequest) {
    let names = [Some(request.login.as_str()), request.authzid.as_deref(), Some(&request.tag)];
    for name in names.into_iter().flatten() {
        assert!(!name.chars().any(char::is_control), "a control character in {name:?}");
    }
    let Proof::Password(secret) = &request.proof else { return };
    let secret = secret.expose();
    assert!(!secret.is_empty(), "an empty password proves nothing");
    assert!(!secret.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "a line break in a password");
}

/// What a client said comes back only as text within a line.
pub(crate) fn check_lines(bytes: &[u8]) {
    assert!(bytes.ends_with(b"\r\n"), "a reply is made of whole lines");
    let lines = bytes.strip_suffix(b"\r\n").unwrap_or(bytes).split(|byte| *byte == b'\n');
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.contains(&b'\r') && !line.contains(&0), "{}", line.escape_ascii());
    }
}
