//! The worker on a simulated filesystem, step by step.

use std::{
    io,
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use super::*;
use crate::{
    cluster::{Epoch, Moment},
    store::{Contents, FEATURE_LEVEL, SimulatedFs, fs::simulated::Fault},
};

const TIMING: WorkerTiming = WorkerTiming {
    idle_release: Duration::from_secs(60),
    commit: Duration::from_secs(30),
    grace: Duration::from_secs(2),
};

/// The bytes that were written, in order.
#[derive(Debug, Clone, PartialEq)]
struct Bytes(Vec<u8>);

impl Contents for Bytes {
    fn encode_snapshot(&self, _: &dyn Fn(BodyRef) -> BodyRef) -> Vec<u8> {
        self.0.clone()
    }

    fn for_each_body(&self, _: &mut dyn FnMut(BodyRef)) {}

    fn body_bytes(&self) -> u64 {
        0
    }
}

impl State for Bytes {
    fn fresh(_: &OwnableId) -> Self {
        Self(Vec::new())
    }

    fn replay(&mut self, payload: &[u8], _: Option<BodyRef>) -> Result<(), ReplayError> {
        self.0.extend(payload);
        Ok(())
    }

    fn decode_snapshot(bytes: &[u8]) -> Result<Self, ReplayError> {
        Ok(Self(bytes.to_vec()))
    }
}

type Outcome = Result<(), CommitError>;

struct Bench {
    fs: Arc<SimulatedFs>,
    worker: Worker<Bytes, SimulatedFs>,
    outcomes: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
}

fn at(seconds: u64) -> Moment {
    Moment::new(Duration::from_secs(seconds))
}

fn open(fs: &Arc<SimulatedFs>, number: u64) -> Worker<Bytes, SimulatedFs> {
    let epoch = Epoch { term: 1, number };
    let recovery = recover(Arc::clone(fs), Path::new("/q"), OwnableId::Queue(0), epoch, FEATURE_LEVEL).unwrap();
    recovery.validated(at(0), TIMING, |_| ())
}

impl Bench {
    fn new() -> Self {
        let fs = Arc::new(SimulatedFs::new());
        Self { worker: open(&fs, 1), fs, outcomes: mpsc::channel() }
    }

    fn job(&self, byte: u8) -> Job<Bytes> {
        let outcomes = self.outcomes.0.clone();
        Box::new(move |state, batch| {
            state.0.push(byte);
            batch.push(&[byte], None);
            Box::new(move |outcome| outcomes.send(outcome).unwrap())
        })
    }

    fn write(&mut self, byte: u8) -> Write<SimulatedFs> {
        let job = self.job(byte);
        let Step::Write(write) = self.worker.work(at(1), job, || None) else { panic!("a batch is written") };
        *write
    }

    fn commit(&mut self, byte: u8) {
        let write = self.write(byte);
        self.finish(write);
    }

    /// The log is told of the snapshot that has ended.
    fn tidy(&mut self, now: Moment) {
        let Step::Tidy(tidy) = self.worker.rest(now, 0) else { panic!("the log is told") };
        self.worker.tidied(Some(tidy.run()));
    }

    fn finish(&mut self, write: Write<SimulatedFs>) {
        assert!(matches!(self.worker.written(Some(write.run())), Step::Validate));
        let Step::Show(answers) = self.worker.validated(Ok(())) else { panic!("it is shown") };
        answers.give();
    }

    fn told(&self) -> Vec<Outcome> {
        self.outcomes.1.try_iter().collect()
    }
}

#[test]
fn nothing_is_shown_or_answered_before_it_is_written_synced_and_validated() {
    let mut bench = Bench::new();
    let write = bench.write(7);
    let unsynced = write.write();
    assert!(bench.worker.state().0.is_empty() && bench.told().is_empty());
    assert!(matches!(bench.worker.written(Some(unsynced.sync())), Step::Validate));
    assert!(bench.worker.state().0.is_empty() && bench.told().is_empty());
    let Step::Show(answers) = bench.worker.validated(Ok(())) else { panic!() };
    assert_eq!((bench.worker.state(), bench.told()), (&Bytes(vec![7]), vec![]));
    answers.give();
    assert_eq!(bench.told(), [Ok(())]);
    assert_eq!(open(&bench.fs, 2).state(), &Bytes(vec![7]));
}

#[test]
fn a_batch_takes_what_waits_up_to_its_limit() {
    let mut bench = Bench::new();
    let mut waiting: Vec<_> = (0..2000).map(|_| bench.job(1)).collect();
    let first = bench.job(0);
    let Step::Write(write) = bench.worker.work(at(1), first, || waiting.pop()) else { panic!() };
    assert!(matches!(bench.worker.written(Some(write.run())), Step::Validate));
    let Step::Show(answers) = bench.worker.validated(Ok(())) else { panic!() };
    assert_eq!((answers.count(), waiting.len()), (512, 2000 - 511));
}

#[test]
fn work_that_changes_nothing_is_answered_without_the_disk() {
    let mut bench = Bench::new();
    let before = bench.fs.operations();
    let step = bench.worker.work(at(1), Box::new(|_, _| Box::new(|_| ())), || None);
    assert!(matches!(step, Step::Tell(answers) if answers.outcome() == Ok(())));
    assert_eq!(bench.fs.operations(), before);
}

#[test]
fn a_failed_write_is_refused_and_the_worker_goes_on_with_what_it_had() {
    for (fault, error) in
        [(io::ErrorKind::StorageFull, CommitError::Full), (io::ErrorKind::TimedOut, CommitError::Storage)]
    {
        let mut bench = Bench::new();
        bench.commit(1);
        let write = bench.write(2);
        bench.fs.fail_at(bench.fs.operations() + 1, Fault::Error(fault));
        let Step::Tell(answers) = bench.worker.written(Some(write.run())) else { panic!() };
        answers.give();
        assert_eq!(bench.told(), [Ok(()), Err(error)]);
        assert!(matches!(bench.worker.rest(at(2), 1), Step::Rest(_)));
        bench.commit(3);
        assert_eq!(bench.worker.state(), &Bytes(vec![1, 3]));
        assert_eq!(open(&bench.fs, 2).state(), &Bytes(vec![1, 3]));
    }
}

/// What happened to a worker with a batch under way.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    WriteLost,
    Fenced,
    TickLate,
    Overtaken,
    Panic,
}

