//! The examination: round after round until enough has been seen, or the time is over.

use std::time::Duration;

use super::{
    finding::{Check, Findings, Trouble},
    operation::{Answer, Operation, Side},
    script::{Ask, Expect, Phase, Round},
};

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Rounds to play where the filesystem is fast.
    pub rounds: u16,
    /// Without so many there is no verdict.
    pub rounds_least: u16,
    /// After this long, `rounds_least` are enough.
    pub budget: Duration,
    /// After this long it ends in any case.
    pub patience: Duration,
}

impl Extent {
    /// What a shared filesystem is given.
    pub const SHARED: Self = Self {
        rounds: 100,
        // Each side reads in half of them. Where a cache lies, some check is wrong in nearly every round.
        rounds_least: 4,
        budget: Duration::from_secs(3),
        patience: Duration::from_secs(60),
    };

    /// What a filesystem of one machine is given: with one kernel there is one cache, and it takes no luck to see what is
    /// missing altogether.
    pub const LOCAL: Self = Self { rounds: 4, ..Self::SHARED };

    /// What a mount is given that nobody else can be asked about: once in each role. Somebody may be waiting for this member,
    /// the only one there is.
    pub const ALONE: Self = Self { rounds: 2, rounds_least: 2, ..Self::SHARED };
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Both sides carry these out at the same time, each in this order, and the answers are given to
    /// [`Examination::answer`].
    Ask {
        /// On the mount of whoever asks.
        here: Vec<Operation>,
        /// On the peer's mount.
        there: Vec<Operation>,
    },
    /// Nothing more.
    Finished,
}

/// The examination of one filesystem through two mounts.
#[derive(Debug)]
pub struct Examination {
    extent: Extent,
    round: Round,
    phase: usize,
    asked: Phase,
    contest: Contest,
    findings: Findings,
}

/// What the two sides were told when they wanted the same name. Reader first.
#[derive(Debug, Clone, Default)]
struct Contest {
    links: [Option<Answer>; 2],
    creates: [Option<Answer>; 2],
    prizes: [Option<Answer>; 2],
}

impl Examination {
    /// Begins; `seed` is unforeseeable.
    #[must_use]
    pub fn new(extent: Extent, seed: u64) -> Self {
        Self {
            extent,
            round: Round { number: 0, seed },
            phase: 0,
            asked: Phase::default(),
            contest: Contest::default(),
            findings: Findings::default(),
        }
    }

    /// How many rounds have been played, and how many there are at most.
    #[must_use]
    pub const fn progress(&self) -> (u16, u16) {
        (self.findings.rounds, self.extent.rounds)
    }

    /// What comes next, `elapsed` after the beginning.
    pub fn next(&mut self, elapsed: Duration) -> Step {
        if self.is_over(elapsed) {
            return Step::Finished;
        }
        let Some(phase) = self.round.phase(self.phase) else { return Step::Finished };
        let operations = |asks: &[Ask]| asks.iter().map(|ask| ask.operation).collect();
        let (reader, writer) = (operations(&phase.reader), operations(&phase.writer));
        self.asked = phase;
        match self.round.reader() {
            Side::Here => Step::Ask { here: reader, there: writer },
            Side::There => Step::Ask { here: writer, there: reader },
        }
    }

    fn is_over(&self, elapsed: Duration) -> bool {
        let is_enough = self.findings.rounds >= self.extent.rounds_least;
        self.findings.trouble.is_some()
            || self.findings.rounds >= self.extent.rounds
            || elapsed >= self.extent.patience
            || (self.phase == 0 && is_enough && elapsed >= self.extent.budget)
    }

    /// Takes the answers of both sides, in the order of the operations.
    pub fn answer(&mut self, here: Vec<Answer>, there: Vec<Answer>) {
        let side = self.round.reader();
        let (reader, writer) = match side {
            Side::Here => (here, there),
            Side::There => (there, here),
        };
        let asked = std::mem::take(&mut self.asked);
        self.judge_all(0, side, asked.reader, reader);
        self.judge_all(1, side.other(), asked.writer, writer);
        self.phase += 1;
        if self.round.phase(self.phase).is_none() {
            self.end_round();
        }
    }

