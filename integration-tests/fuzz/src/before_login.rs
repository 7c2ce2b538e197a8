//! Sessions before login, with a driver that answers whatever they ask.

use std::time::Instant;

use laniakea_router::{
    handoff::TlsFacts,
    session::{
        Fault, ImapLogin, Input, LoginOutcome, LoginRequest, Output, Peer, Pop3Login, Protection, Session, Settings,
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

fn log_in<S: Session>(begin: fn(Instant, Settings) -> S, bytes: &[u8]) {
    let kind = bytes.len() % 6;
    let protection = if kind < 3 { Protection::Offered } else { Protection::Required };
    let peer = if kind.is_multiple_of(3) { Peer::Router } else { Peer::Client };
    let mut now = Instant::now();
    let mut session = begin(now, Settings::new("mail.example.org", protection, peer));
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
    let secret = request.secret.expose();
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
