//! Plays `integration-tests/dialogues/{smtp,lmtp}/*.txt` against the bare session.
//!
//! `C:` is what the client sends, with CRLF unless the line ends in `\c`; ` | ` joins lines into one packet; `\r`, `\n`, `\0`
//! and `\xHH` are bytes. `S:` is a line of the server, `?` what the session asks of its driver, `=` what the driver answers.
//! `@` at the top sets the session up. The whole is compared as text.

use std::{fs, path::Path, time::Duration};

use super::*;
use crate::handoff::TlsFacts;

struct Player {
    session: SmtpSession,
    now: std::time::Instant,
    transcript: Vec<String>,
    line: Vec<u8>,
}

impl Player {
    fn new(settings: Settings) -> Self {
        let now = std::time::Instant::now();
        Self { session: SmtpSession::new(now, settings), now, transcript: Vec::new(), line: Vec::new() }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.session.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            let text = match output {
                Output::Write(bytes) => {
                    self.server_says(&bytes);
                    continue;
                }
                Output::Resolve(recipient) => format!("? resolve {}", recipient.address),
                Output::Begin(envelope) => {
                    let from = envelope.reverse_path.as_ref().map_or("", |path| path.as_str());
                    format!("? begin <{from}> for {}", envelope.recipients.len())
                }
                Output::Content(bytes) => format!("? content {}", escape(&bytes)),
                Output::End => "? end".into(),
                Output::Abort => "? abort".into(),
                Output::StartTls(_) => "? starttls".into(),
                Output::Close => "? close".into(),
            };
            self.transcript.push(text);
        }
    }

    fn server_says(&mut self, bytes: &[u8]) {
        self.line.extend_from_slice(bytes);
        while let Some(end) = memchr::memmem::find(&self.line, b"\r\n") {
            let line: Vec<u8> = self.line.drain(..end + 2).collect();
            self.transcript.push(format!("S: {}", String::from_utf8_lossy(&line[..end])));
        }
    }

    fn driver_answers(&mut self, answer: &str) {
        let (word, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        match word {
            "accept" if rest.is_empty() => {
                let asked = self.transcript.iter().rev().find_map(|line| line.strip_prefix("? resolve ")).unwrap();
                let address = Mailbox::parse(asked).unwrap();
                self.handle(Input::Resolved(Ok(address)));
            }
            "accept" => self.handle(Input::Resolved(Ok(Mailbox::parse(rest).unwrap()))),
            "refuse" => self.handle(Input::Resolved(Err(reply(rest)))),
            "ready" => self.handle(Input::Ready(Ok(()))),
            "unready" => self.handle(Input::Ready(Err(reply(rest)))),
            "done" => self.handle(Input::Done(rest.split(" ; ").map(reply).collect())),
            "tls" => {
                self.handle(Input::TlsDone(TlsFacts { version: "TLSv1.3".into(), cipher: String::new(), sni: None }))
            }
            "eof" => self.handle(Input::Eof),
            "shutdown" => self.handle(Input::Shutdown),
            "wait" => {
                self.now += Duration::from_secs(rest.parse().unwrap());
                self.handle(Input::Tick);
            }
            other => panic!("no driver answers {other:?}"),
        }
    }
}

fn reply(text: &str) -> Reply {
    crate::wire::smtp::parse_reply(format!("{text}\r\n").as_bytes()).unwrap().unwrap().0
}

fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\"")
}

/// The bytes of one `C:` line.
fn packet(text: &str) -> Vec<u8> {
    let lines: Vec<Vec<u8>> = text.split(" | ").map(client_line).collect();
    lines.concat()
}

fn client_line(text: &str) -> Vec<u8> {
    let (text, end): (&str, &[u8]) = match text.strip_suffix("\\c") {
        Some(text) => (text, b""),
        None => (text, b"\r\n"),
    };
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('r') => bytes.push(b'\r'),
                Some('n') => bytes.push(b'\n'),
                Some('0') => bytes.push(0),
                Some('x') => {
                    let digits: String = chars.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                Some('\\') => bytes.push(b'\\'),
                other => panic!("unknown escape {other:?}"),
            },
            '*' if text.ends_with('}') && chars.as_str().starts_with('{') => {
                // `x*{2048}` repeats the character before it.
                let times: usize = chars.as_str().trim_matches(['{', '}']).parse().unwrap();
                let last = *bytes.last().unwrap();
                bytes.resize(bytes.len() + times - 1, last);
                break;
            }
            c => bytes.extend_from_slice(c.to_string().as_bytes()),
        }
    }
    bytes.extend_from_slice(end);
    bytes
}

