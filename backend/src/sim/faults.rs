//! What goes wrong in a run, and when it ends.

use super::random::Random;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed: its sockets close.
    Kill(usize),
    /// The machine stops: nobody is told.
    Crash(usize),
    /// The process sleeps for some milliseconds.
    Freeze(usize, u64),
    /// Nothing gets from the first to the second.
    CutOneWay(usize, usize),
    /// The members are split into two sides.
    Split(u64),
    /// One pair cannot talk.
    CutPair(usize, usize),
    /// All cuts end.
    Heal,
    /// A link breaks, and can be made again at once.
    BreakLink,
    /// The member's file operations take no effect for some milliseconds.
    StallStorage(usize, u64),
    /// The process ends in order.
    Leave(usize),
    /// A second process of the same member is started elsewhere.
    Double(usize),
    /// The member is drained, or not any more.
    Drain(usize, bool),
    /// Some process of the controller, whoever that is, is killed, or sleeps for that long.
    LoseController(Option<u64>),
}

impl Fault {
    /// Draws one.
    pub fn draw(random: &mut Random, members: usize) -> Self {
        let count = u64::try_from(members).unwrap();
        let mut member = || usize::try_from(random.below(count)).unwrap();
        let (one, other) = (member(), member());
        match random.below(17) {
            0 | 1 => Self::Kill(one),
            2 => Self::Crash(one),
            3 => Self::Freeze(one, 200 + random.below(6_000)),
            4 => Self::CutOneWay(one, other),
            5 | 6 => Self::Split(1 + random.below((1 << members) - 1)),
            7 => Self::CutPair(one, other),
            8 | 9 => Self::Heal,
            10 => Self::BreakLink,
            11 => Self::StallStorage(one, random.below(8_000)),
            12 => Self::Leave(one),
            13 => Self::Double(one),
            14 => Self::Drain(one, random.one_in(2)),
            15 => Self::LoseController(None),
            _ => Self::LoseController(Some(200 + random.below(6_000))),
        }
    }
}