    fn judge_all(&mut self, role: usize, side: Side, asks: Vec<Ask>, answers: Vec<Answer>) {
        let mut answers = answers.into_iter();
        for ask in asks {
            // A side that answers less than it was asked has failed at the rest.
            let answer = answers.next().unwrap_or(Answer::Failed(0));
            self.judge(role, side, ask, answer);
        }
    }

    fn judge(&mut self, role: usize, side: Side, ask: Ask, answer: Answer) {
        let operation = ask.operation;
        match (ask.expect, answer) {
            (Expect::Anything, _) => {}
            (Expect::Done, Answer::Done) => {}
            (Expect::Supported(check), Answer::Done) => self.findings.count(check, side, true),
            (Expect::Supported(check), Answer::Unsupported) => self.findings.count(check, side, false),
            (Expect::Missing(check), Answer::Missing) => self.findings.count(check, side, true),
            (
                Expect::Missing(check),
                Answer::Done | Answer::Length(_) | Answer::Tokens(_) | Answer::Taken | Answer::Names(_),
            ) => self.findings.count(check, side, false),
            (Expect::Tokens(check, wanted), Answer::Tokens(found)) => {
                self.findings.count(check, side, found == wanted);
            }
            (Expect::Length(check, wanted), Answer::Length(found)) => {
                self.findings.count(check, side, found == wanted);
            }
            (Expect::Lists { check, with, without }, Answer::Names(names)) => {
                let is_right =
                    with.iter().all(|name| names.contains(name)) && !without.iter().any(|name| names.contains(name));
                self.findings.count(check, side, is_right);
            }
            (Expect::Tokens(check, _) | Expect::Length(check, _) | Expect::Lists { check, .. }, Answer::Missing) => {
                self.findings.count(check, side, false)
            }
            (Expect::Link, Answer::Unsupported) => self.findings.count(Check::OneLink, side, false),
            (Expect::Link, answer) => set(&mut self.contest.links, role, answer),
            (Expect::Create, answer) => set(&mut self.contest.creates, role, answer),
            (Expect::Prize, answer) => set(&mut self.contest.prizes, role, answer),
            (
                Expect::Done
                | Expect::Supported(_)
                | Expect::Missing(_)
                | Expect::Tokens(..)
                | Expect::Length(..)
                | Expect::Lists { .. },
                answer,
            ) => self.trouble(side, operation, &answer),
        }
    }

    fn trouble(&mut self, side: Side, operation: Operation, answer: &Answer) {
        let errno = if let Answer::Failed(errno) = answer { *errno } else { 0 };
        self.findings.trouble.get_or_insert(Trouble { side, operation, errno });
    }

    /// Judges what both sides wanted, and begins the next round.
    fn end_round(&mut self) {
        let contest = std::mem::take(&mut self.contest);
        let reader = self.round.reader();
        if let [Some(one), Some(other)] = &contest.creates {
            // An answer may get lost, so that nobody knows to have won; but two must never.
            self.findings.count(Check::OneCreate, reader, !(is_won(one) && is_won(other)));
        }
        if contest.links.iter().all(Option::is_some) {
            let is_right = is_link_decided(&contest, self.round.bids());
            self.findings.count(Check::OneLink, reader, is_right);
        }
        self.findings.rounds += 1;
        self.findings.is_enough = self.findings.rounds >= self.extent.rounds_least.min(self.extent.rounds);
        self.round.number += 1;
        self.phase = 0;
    }

    /// Everything that was found.
    #[must_use]
    pub fn into_findings(self) -> Findings {
        self.findings
    }
}

fn set(answers: &mut [Option<Answer>; 2], role: usize, answer: Answer) {
    if let Some(place) = answers.get_mut(role) {
        *place = Some(answer);
    }
}

fn is_won(answer: &Answer) -> bool {
    *answer == Answer::Done
}

/// Says whether exactly one side has the prize, and both know which: whatever they were answered, the content is one of
/// the bids, the same for both, and of nobody else than whoever was told to have won.
fn is_link_decided(contest: &Contest, bids: [u64; 2]) -> bool {
    let [Some(Answer::Tokens(one)), Some(Answer::Tokens(other))] = &contest.prizes else { return false };
    if one != other {
        return false;
    }
    let Some(winner) = bids.iter().position(|bid| one.as_slice() == [*bid]) else { return false };
    let told: Vec<usize> =
        (0..2).filter(|role| contest.links.get(*role).and_then(Option::as_ref).is_some_and(is_won)).collect();
    told.is_empty() || told == [winner]
}