fn settings(dialect: Dialect, words: &str) -> Settings {
    let mut settings = Settings {
        dialect,
        peer: Peer::Client,
        host: "mx.example".into(),
        domain: "example".into(),
        message_bytes_max: 1000,
        recipients_max: 100,
        starttls: false,
        tls: false,
    };
    for word in words.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("router", _) => settings.peer = Peer::Router,
            ("starttls", _) => settings.starttls = true,
            ("tls", _) => settings.tls = true,
            ("size", max) => settings.message_bytes_max = max.parse().unwrap(),
            ("recipients", max) => settings.recipients_max = max.parse().unwrap(),
            (other, _) => panic!("unknown setting {other:?}"),
        }
    }
    settings
}

fn play(dialect: Dialect, script: &str) -> (Vec<String>, Vec<String>) {
    let lines: Vec<&str> =
        script.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let words = lines.first().and_then(|line| line.strip_prefix("@ ")).unwrap_or_default();
    let mut player = Player::new(settings(dialect, words));
    let first = lines.iter().position(|line| !line.starts_with('@')).unwrap_or(0);
    if lines[first].starts_with("S: ") {
        player.drain();
    }
    let mut expected = Vec::new();
    for line in &lines[first..] {
        expected.push((*line).to_owned());
        if let Some(client) = line.strip_prefix("C: ") {
            player.transcript.push((*line).to_owned());
            player.handle(Input::Bytes(&packet(client)));
        } else if let Some(answer) = line.strip_prefix("= ") {
            player.transcript.push((*line).to_owned());
            player.driver_answers(answer);
        }
    }
    (player.transcript, expected)
}

fn play_folder(dialect: Dialect, folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/dialogues").join(folder);
    let mut played = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let (actual, expected) = play(dialect, &fs::read_to_string(&path).unwrap());
        assert_eq!(actual.join("\n"), expected.join("\n"), "\nactual (left), expected (right) in {}", path.display());
        played += 1;
    }
    assert!(played > 0);
}

#[test]
fn every_smtp_dialogue_goes_as_written() {
    play_folder(Dialect::Smtp, "smtp");
}

#[test]
fn every_lmtp_dialogue_goes_as_written() {
    play_folder(Dialect::Lmtp, "lmtp");
}

/// What the session makes of a client whose every byte comes alone, and of one that sends all at once, is the same.
#[test]
fn the_cut_of_packets_does_not_matter() {
    let talk = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nNOOP\r\nRSET\r\nVRFY x\r\nQUIT\r\n";
    let run = |size: usize| {
        let mut player = Player::new(settings(Dialect::Smtp, ""));
        player.drain();
        for piece in talk.chunks(size) {
            player.handle(Input::Bytes(piece));
            while player.transcript.last().is_some_and(|line| line.starts_with("? resolve")) {
                player.driver_answers("accept");
            }
        }
        player.transcript
    };
    let by_bytes = run(1);
    assert_eq!(by_bytes.last().map(String::as_str), Some("? close"));
    for size in [2, 7, talk.len()] {
        let mut sorted = (run(size), by_bytes.clone());
        sorted.0.retain(|line| line.starts_with("S:"));
        sorted.1.retain(|line| line.starts_with("S:"));
        assert_eq!(sorted.0, sorted.1);
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
            for dialect in [Dialect::Smtp, Dialect::Lmtp] {
                let mut player = Player::new(settings(dialect, ""));
                player.drain();
                let hello = if dialect == Dialect::Smtp { "EHLO x" } else { "LHLO x" };
                player.handle(Input::Bytes(
                    format!("{hello}\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n").as_bytes(),
                ));
                player.driver_answers("accept");
                player.driver_answers("ready");
                let smuggled =
                    format!("hi{before}.{after}MAIL FROM:<x@y>\r\nRCPT TO:<c@d>\r\nDATA\r\nbad\r\n.\r\nQUIT\r\n");
                player.handle(Input::Bytes(smuggled.as_bytes()));
                let begun = player.transcript.iter().filter(|line| line.starts_with("? begin")).count();
                assert_eq!(begun, 1, "{before:?} {after:?}");
                assert!(!player.transcript.contains(&"? end".to_owned()), "{before:?} {after:?}");
                assert_eq!(player.transcript.last().map(String::as_str), Some("? close"), "{before:?} {after:?}");
                let refusal = &player.transcript[player.transcript.len() - 2];
                assert!(refusal.starts_with("S: 554 5.6.0"), "{refusal}");
            }
        }
    }
}