#[test]
fn whatever_leaves_the_log_in_doubt_ends_the_worker() {
    for (mishap, error) in [
        (Mishap::WriteLost, CommitError::Storage),
        (Mishap::Fenced, CommitError::Fenced),
        (Mishap::TickLate, CommitError::Storage),
        (Mishap::Overtaken, CommitError::Fenced),
        (Mishap::Panic, CommitError::Storage),
    ] {
        let mut bench = Bench::new();
        let step = match mishap {
            Mishap::WriteLost => {
                let _ = bench.write(1);
                bench.worker.written(None)
            }
            Mishap::Fenced | Mishap::TickLate => {
                let write = bench.write(1);
                let _ = bench.worker.written(Some(write.run()));
                bench.worker.validated(Err(error))
            }
            Mishap::Overtaken => {
                let write = bench.write(1);
                let mut next =
                    Bench { fs: Arc::clone(&bench.fs), worker: open(&bench.fs, 2), outcomes: mpsc::channel() };
                next.commit(2);
                bench.worker.written(Some(write.run()))
            }
            Mishap::Panic => bench.worker.work(at(1), Box::new(|_, _| panic!("a bug")), || None),
        };
        let Step::Tell(answers) = step else { panic!("{mishap:?}: somebody is told") };
        assert_eq!(answers.outcome(), Err(error), "{mishap:?}");
        answers.give();
        assert!(bench.worker.state().0.is_empty());
        assert!(matches!(bench.worker.rest(at(2), 1), Step::Close(End::Failed(ended), _) if ended == error));
    }
}

#[test]
fn an_idle_worker_leaves_a_snapshot_and_goes_unless_somebody_slips_in() {
    let mut bench = Bench::new();
    bench.commit(1);
    assert!(matches!(bench.worker.rest(at(30), 1), Step::Rest(until) if until == at(90)));
    assert!(matches!(bench.worker.rest(at(90), 1), Step::Rest(until) if until == at(150)));
    bench.worker.left(at(100));
    assert!(matches!(bench.worker.rest(at(159), 0), Step::Rest(until) if until == at(160)));
    let Step::Snapshot(snapshot) = bench.worker.rest(at(160), 0) else { panic!("it leaves a snapshot") };
    assert!(matches!(bench.worker.rest(at(160), 0), Step::Rest(_)), "and waits for it");
    bench.fs.fail_at(bench.fs.operations() + 1, Fault::Error(io::ErrorKind::TimedOut));
    let snapshotted = snapshot.run();
    assert!(snapshotted.error().is_some());
    bench.worker.snapshotted(snapshotted);
    bench.tidy(at(161));
    // A snapshot that failed is not tried for ever.
    assert!(matches!(bench.worker.rest(at(161), 0), Step::Shut));
    assert!(matches!(bench.worker.shut(at(161), 1, false), Step::Rest(_)));
    assert!(matches!(bench.worker.rest(at(221), 0), Step::Shut));
    let Step::Close(End::Idle, closing) = bench.worker.shut(at(221), 0, false) else { panic!("it goes") };
    closing.run();
    assert_eq!(open(&bench.fs, 2).state(), &Bytes(vec![1]));
}

