//! Mail that comes and goes, in a log of small segments, with all the upkeep it asks for: what it takes on disk, and what
//! keeping it short costs.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::format::record::MOVED_HEAD_BYTES;
use super::fs::simulated::Fault;
use super::*;

const DIR: &str = "/accounts/ab/a";
const LIMITS: Limits = Limits {
    segment_bytes: 8_000,
    snapshot_bytes: 2_000,
    snapshot_records: 10_000,
    inline_body_bytes: 400,
    reclaim_bytes: 2_000,
    room_bytes: 1_000,
    level: format::FEATURE_LEVEL,
};
/// As long as what a moved record says of its origin, so that a copy is no longer than the original.
const CHANGE: &[u8] = b"a body that came";

struct Churn {
    fs: SimulatedFs,
    log: Log<SimulatedFs>,
    bodies: Vec<(BodyRef, u8)>,
    /// The log as it was when a snapshot last found out whether to compact it.
    judged: Judged,
    /// Bytes written for bodies that were moved, and for everything else.
    copied: u64,
    written: u64,
}

/// What a snapshot saw.
#[derive(Default)]
struct Judged {
    /// What the bodies take that are needed, each in a record of its own.
    needed: u64,
    state: u64,
    segments: BTreeMap<String, u64>,
}

/// A state of a hundred bytes, and forty for each body, as that of an account grows with its messages.
struct Mail(Vec<BodyRef>);

impl Contents for Mail {
    fn encode_snapshot(&self, _: &dyn Fn(BodyRef) -> BodyRef) -> Vec<u8> {
        vec![0; 100 + 40 * self.0.len()]
    }

    fn for_each_body(&self, visit: &mut dyn FnMut(BodyRef)) {
        self.0.iter().copied().for_each(visit);
    }

    fn body_bytes(&self) -> u64 {
        self.0.iter().map(BodyRef::len).sum()
    }
}

impl Churn {
    fn new() -> Self {
        let fs = SimulatedFs::new();
        let (log, _) = Log::open_with(Arc::new(fs.clone()), Path::new(DIR), 1, LIMITS).unwrap();
        Self { fs, log, bodies: Vec::new(), judged: Judged::default(), copied: 0, written: 0 }
    }

    fn try_commit(&mut self, fill: impl FnOnce(&mut Batch)) -> Result<(), WriteError> {
        let mut batch = self.log.batch();
        fill(&mut batch);
        let moved: u64 = batch.moves.iter().map(|(body, _)| body.len() + MOVED_HEAD_BYTES).sum();
        self.copied += moved;
        self.written += batch.bytes() - batch.file_bytes - moved;
        let appended = self.log.write(batch)?;
        let synced = self.log.sync(appended)?;
        self.log.validated(synced);
        Ok(())
    }

    fn commit(&mut self, fill: impl FnOnce(&mut Batch)) {
        self.try_commit(fill).unwrap();
    }

    fn deliver(&mut self, byte: u8, length: usize) {
        let mut place = None;
        self.commit(|batch| place = batch.push(CHANGE, Some(&vec![byte; length])));
        self.bodies.push((place.unwrap(), byte));
    }

    fn expunge(&mut self, at: usize) {
        self.bodies.remove(at);
        self.commit(|batch| assert_eq!(batch.push(b"went", None), None));
    }

    fn mail(&self) -> Mail {
        Mail(self.bodies.iter().map(|(body, _)| *body).collect())
    }

    /// Whatever is due, with a delivery while each first snapshot is written, if that is wanted.
    fn maintain(&mut self, beside: Option<usize>) {
        while self.log.snapshot_due(self.mail().body_bytes()) {
            let mail = self.mail();
            let is_judged = !self.log.is_compacting();
            let Some(job) = self.log.begin_snapshot() else { return };
            if is_judged {
                self.judged = self.judge();
            }
            if let Some(length) = beside.filter(|_| is_judged) {
                self.deliver(7, length);
            }
            let Some(upkeep) = self.log.end_snapshot(job.run(&mail)).unwrap() else { break };
            self.keep_up(&upkeep).unwrap();
        }
        self.log.sweep();
    }

    fn keep_up(&mut self, upkeep: &Upkeep) -> Result<(), WriteError> {
        let reader = self.log.reader();
        for body in &upkeep.moves {
            let bytes = reader.read(*body, 0..body.len()).unwrap();
            self.try_commit(|batch| batch.push_moved(*body, &bytes))?;
        }
        self.try_commit(|batch| batch.push_mark(upkeep))
    }

    fn judge(&self) -> Judged {
        let inline = self.bodies.iter().filter(|(body, _)| matches!(body, BodyRef::Inline { .. }));
        Judged {
            needed: inline.map(|(body, _)| body.len() + MOVED_HEAD_BYTES).sum(),
            state: self.mail().encode_snapshot(&|body| body).len() as u64,
            segments: self.lengths("seg."),
        }
    }

    fn lengths(&self, prefix: &str) -> BTreeMap<String, u64> {
        let names = self.fs.list(Path::new(DIR)).unwrap().into_iter().filter(|name| name.starts_with(prefix));
        names.map(|name| (name.clone(), self.fs.open(&Path::new(DIR).join(name)).unwrap().length().unwrap())).collect()
    }

