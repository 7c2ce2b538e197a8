//! Plays `integration-tests/dialogues/imap` against bare sessions on an account in memory.
//!
//! Beside the marks of every dialogue: `! inbox=a,b` fills INBOX with messages of the folder
//! `imap/mail`, `! quota=n` limits the account and `! message-max=n` a message; `= other: line` lets
//! another session of the same account say something, and `? other: line` is what that session
//! answers.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use laniakea_router::dialogue::{Player, Said, Script};

use super::ImapSession;
use crate::mailbox::{
    Account, BodyRecord, Flags, InternalDate, MailboxName, NewMessage, Plan, Reply, Request, Timestamp, perform,
};
use crate::session::{BodyFault, Input, Output, Session, SessionSettings};
use crate::store::BodyRef;

/// When everything happens: 17 July 1996 02:44:25 -0700, as in RFC 3501's example.
const NOW: InternalDate = InternalDate { at: Timestamp(837_596_665), offset_minutes: -420 };

/// An account in memory, and what its driver does for sessions.
#[derive(Default)]
pub(super) struct World {
    pub(super) account: Arc<Account>,
    bodies: Vec<Bytes>,
    performed: u128,
}

impl World {
    /// Carries a request out as the account's worker does: on a copy, which is then published.
    pub(super) fn perform(&mut self, request: Request) -> Reply {
        let mut account = (*self.account).clone();
        let bodies = &mut self.bodies;
        let mut place = |_: &[u8], body: Option<&[u8]>| {
            body.map(|body| {
                bodies.push(Bytes::copy_from_slice(body));
                let number = bodies.len() as u64 - 1;
                BodyRef::File { epoch: 1, number, length: body.len() as u64 }
            })
        };
        self.performed += 1;
        let reply = perform(&mut account, request, NOW.at, self.performed, &mut Plan::new(&mut place));
        self.account = Arc::new(account);
        reply
    }

    /// Adds a message to a mailbox.
    pub(super) fn add(&mut self, mailbox: &str, message: &[u8]) {
        let message =
            NewMessage { flags: Flags::new(), internal_date: Some(NOW), body: BodyRecord::new(message).unwrap() };
        let mailbox = MailboxName::parse(mailbox).unwrap();
        let reply = self.perform(Request::Append { mailbox, messages: vec![message] });
        assert!(matches!(reply, Reply::Appended { .. }), "{reply:?}");
    }

    /// Adds many small messages at once.
    pub(super) fn add_many(&mut self, mailbox: &str, count: usize) {
        let message = NewMessage {
            flags: Flags::new(),
            internal_date: Some(NOW),
            body: BodyRecord::new(b"Subject: small\r\n\r\n").unwrap(),
        };
        let mailbox = MailboxName::parse(mailbox).unwrap();
        self.perform(Request::Append { mailbox, messages: vec![message; count] });
    }

    /// Bytes of a body, as the store gives them.
    pub(super) fn read(&self, body: BodyRef, range: std::ops::Range<u64>) -> Result<Bytes, BodyFault> {
        let BodyRef::File { number, .. } = body else { panic!("no such body") };
        Ok(self.bodies[number as usize].slice(range.start as usize..range.end as usize))
    }
}

/// Two sessions on one account, of which a dialogue plays the first.
pub(super) struct Players {
    pub(super) world: World,
    sessions: [ImapSession; 2],
    said: VecDeque<Said>,
}

impl Players {
    pub(super) fn new(world: World, settings: &SessionSettings) -> Players {
        let session = || ImapSession::new(Instant::now(), Arc::clone(&world.account), settings, Vec::new());
        Players { sessions: [session(), session()], said: VecDeque::new(), world }
    }

    /// Lets a session do the next thing that is heard outside; everything else is answered.
    fn next_of(&mut self, who: usize) -> Option<Said> {
        loop {
            let now = Instant::now();
            match self.sessions[who].poll()? {
                Output::Write(bytes) => return Some(Said::Bytes(bytes.to_vec())),
                Output::Close => return Some(Said::Asks("close".into())),
                Output::Permit => self.sessions[who].handle(now, Input::Permitted),
                Output::Read { body, range } => {
                    let body = self.world.read(body, range);
                    self.sessions[who].handle(now, Input::Body(body));
                }
                Output::Ask(request) => {
                    let reply = self.world.perform(request);
                    for session in &mut self.sessions {
                        session.handle(now, Input::State(Arc::clone(&self.world.account)));
                    }
                    self.sessions[who].handle(now, Input::Reply(reply));
                }
            }
        }
    }

    /// Runs the other session until it waits, and reports what it says line by line.
    fn run_other(&mut self) {
        let mut bytes = Vec::new();
        while let Some(said) = self.next_of(1) {
            match said {
                Said::Bytes(more) => bytes.extend(more),
                Said::Asks(what) => bytes.extend(format!("{what}\r\n").into_bytes()),
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        self.said.extend(text.lines().map(|line| Said::Asks(format!("other: {line}"))));
    }
}

impl Player for Players {
    fn send(&mut self, bytes: &[u8]) {
        self.sessions[0].handle(Instant::now(), Input::Bytes(bytes));
    }

    fn answer(&mut self, text: &str) -> Result<(), String> {
        let now = Instant::now();
        if text == "eof" {
            self.sessions[0].handle(now, Input::Eof);
            return Ok(());
        }
        let line = text.strip_prefix("other: ").ok_or_else(|| format!("no such answer: {text}"))?;
        self.sessions[1].handle(now, Input::Bytes(format!("{line}\r\n").as_bytes()));
        self.run_other();
        Ok(())
    }

    fn next_said(&mut self) -> Option<Said> {
        if let Some(said) = self.said.pop_front() {
            return Some(said);
        }
        let said = self.next_of(0);
        if said.is_none() {
            // What the first session did may concern the other, if that is in IDLE.
            self.run_other();
            return self.said.pop_front();
        }
        said
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/dialogues/imap")
}

/// An account as a script wants it.
fn world_of(script: &Script) -> World {
    let mut world = World::default();
    if let Some(quota) = script.settings.get("quota") {
        Arc::make_mut(&mut world.account).quota = Some(quota.parse().unwrap());
    }
    let inbox = script.settings.get("inbox").into_iter().flat_map(|names| names.split(','));
    for name in inbox {
        let path = folder().join("mail").join(format!("{name}.eml"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        world.add("INBOX", text.replace('\n', "\r\n").as_bytes());
    }
    world
}

fn settings_of(script: &Script) -> SessionSettings {
    let mut settings = SessionSettings::default();
    if let Some(bytes) = script.settings.get("message-max") {
        settings.message_bytes_max = bytes.parse().unwrap();
    }
    settings
}

#[test]
fn dialogues_go_as_written() {
    let mut failures = Vec::new();
    let scripts = Script::all_in(&folder()).unwrap();
    assert!(!scripts.is_empty());
    for (path, script) in scripts {
        if let Err(error) = script.play(&mut Players::new(world_of(&script), &settings_of(&script))) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            failures.push(format!("{name}: {error}"));
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}