/// A worker with a snapshot being written, because so many changes were.
fn snapshotting() -> (Bench, Snapshot<Bytes, SimulatedFs>) {
    let mut bench = Bench::new();
    for _ in 0..20 {
        let mut waiting: Vec<_> = (0..511).map(|_| bench.job(1)).collect();
        let first = bench.job(1);
        let Step::Write(write) = bench.worker.work(at(1), first, || waiting.pop()) else { panic!() };
        bench.finish(*write);
    }
    let Step::Snapshot(snapshot) = bench.worker.rest(at(1), 1) else { panic!("a snapshot is due") };
    let _ = bench.told();
    (bench, *snapshot)
}

#[test]
fn work_goes_on_while_a_snapshot_is_written() {
    let (mut bench, snapshot) = snapshotting();
    assert!(matches!(bench.worker.rest(at(1), 1), Step::Rest(_)), "one at a time");
    bench.commit(2);
    assert_eq!(bench.told(), [Ok(())]);
    let snapshotted = snapshot.run();
    let write = bench.write(3);
    bench.worker.snapshotted(snapshotted);
    bench.finish(write);
    bench.tidy(at(2));
    assert!(matches!(bench.worker.rest(at(2), 1), Step::Rest(_)));
    bench.commit(4);
    let opened = open(&bench.fs, 2);
    assert_eq!(opened.state().0[20 * 512..], [2, 3, 4]);
    assert_eq!(
        opened.log().unwrap().unsaved_records(),
        2,
        "the snapshot is found, and the last change is written again"
    );
}

#[test]
fn a_snapshot_that_failed_is_tried_again_when_more_was_written() {
    for is_lost in [false, true] {
        let (mut bench, snapshot) = snapshotting();
        if is_lost {
            bench.worker.snapshotted(Snapshotted::lost());
        } else {
            bench.fs.fail_at(bench.fs.operations() + 2, Fault::Error(io::ErrorKind::StorageFull));
            bench.worker.snapshotted(snapshot.run());
        }
        bench.tidy(at(2));
        assert!(matches!(bench.worker.rest(at(2), 1), Step::Rest(_)));
        bench.commit(2);
        assert!(matches!(bench.worker.rest(at(2), 1), Step::Snapshot(_)));
    }
}

#[test]
fn who_is_recalled_does_not_wait_for_a_snapshot() {
    let (mut bench, snapshot) = snapshotting();
    bench.worker.recalled(at(3));
    assert!(matches!(bench.worker.rest(at(3), 0), Step::Shut));
    let Step::Close(End::Recalled, closing) = bench.worker.shut(at(3), 0, false) else { panic!("it goes") };
    closing.run();
    let mut next = Bench { fs: Arc::clone(&bench.fs), worker: open(&bench.fs, 2), outcomes: mpsc::channel() };
    next.commit(5);
    // Its owner of old times still writes it, and nothing comes of it.
    assert!(snapshot.run().error().is_none());
    assert_eq!(open(&bench.fs, 3).state().0.last(), Some(&5));
}

#[test]
fn who_is_recalled_waits_for_its_guests_until_the_grace_is_over() {
    let mut bench = Bench::new();
    bench.worker.recalled(at(10));
    bench.worker.recalled(at(11));
    assert!(matches!(bench.worker.rest(at(11), 1), Step::Rest(until) if until == at(12)));
    assert!(matches!(bench.worker.rest(at(11), 0), Step::Shut));
    assert!(matches!(bench.worker.shut(at(11), 0, true), Step::Rest(until) if until == at(12)));
    assert!(matches!(bench.worker.rest(at(12), 1), Step::Shut));
    assert!(matches!(bench.worker.shut(at(12), 1, true), Step::Close(End::Recalled, _)));
}
