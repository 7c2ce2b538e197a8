//! What happens in a round: which side does what, and which answers are right.

use super::{
    finding::Check,
    operation::{Name, Operation, Place, Side, Tick},
};

/// An operation, and what its answer must be.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) operation: Operation,
    pub(super) expect: Expect,
}

/// Which answer is right.
#[derive(Debug, Clone)]
pub(super) enum Expect {
    /// It must be done; if it is not, the storage cannot be used at all.
    Done,
    /// It must be done; a filesystem that does not know how breaks this.
    Supported(Check),
    /// Any answer: it is done for its effect on caches.
    Anything,
    /// There must be nothing.
    Missing(Check),
    /// The file must hold exactly this.
    Tokens(Check, Vec<u64>),
    /// The file must be this long.
    Length(Check, u64),
    /// The listing must show these names and not those.
    Lists { check: Check, with: Vec<Name>, without: Vec<Name> },
    /// Decided when both sides and the prize are known.
    Link,
    /// Who reads the prize's content, for the same purpose.
    Prize,
    /// Decided when both sides are known.
    Create,
}

/// What both sides do at the same time.
#[derive(Debug, Clone, Default)]
pub(super) struct Phase {
    pub(super) reader: Vec<Ask>,
    pub(super) writer: Vec<Ask>,
}

/// One round's names and contents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) number: u16,
    /// Makes tokens unforeseeable.
    pub(super) seed: u64,
}

impl Round {
    /// Who reads in this round; the other side writes.
    pub(super) const fn reader(self) -> Side {
        if self.number.is_multiple_of(2) { Side::Here } else { Side::There }
    }

    const fn place(self, name: Name) -> Place {
        Place { round: self.number, name }
    }

    const fn tick(self, tick: Tick) -> Place {
        self.place(Name::Tick(tick))
    }

    /// A content that no other file of the probe has.
    pub(super) fn token(self, purpose: u8) -> u64 {
        self.seed ^ (u64::from(self.number) << 8 | u64::from(purpose))
    }

    /// The bid of the reader, then that of the writer.
    pub(super) fn bids(self) -> [u64; 2] {
        [self.token(1), self.token(2)]
    }

    /// What happens in phase `index`; nothing after the last.
    pub(super) fn phase(self, index: usize) -> Option<Phase> {
        match index {
            0 => Some(self.set_up()),
            1 => Some(self.look_around()),
            2 => Some(self.compete()),
            3 => Some(self.change()),
            4 => Some(self.look_again()),
            5 => Some(self.compare()),
            6 => Some(self.clear()),
            _ => None,
        }
    }

    fn set_up(self) -> Phase {
        let writer = vec![
            done(Operation::MakeFolder(self.place(Name::Round))),
            done(Operation::MakeFolder(self.place(Name::Live))),
            sync(self.make(Name::Known, 3)),
            done(self.make(Name::Gone, 4)),
            done(self.make(Name::WritersBid, 2)),
            sync(Operation::SyncFolder(self.place(Name::Round))),
        ];
        Phase { writer, reader: Vec::new() }
    }

    /// The reader fills whatever caches its mount has.
    fn look_around(self) -> Phase {
        let reader = vec![
            Ask {
                operation: Operation::Read(self.place(Name::Known)),
                expect: Expect::Tokens(Check::FreshBytes, vec![self.token(3)]),
            },
            any(Operation::Stat(self.place(Name::Known))),
            any(Operation::Read(self.place(Name::Gone))),
            any(Operation::Stat(self.place(Name::Gone))),
            any(Operation::Read(self.place(Name::Late))),
            any(Operation::Stat(self.place(Name::Late))),
            done(self.make(Name::ReadersBid, 1)),
            done(self.make(Name::Tick(Tick::Zero), 5)),
            done(Operation::Rename { from: self.tick(Tick::Zero), to: self.tick(Tick::One) }),
            any(Operation::List(self.place(Name::Live))),
            any(Operation::List(self.place(Name::Round))),
        ];
        Phase { reader, writer: Vec::new() }
    }

