//! Probes: what a client of the router does every 50 ms, whether or not the last ones were answered.
//!
//! An open loop: a probe that has to wait keeps no other from starting, so an outage is seen by as many probes as a
//! crowd of clients would have begun in it.

pub mod client;
mod kept;
pub mod series;

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinSet};

pub use self::kept::Login;
use self::{
    client::{deliver, open_inbox},
    kept::Kept,
    series::{Answer, EVERY, Series},
};

/// The longest a probe waits: longer than a router tries.
const PROBE_MAX: Duration = Duration::from_secs(15);

/// Probes of one series under way; those that fall due beyond that count as failed.
const PENDING_MAX: usize = 100;

/// Answers on their way to be noted.
const ANSWERS_MAX: usize = 4096;

/// What a probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Logs in and opens the INBOX.
    Login,
    /// NOOP in a session that is kept.
    Noop,
    /// Delivers a message over LMTP.
    Deliver,
    /// Logs in to an account that is open nowhere.
    Open,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Noop => "noop",
            Self::Deliver => "deliver",
            Self::Open => "open",
        }
    }
}

/// Whether a series is about what the fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Victims,
    Others,
}

/// What a series is about.
#[derive(Debug)]
pub struct About {
    pub whose: Whose,
    pub kind: Kind,
    /// The account, or nothing if the probes are about all of them in turn.
    pub login: String,
}

/// What probes tell.
pub enum Probed {
    Began { series: usize, number: u64, began: Instant },
    Ended { series: usize, number: u64, answer: Answer },
    Accepted(Delivery),
}

/// A delivery that was acknowledged: there must be exactly one such message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    pub login: String,
    pub name: String,
}

/// All probes of one run.
pub struct Probes {
    tasks: JoinSet<()>,
    answers: (mpsc::Sender<Probed>, mpsc::Receiver<Probed>),
    series: Vec<(About, Series)>,
    /// Begun, and without an answer.
    pending: BTreeMap<(usize, u64), Instant>,
    accepted: Vec<Delivery>,
}

impl Probes {
    pub fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            answers: mpsc::channel(ANSWERS_MAX),
            series: Vec::new(),
            pending: BTreeMap::new(),
            accepted: Vec::new(),
        }
    }

    /// Logs in to these accounts in turn.
    pub fn log_in(&mut self, whose: Whose, kind: Kind, logins: Vec<Login>) {
        let series = self.begin(whose, kind, "");
        let mut turn = logins.into_iter().cycle();
        self.repeat(series, move |_| {
            let login = turn.next();
            async { open(login.ok_or(io::ErrorKind::NotFound)?).await }
        });
    }

    /// Keeps a session and asks whether it lives.
    pub fn keep(&mut self, whose: Whose, login: Login) {
        let series = self.begin(whose, Kind::Noop, &login.login);
        self.tasks.spawn(Kept::new(login, series, self.answers.0.clone()).run());
    }

    /// Delivers messages named `prefix` and a number to these accounts in turn, where they say that LMTP is spoken.
    pub fn deliver(&mut self, whose: Whose, logins: Vec<Login>, prefix: String) {
        let series = self.begin(whose, Kind::Deliver, "");
        let told = self.answers.0.clone();
        let mut turn = logins.into_iter().cycle();
        self.repeat(series, move |number| {
            let (login, told) = (turn.next(), told.clone());
            let name = format!("{prefix}-{number}");
            async move {
                let login = login.ok_or(io::ErrorKind::NotFound)?;
                deliver(&login.addresses, &login.login, &name).await?;
                let _ = told.send(Probed::Accepted(Delivery { login: login.login, name })).await;
                Ok(())
            }
        });
    }

    fn begin(&mut self, whose: Whose, kind: Kind, login: &str) -> usize {
        self.series.push((About { whose, kind, login: login.to_owned() }, Series::default()));
        self.series.len() - 1
    }

    fn repeat<Probing>(&mut self, series: usize, mut probe: impl FnMut(u64) -> Probing + Send + 'static)
    where
        Probing: Future<Output = io::Result<()>> + Send + 'static,
    {
        let answers = self.answers.0.clone();
        self.tasks.spawn(async move {
            let mut due = tokio::time::interval(EVERY);
            let mut under_way = JoinSet::new();
            for number in 0.. {
                // The moment it was due: what delays us delays a client as well.
                let began = due.tick().await.into_std();
                while under_way.try_join_next().is_some() {}
                let _ = answers.send(Probed::Began { series, number, began }).await;
                let (told, is_full) = (answers.clone(), under_way.len() >= PENDING_MAX);
                let probing = probe(number);
                let tell = async move |is_good| {
                    let answer = Answer { began, ended: Instant::now(), is_good };
                    let _ = told.send(Probed::Ended { series, number, answer }).await;
                };
                if is_full {
                    tell(false).await;
                } else {
                    under_way.spawn(async move {
                        tell(matches!(tokio::time::timeout(PROBE_MAX, probing).await, Ok(Ok(())))).await;
                    });
                }
            }
        });
    }

    /// Notes answers until every series has been calm for a second after `moment`.
    pub async fn until_calm_since(&mut self, moment: Instant) {
        while !self.series.iter().all(|(_, series)| series.is_calm_since(moment)) {
            // One sender is ours, so there is always another answer to wait for.
            let Some(probed) = self.answers.1.recv().await else { return };
            self.note(probed);
        }
    }

    fn note(&mut self, probed: Probed) {
        match probed {
            Probed::Began { series, number, began } => {
                self.pending.insert((series, number), began);
            }
            Probed::Ended { series, number, answer } => {
                self.pending.remove(&(series, number));
                if let Some((_, series)) = self.series.get_mut(series) {
                    series.note(number, answer);
                }
            }
            Probed::Accepted(delivery) => self.accepted.push(delivery),
        }
    }

    /// Ends all probes. What has no answer now, and should have had one, has failed.
    pub async fn end(mut self) -> Ended {
        self.tasks.shutdown().await;
        while let Ok(probed) = self.answers.1.try_recv() {
            self.note(probed);
        }
        let ended = Instant::now();
        for ((series, number), began) in std::mem::take(&mut self.pending) {
            if ended - began > series::ANSWER_MAX
                && let Some((_, series)) = self.series.get_mut(series)
            {
                series.note(number, Answer { began, ended, is_good: false });
            }
        }
        Ended { series: self.series, accepted: self.accepted }
    }
}

/// What probes have found.
pub struct Ended {
    series: Vec<(About, Series)>,
    pub accepted: Vec<Delivery>,
}

impl Ended {
    /// The outage after `moment` of each series.
    pub fn outages(&self, moment: Instant) -> impl Iterator<Item = (&About, Duration)> {
        self.series.iter().map(move |(about, series)| (about, series.outage_since(moment)))
    }
}

async fn open(login: Login) -> io::Result<()> {
    open_inbox(&login.addresses, &login.login, &login.password).await.map(drop)
}
