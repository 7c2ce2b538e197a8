//! Plays `integration-tests/dialogues/{smtp,lmtp}` against the bare session; what no single dialogue can show is below.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use laniakea_directory::Address;

use super::*;
use crate::{
    dialogue::{Player, Said, Script},
    handoff::TlsFacts,
    wire::smtp::parse_reply,
};

/// A session and a clock that moves only when the script says so.
struct Table {
    session: SmtpSession,
    now: Instant,
    asked: Option<Mailbox>,
    /// The greeting was not read yet.
    deaf: bool,
}

impl Table {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        Self { session: SmtpSession::new(now, settings), now, asked: None, deaf: false }
    }

    fn of(dialect: Dialect, script: &Script) -> Self {
        let mut settings = settings(dialect);
        let mut deaf = false;
        for (key, value) in &script.settings {
            match key.as_str() {
                "peer" => settings.peer = Peer::Router,
                "submitter" => {
                    let hello = Hello { name: "client".into(), extended: true };
                    settings.submitter = Some(Submitter { hello, addresses: vec![Address::parse(value).unwrap()] });
                }
                "proxy" => settings.believes_claims = true,
                "starttls" => settings.starttls = true,
                "size" => settings.message_bytes_max = value.parse().unwrap(),
                "recipients" => settings.recipients_max = value.parse().unwrap(),
                "greeting" => deaf = true,
                other => panic!("no setting {other}"),
            }
        }
        Self { deaf, ..Self::new(settings) }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.session.handle(self.now, input);
    }

    /// All that is said now, as text.
    fn drain(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(said) = self.next_said() {
            match said {
                Said::Bytes(bytes) => {
                    all.extend(String::from_utf8(bytes).unwrap().lines().map(|line| format!("S: {line}")))
                }
                Said::Asks(text) => all.push(format!("? {text}")),
            }
        }
        all
    }
}

impl Player for Table {
    fn send(&mut self, bytes: &[u8]) {
        self.deaf = false;
        self.handle(Input::Bytes(bytes));
    }

    fn answer(&mut self, text: &str) -> Result<(), String> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "accept" if rest.is_empty() => {
                let address = self.asked.take().ok_or("nobody was asked for")?;
                self.handle(Input::Resolved(Ok(address)));
            }
            "accept" => self.handle(Input::Resolved(Ok(Mailbox::parse(rest).map_err(|error| error.to_string())?))),
            "refuse" => self.handle(Input::Resolved(Err(reply(rest)))),
            "ready" => self.handle(Input::Ready(Ok(()))),
            "unready" => self.handle(Input::Ready(Err(reply(rest)))),
            "done" => self.handle(Input::Done(rest.split(" ; ").map(reply).collect())),
            "tls" => self.handle(Input::TlsDone(TlsFacts::default())),
            "eof" => self.handle(Input::Eof),
            "shutdown" => self.handle(Input::Shutdown),
            "wait" => {
                self.now += Duration::from_secs(rest.parse().map_err(|_| "how many seconds?")?);
                self.handle(Input::Tick);
            }
            other => return Err(format!("no driver answers {other:?}")),
        }
        Ok(())
    }

    fn next_said(&mut self) -> Option<Said> {
        if self.deaf {
            return None;
        }
        Some(Said::Asks(match self.session.poll()? {
            Output::Write(bytes) => return Some(Said::Bytes(bytes)),
            Output::Resolve(recipient) => {
                self.asked = Some(recipient.address.clone());
                format!("resolve {}", recipient.address)
            }
            Output::Begin(envelope) => {
                let from = envelope.reverse_path.as_ref().map_or("", Mailbox::as_str);
                let claimed = envelope.claims.client_end().map(|client| format!(" of {client}")).unwrap_or_default();
                format!("begin <{from}> for {}{claimed}", envelope.recipients.len())
            }
            Output::Content(bytes) => format!("content {}", bytes.escape_ascii()),
            Output::End => "end".into(),
            Output::Abort => "abort".into(),
            Output::StartTls(_) => "starttls".into(),
            Output::Close => "close".into(),
        }))
    }
}

fn reply(text: &str) -> Reply {
    parse_reply(format!("{text}\r\n").as_bytes()).unwrap().unwrap().0
}

fn settings(dialect: Dialect) -> Settings {
    Settings {
        dialect,
        peer: Peer::Client,
        host: "mx.example".into(),
        domain: "example".into(),
        message_bytes_max: 1000,
        recipients_max: 100,
        starttls: false,
        believes_claims: false,
        submitter: None,
        tls: false,
    }
}

fn play_folder(dialect: Dialect, folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/dialogues").join(folder);
    let scripts = Script::all_in(&folder).unwrap();
    assert!(!scripts.is_empty());
    for (path, script) in scripts {
        script.play(&mut Table::of(dialect, &script)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn every_smtp_dialogue_goes_as_written() {
    play_folder(Dialect::Smtp, "smtp");
}

#[test]
fn every_lmtp_dialogue_goes_as_written() {
    play_folder(Dialect::Lmtp, "lmtp");
}

/// However the bytes are cut into packets, the client hears the same.
#[test]
fn the_cut_of_packets_does_not_matter() {
    let talk = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nNOOP\r\nRSET\r\nVRFY x\r\nQUIT\r\n";
    let run = |size: usize| {
        let mut table = Table::new(settings(Dialect::Smtp));
        let mut heard = table.drain();
        for piece in talk.chunks(size) {
            table.send(piece);
            heard.extend(table.drain());
            while table.asked.is_some() {
                table.answer("accept").unwrap();
                heard.extend(table.drain());
            }
        }
        heard.retain(|line| line.starts_with("S:") || line == "? close");
        heard
    };
    let by_bytes = run(1);
    assert_eq!(by_bytes.last().map(String::as_str), Some("? close"));
    for size in [2, 7, talk.len()] {
        assert_eq!(run(size), by_bytes);
    }
}

/// Every separator some server was ever caught taking for the end of a message.
#[test]
fn no_separator_smuggles_a_second_message() {
    let ends: [&str; 7] = ["\r\n", "\n", "\r", "\r\r\n", "\n\n", "\0\r\n", "\r\0\n"];
    for before in ends {
        for after in ends {
            if (before, after) == ("\r\n", "\r\n") {
                continue;
            }
            check_separator(Dialect::Smtp, "EHLO", before, after);
            check_separator(Dialect::Lmtp, "LHLO", before, after);
        }
    }
}

fn check_separator(dialect: Dialect, hello: &str, before: &str, after: &str) {
    let mut table = Table::new(settings(dialect));
    table.drain();
    table.send(format!("{hello} x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n").as_bytes());
    table.drain();
    table.answer("accept").unwrap();
    table.drain();
    table.answer("ready").unwrap();
    table.drain();
    table
        .send(format!("hi{before}.{after}MAIL FROM:<x@y>\r\nRCPT TO:<c@d>\r\nDATA\r\nbad\r\n.\r\nQUIT\r\n").as_bytes());
    let heard = table.drain();
    let count = |text: &str| heard.iter().filter(|line| line.starts_with(text)).count();
    assert_eq!((count("? end"), count("? begin"), count("S: 250")), (0, 0, 0), "{before:?} . {after:?}: {heard:?}");
    assert!(heard[heard.len() - 2].starts_with("S: 554 5.6.0"), "{before:?} . {after:?}: {heard:?}");
    assert_eq!(heard.last().map(String::as_str), Some("? close"), "{before:?} . {after:?}");
}