    /// How much is left of the log that the last snapshot judged, and how much may be.
    fn left(&self) -> (u64, u64) {
        let now = self.lengths("seg.");
        let left = self.judged.segments.iter().filter(|(name, _)| now.contains_key(*name)).map(|(_, length)| length);
        (left.sum(), 2 * self.judged.needed + LIMITS.reclaim_bytes.max(2 * self.judged.state))
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn what_a_log_takes_and_what_compaction_writes_are_bounded(
        steps in proptest::collection::vec((0..100_usize, 1..600_usize), 100..500),
        keep in 1..40_usize,
        is_busy: bool,
    ) {
        let mut churn = Churn::new();
        for (number, (chance, length)) in steps.into_iter().enumerate() {
            churn.deliver(number as u8, length);
            while churn.bodies.len() > keep {
                churn.expunge(chance % churn.bodies.len());
            }
            churn.maintain(is_busy.then_some(length));
            let (left, most) = churn.left();
            proptest::prop_assert!(left <= most, "{left} bytes, of {most} at most");
            proptest::prop_assert!(churn.lengths("snap.").len() <= 3);
        }
        proptest::prop_assert!(churn.copied <= churn.written, "{} of {}", churn.copied, churn.written);
        for (body, byte) in &churn.bodies {
            let read = churn.log.reader().read(*body, 0..body.len()).unwrap();
            proptest::prop_assert!(read.iter().all(|read| read == byte));
        }
    }
}

#[test]
fn a_queue_that_comes_and_goes_for_ever_stays_small() {
    for beside in [None, Some(300)] {
        let mut churn = Churn::new();
        let mut most = 0;
        for round in 0..2_000_u32 {
            churn.deliver(round as u8, 300);
            while !churn.bodies.is_empty() {
                churn.expunge(0);
            }
            churn.maintain(beside);
            most = most.max(churn.lengths("").values().sum());
        }
        assert!(churn.written > 500_000 && most < 20_000, "{most} bytes for {}", churn.written);
    }
}

#[test]
fn a_session_that_shows_an_old_state_reads_bodies_that_were_moved() {
    let mut churn = Churn::new();
    for byte in 0..60 {
        churn.deliver(byte, 300);
    }
    let old: Vec<(BodyRef, u8)> = churn.bodies.iter().copied().skip(40).collect();
    churn.bodies.drain(..40);
    churn.commit(|batch| assert_eq!(batch.push(b"went", None), None));
    churn.maintain(None);
    assert!(churn.copied > 0);
    for (body, byte) in old {
        assert_eq!(churn.log.reader().read(body, 0..300).unwrap(), [byte; 300]);
    }
}

/// A log of which most is waste, and the upkeep that a snapshot finds worth doing.
fn wasteful() -> (Churn, Upkeep) {
    let mut churn = Churn::new();
    for byte in 0..60 {
        churn.deliver(byte, 300);
    }
    churn.bodies.drain(..40);
    churn.commit(|batch| assert_eq!(batch.push(b"went", None), None));
    let upkeep = churn.log.snapshot(&churn.mail()).unwrap().unwrap();
    assert!(!upkeep.moves.is_empty());
    (churn, upkeep)
}

fn takes(churn: &Churn) -> u64 {
    churn.lengths("seg.").values().sum()
}

#[test]
fn compaction_that_met_a_full_disk_begins_anew_with_the_next_snapshot() {
    // Reading the first body, writing it, syncing; and the same with the second.
    for ahead in [2, 5] {
        let (mut churn, upkeep) = wasteful();
        let before = takes(&churn);
        churn.fs.fail_at(churn.fs.operations() + ahead, Fault::Error(io::ErrorKind::StorageFull));
        assert!(matches!(churn.keep_up(&upkeep), Err(WriteError::Full(_))));
        for byte in 0..9 {
            churn.deliver(byte, 300);
        }
        churn.maintain(None);
        assert!(takes(&churn) < before, "{} of {before}", takes(&churn));
    }
}

#[test]
fn compaction_whose_snapshot_met_a_full_disk_begins_anew_with_the_next() {
    let (mut churn, upkeep) = wasteful();
    let before = takes(&churn);
    churn.keep_up(&upkeep).unwrap();
    let job = churn.log.begin_snapshot().unwrap();
    churn.fs.fail_at(churn.fs.operations() + 2, Fault::Error(io::ErrorKind::StorageFull));
    assert!(matches!(churn.log.end_snapshot(job.run(&churn.mail())), Err(WriteError::Full(_))));
    for byte in 0..9 {
        churn.deliver(byte, 300);
    }
    churn.maintain(None);
    assert!(takes(&churn) < before, "{} of {before}", takes(&churn));
}

#[test]
fn a_snapshot_begun_before_the_log_was_opened_again_is_none_of_its_business() {
    let (mut churn, _) = wasteful();
    let mail = churn.mail();
    let job = churn.log.begin_snapshot().unwrap();
    let mut batch = churn.log.batch();
    batch.push(CHANGE, Some(&[1; 500]));
    churn.fs.fail_at(churn.fs.operations() + 2, Fault::Error(io::ErrorKind::TimedOut));
    assert!(churn.log.write(batch).is_err());
    let (log, _) = churn.log.reopen().unwrap();
    churn.log = log;
    let written = job.run(&mail);
    assert!(written.is_ok());
    assert_eq!(churn.log.end_snapshot(written).unwrap(), None);
    churn.deliver(1, 500);
    churn.log.snapshot(&churn.mail()).unwrap();
    assert_eq!(churn.fs.list(&Path::new(DIR).join("m")).unwrap().len(), 1);
}
