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
    /// What one end of a link is sent arrives late, for a while.
    HoldLink,
    /// The member's file operations take no effect for some milliseconds.
    StallStorage(usize, u64),
    /// The process ends in order.
    Leave(usize),
    /// A second process of the same member is started elsewhere.
    Double(usize),
    /// The member is drained, or not any more.
    Drain(usize, bool),
    /// The member's host stops, its clock with it, for some milliseconds.
    StopClock(usize, u64),
    /// Every host and the file server lose power.
    BlackOut,
    /// The storage is full for some milliseconds.
    Fill(u64),
    /// A bit flips in a file of the account that may be damaged.
    Flip,
    /// Some process of the controller, whoever that is, is killed, or sleeps for that long.
    LoseController(Option<u64>),
}

impl Fault {
    /// What it is called in counts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Crash(_) => "host lost",
            Self::Freeze(..) => "freeze",
            Self::CutOneWay(..) | Self::Split(_) | Self::CutPair(..) => "cut",
            Self::Heal => "heal",
            Self::BreakLink => "link broken",
            Self::HoldLink => "link delayed",
            Self::StallStorage(..) => "stall",
            Self::Leave(_) => "leave",
            Self::Double(_) => "double",
            Self::Drain(..) => "drain",
            Self::StopClock(..) => "clock stopped",
            Self::BlackOut => "black-out",
            Self::Fill(_) => "storage full",
            Self::Flip => "bit flipped",
            Self::LoseController(_) => "controller lost",
        }
    }

    /// Draws one.
    pub fn draw(random: &mut Random, members: usize) -> Self {
        let count = u64::try_from(members).unwrap();
        let mut member = || usize::try_from(random.below(count)).unwrap();
        let (one, other) = (member(), member());
        match random.below(24) {
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
            16 => Self::StopClock(one, 200 + random.below(6_000)),
            17 if random.one_in(3) => Self::BlackOut,
            18 => Self::Fill(random.below(3_000)),
            19 | 20 => Self::Flip,
            21 | 22 => Self::HoldLink,
            _ => Self::LoseController(Some(200 + random.below(6_000))),
        }
    }
}
