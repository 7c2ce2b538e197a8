//! Plays `integration-tests/dialogues/pop3` against bare sessions on an account in memory.
//!
//! Beside the marks of every dialogue: `! inbox=a,b` fills INBOX with messages of the folder `pop3/mail`. `? permit`,
//! `? remove UIDS` and `? read` are what the session asks; `! driver=absent` lets the script answer itself: `= permitted`,
//! `= failed`, `= body` and a text, `= gone`, `= removed`, `= refused`, `= eof`, `= silence`.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use laniakea_router::dialogue::{Player, Said, Script};

use super::{Pop3Session, SILENCE_MAX};
use crate::mailbox::{
    Account, BodyRecord, Flags, MailboxName, NewMessage, Plan, Refusal, Reply, Request, Timestamp, perform,
};
use crate::session::{BodyFault, Fault, Input, Output, Session, SessionSettings};
use crate::store::BodyRef;

struct Players {
    account: Account,
    bodies: Vec<Bytes>,
    session: Option<Pop3Session>,
    /// Whether the script answers in the driver's place.
    absent: bool,
    said: VecDeque<Said>,
    now: Instant,
}

impl Players {
    fn new(script: &Script) -> Self {
        let mut players = Self {
            account: Account::new(),
            bodies: Vec::new(),
            session: None,
            absent: script.settings.contains_key("driver"),
            said: VecDeque::new(),
            now: Instant::now(),
        };
        for name in script.settings.get("inbox").into_iter().flat_map(|names| names.split(',')) {
            let path = folder().join("mail").join(format!("{name}.eml"));
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let body = BodyRecord::new(text.replace('\n', "\r\n").as_bytes()).unwrap();
            let message = NewMessage { flags: Flags::new(), internal_date: None, body };
            players.perform(Request::Append { mailbox: MailboxName::parse("INBOX").unwrap(), messages: vec![message] });
        }
        let account = Arc::new(players.account.clone());
        players.session = Some(Pop3Session::new(players.now, &account, &SessionSettings::default(), Vec::new()));
        players
    }

    fn perform(&mut self, request: Request) -> Reply {
        let bodies = &mut self.bodies;
        let mut place = |_: &[u8], body: Option<&[u8]>| {
            body.map(|body| {
                bodies.push(Bytes::copy_from_slice(body));
                BodyRef::File { epoch: 1, number: bodies.len() as u64 - 1, length: body.len() as u64 }
            })
        };
        perform(&mut self.account, request, Timestamp(0), 1, &mut Plan::new(&mut place))
    }

    fn session(&mut self) -> &mut Pop3Session {
        self.session.as_mut().unwrap()
    }

    fn tell(&mut self, input: Input<'_>) {
        let now = self.now;
        self.session().handle(now, input);
    }
}

impl Player for Players {
    fn send(&mut self, bytes: &[u8]) {
        self.tell(Input::Bytes(bytes));
    }

    fn answer(&mut self, text: &str) -> Result<(), String> {
        match text {
            "eof" => self.tell(Input::Eof),
            "permitted" => self.tell(Input::Permitted),
            "failed" => self.tell(Input::Failed(Fault::Unavailable)),
            "departed" => self.tell(Input::Failed(Fault::Departed)),
            "gone" => self.tell(Input::Body(Err(BodyFault::Gone))),
            "unreadable" => self.tell(Input::Body(Err(BodyFault::Unavailable))),
            "removed" => self.tell(Input::Reply(Reply::Done)),
            "refused" => self.tell(Input::Reply(Reply::Refused(Refusal::NoSuchMailbox))),
            "silence" => {
                self.now += SILENCE_MAX;
                self.tell(Input::Deadline);
            }
            other => {
                let body = other.strip_prefix("body ").ok_or_else(|| format!("no such answer: {other}"))?;
                self.tell(Input::Body(Ok(Bytes::copy_from_slice(body.replace("\\n", "\r\n").as_bytes()))));
            }
        }
        Ok(())
    }

    fn next_said(&mut self) -> Option<Said> {
        if let Some(said) = self.said.pop_front() {
            return Some(said);
        }
        loop {
            let absent = self.absent;
            let asks = |text: String| absent.then_some(Said::Asks(text));
            let heard = match self.session().poll()? {
                Output::Write(bytes) => return Some(Said::Bytes(bytes.to_vec())),
                Output::Close => return Some(Said::Asks("close".into())),
                Output::Permit => {
                    if !absent {
                        self.tell(Input::Permitted);
                    }
                    asks("permit".into())
                }
                Output::Read { body, range } => {
                    if !absent {
                        let BodyRef::File { number, .. } = body else { panic!("no such body") };
                        let body = self.bodies[number as usize].slice(range.start as usize..range.end as usize);
                        self.tell(Input::Body(Ok(body)));
                    }
                    asks("read".into())
                }
                Output::Ask(request) => {
                    let Request::Remove { uids, .. } = &request else { panic!("asks for {request:?}") };
                    let uids: Vec<String> = uids.iter().map(|uid| uid.to_string()).collect();
                    if !absent {
                        let reply = self.perform(request);
                        self.tell(Input::Reply(reply));
                    }
                    Some(Said::Asks(format!("remove {}", uids.join(","))))
                }
            };
            if heard.is_some() {
                return heard;
            }
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/dialogues/pop3")
}

#[test]
fn dialogues_go_as_written() {
    let mut failures = Vec::new();
    let scripts = Script::all_in(&folder()).unwrap();
    assert!(!scripts.is_empty());
    for (path, script) in scripts {
        if let Err(error) = script.play(&mut Players::new(&script)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            failures.push(format!("{name}: {error}"));
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn a_long_message_is_read_in_pieces_and_arrives_whole() {
    let script = Script::parse("! inbox=note").unwrap();
    let mut players = Players::new(&script);
    let line = format!(".{}\r\n", "x".repeat(97));
    let text = format!("Subject: long\r\n\r\n{}", line.repeat(5000));
    let message =
        NewMessage { flags: Flags::new(), internal_date: None, body: BodyRecord::new(text.as_bytes()).unwrap() };
    players.perform(Request::Append { mailbox: MailboxName::parse("INBOX").unwrap(), messages: vec![message] });
    let account = Arc::new(players.account.clone());
    players.session =
        Some(Pop3Session::new(players.now, &account, &SessionSettings::default(), b"RETR 2\r\n".to_vec()));
    let mut heard = Vec::new();
    while let Some(Said::Bytes(bytes)) = players.next_said() {
        heard.extend(bytes);
    }
    let expected = format!("+OK {} octets\r\n{}.\r\n", text.len(), text.replace("\r\n.", "\r\n.."));
    assert!(heard == expected.as_bytes());
}

#[test]
fn a_long_listing_is_made_in_slices() {
    let script = Script::parse("").unwrap();
    let mut players = Players::new(&script);
    let messages =
        vec![
            NewMessage { flags: Flags::new(), internal_date: None, body: BodyRecord::new(b"a: b\r\n").unwrap() };
            20_000
        ];
    players.perform(Request::Append { mailbox: MailboxName::parse("INBOX").unwrap(), messages });
    let account = Arc::new(players.account.clone());
    players.session = Some(Pop3Session::new(players.now, &account, &SessionSettings::default(), b"UIDL\r\n".to_vec()));
    let (mut lines, mut slices) = (0, 0);
    while let Some(Said::Bytes(bytes)) = players.next_said() {
        lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        assert!(bytes.len() < 128 * 1024);
        slices += 1;
    }
    assert_eq!(lines, 20_002);
    assert!(slices > 2);
}
