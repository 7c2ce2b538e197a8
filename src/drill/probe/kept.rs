//! An IMAP session that is kept, and asked again and again whether it lives.
//!
//! NOOPs are sent when they are due, whether or not earlier ones were answered. When the connection ends, a new session is
//! opened, as a mail client would; NOOPs that fall due meanwhile wait for it. A connection that is merely silent is not given
//! up: to end it is the router's business, and part of what is measured.

use std::{collections::VecDeque, io, net::SocketAddr, time::Instant};

use tokio::{io::AsyncWriteExt as _, net::tcp::OwnedWriteHalf, sync::mpsc, task::JoinSet};

use super::{
    PENDING_MAX, PROBE_MAX, Probed,
    client::{LineReader, Lines, open_inbox},
    series::{Answer, EVERY},
};

/// Where and as whom.
#[derive(Clone)]
pub struct Login {
    /// Tried in this order.
    pub addresses: Vec<SocketAddr>,
    pub login: String,
    pub password: String,
}

/// A NOOP that has no answer yet.
struct Pending {
    number: u64,
    began: Instant,
}

enum Heard {
    Opened(io::Result<Lines>),
    /// The session with this number said that it has done a NOOP.
    Done(u64),
    Ended(u64),
}

/// Runs until it is dropped; then what has no answer is told as failed by whoever asked.
pub struct Kept {
    login: Login,
    series: usize,
    answers: mpsc::Sender<Probed>,
    pending: VecDeque<Pending>,
    /// The session's writing end, while there is a session.
    session: Option<OwnedWriteHalf>,
    sessions: u64,
    is_opening: bool,
    tasks: JoinSet<Heard>,
    heard: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
}

impl Kept {
    pub fn new(login: Login, series: usize, answers: mpsc::Sender<Probed>) -> Self {
        Self {
            login,
            series,
            answers,
            pending: VecDeque::new(),
            session: None,
            sessions: 0,
            is_opening: false,
            tasks: JoinSet::new(),
            heard: mpsc::channel(PENDING_MAX),
        }
    }

    pub async fn run(mut self) {
        let mut due = tokio::time::interval(EVERY);
        for number in 0.. {
            // What happens between two probes.
            let began = loop {
                tokio::select! {
                    due = due.tick() => break due.into_std(),
                    Some(heard) = self.heard.1.recv() => self.on_heard(heard).await,
                    Some(Ok(heard)) = self.tasks.join_next(), if !self.tasks.is_empty() => self.on_heard(heard).await,
                }
            };
            self.on_due(number, began).await;
        }
    }

    async fn on_due(&mut self, number: u64, began: Instant) {
        let _ = self.answers.send(Probed::Began { series: self.series, number, began }).await;
        if self.pending.len() >= PENDING_MAX {
            return self.tell(Pending { number, began }, false).await;
        }
        self.pending.push_back(Pending { number, began });
        match &mut self.session {
            Some(writer) => {
                // A failure is heard by the reading end, too.
                let _ = writer.write_all(b"n NOOP\r\n").await;
            }
            None if self.is_opening => {}
            None => {
                self.is_opening = true;
                let Login { addresses, login, password } = self.login.clone();
                self.tasks.spawn(async move {
                    let opening = tokio::time::timeout(PROBE_MAX, open_inbox(&addresses, &login, &password)).await;
                    Heard::Opened(opening.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
                });
            }
        }
    }

    async fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Opened(Ok(lines)) => {
                self.is_opening = false;
                self.sessions += 1;
                let Lines { reader, mut writer } = lines;
                let noops = b"n NOOP\r\n".repeat(self.pending.len());
                let _ = writer.write_all(&noops).await;
                self.session = Some(writer);
                self.tasks.spawn(listen(reader, self.sessions, self.heard.0.clone()));
            }
            Heard::Opened(Err(_)) => {
                self.is_opening = false;
                self.fail_all().await;
            }
            Heard::Done(session) if session == self.sessions => {
                if let Some(pending) = self.pending.pop_front() {
                    self.tell(pending, true).await;
                }
            }
            Heard::Ended(session) if session == self.sessions => {
                self.session = None;
                self.fail_all().await;
            }
            // Said by an earlier session.
            Heard::Done(_) | Heard::Ended(_) => {}
        }
    }

    async fn fail_all(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            self.tell(pending, false).await;
        }
    }

    async fn tell(&self, pending: Pending, is_good: bool) {
        let answer = Answer { began: pending.began, ended: Instant::now(), is_good };
        let _ = self.answers.send(Probed::Ended { series: self.series, number: pending.number, answer }).await;
    }
}

async fn listen(mut reader: LineReader, session: u64, heard: mpsc::Sender<Heard>) -> Heard {
    while let Ok(line) = reader.line().await {
        if line.starts_with("n OK") {
            let _ = heard.send(Heard::Done(session)).await;
        }
    }
    Heard::Ended(session)
}