    /// Both sides want the same names; and the reader ticks while the writer sweeps.
    fn compete(self) -> Phase {
        let link = |bid| Ask {
            operation: Operation::Link { from: self.place(bid), to: self.place(Name::Prize) },
            expect: Expect::Link,
        };
        let create = |purpose| Ask { operation: self.make(Name::First, purpose), expect: Expect::Create };
        let mut reader = vec![link(Name::ReadersBid), create(6)];
        reader.extend(self.ticks().map(any));
        let writer = vec![link(Name::WritersBid), create(7), done(Operation::Sweep(self.place(Name::Live)))];
        Phase { reader, writer }
    }

    /// The writer does, all at once, what the reader must not miss.
    fn change(self) -> Phase {
        let extend = |name, purpose| sync(Operation::Extend { place: self.place(name), token: self.token(purpose) });
        let writer = vec![
            done(Operation::Remove(self.place(Name::Gone))),
            extend(Name::Known, 8),
            done(self.make(Name::Late, 9)),
            done(self.make(Name::Fresh, 10)),
            extend(Name::Fresh, 11),
            sync(Operation::SyncFolder(self.place(Name::Round))),
        ];
        Phase { writer, reader: Vec::new() }
    }

    fn look_again(self) -> Phase {
        let reads = |name, check, purposes: &[u8]| Ask {
            operation: Operation::Read(self.place(name)),
            expect: Expect::Tokens(check, purposes.iter().map(|purpose| self.token(*purpose)).collect()),
        };
        let lists = |check, with: &[Name], without: &[Name]| Ask {
            operation: Operation::List(self.place(Name::Round)),
            expect: Expect::Lists { check, with: with.to_vec(), without: without.to_vec() },
        };
        let missing = |check, operation| Ask { operation, expect: Expect::Missing(check) };
        let mut reader = vec![
            missing(Check::StaleStat, Operation::Stat(self.place(Name::Gone))),
            Ask { operation: Operation::Stat(self.place(Name::Known)), expect: Expect::Length(Check::StaleStat, 16) },
            missing(Check::StaleOpen, Operation::Read(self.place(Name::Gone))),
            reads(Name::Late, Check::MissedName, &[9]),
            reads(Name::Known, Check::KnownBytes, &[3, 8]),
            reads(Name::Fresh, Check::FreshBytes, &[10, 11]),
            lists(Check::PeersListing, &[Name::Late, Name::Fresh, Name::Prize], &[Name::Gone, Name::Live]),
        ];
        reader.extend(self.ticks().map(|tick| missing(Check::RemovedFolder, tick)));
        reader.push(missing(Check::RemovedFolder, self.make(Name::Tick(Tick::Five), 12)));
        reader.push(done(self.make(Name::Own, 13)));
        reader.push(lists(Check::OwnListing, &[Name::Own, Name::Late, Name::Fresh], &[Name::Gone, Name::Live]));
        Phase { reader, writer: Vec::new() }
    }

    /// Both sides say who has the prize; the writer sees what the reader made.
    fn compare(self) -> Phase {
        let prize = Ask { operation: Operation::Read(self.place(Name::Prize)), expect: Expect::Prize };
        Phase { reader: vec![prize.clone()], writer: vec![prize] }
    }

    fn clear(self) -> Phase {
        Phase { writer: vec![any(Operation::Sweep(self.place(Name::Round)))], reader: Vec::new() }
    }

    fn make(self, name: Name, purpose: u8) -> Operation {
        Operation::Make { place: self.place(name), token: self.token(purpose) }
    }

    /// Every step of the tick after the first; at most one of them finds the entry, if there is one.
    fn ticks(self) -> impl Iterator<Item = Operation> {
        let steps = Tick::ALL.into_iter().zip(Tick::ALL.into_iter().skip(1)).skip(1);
        steps.map(move |(from, to)| Operation::Rename { from: self.tick(from), to: self.tick(to) })
    }
}

const fn done(operation: Operation) -> Ask {
    Ask { operation, expect: Expect::Done }
}

const fn sync(operation: Operation) -> Ask {
    Ask { operation, expect: Expect::Supported(Check::Sync) }
}

const fn any(operation: Operation) -> Ask {
    Ask { operation, expect: Expect::Anything }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::BATCH_MAX;

    #[test]
    fn every_phase_fits_into_one_request() {
        let round = Round { number: 3, seed: 9 };
        for phase in (0..).map_while(|index| round.phase(index)) {
            assert!(phase.reader.len().max(phase.writer.len()) <= BATCH_MAX);
        }
    }
}
