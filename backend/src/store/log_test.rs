//! The log as its worker sees it. What crashes do to it is tried in `crash_test`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::fs::simulated::{Caching, Fault};
use super::*;

const DIR: &str = "/accounts/ab/a";

fn small() -> Limits {
    Limits { segment_bytes: 600, snapshot_bytes: 500, snapshot_records: 5, inline_body_bytes: 40, ..Limits::default() }
}

/// A state whose bytes mean nothing, and the bodies it is to keep.
struct Held {
    state: Vec<u8>,
    bodies: Vec<BodyRef>,
}

impl Held {
    fn new(state: &[u8]) -> Self {
        Self { state: state.to_vec(), bodies: Vec::new() }
    }
}

impl Contents for Held {
    fn encode_snapshot(&self, _: &dyn Fn(BodyRef) -> BodyRef) -> Vec<u8> {
        self.state.clone()
    }

    fn for_each_body(&self, visit: &mut dyn FnMut(BodyRef)) {
        self.bodies.iter().copied().for_each(visit);
    }

    fn body_bytes(&self) -> u64 {
        self.bodies.iter().map(BodyRef::len).sum()
    }
}

fn open(fs: &SimulatedFs, epoch: u128) -> (Log<SimulatedFs>, Recovered) {
    try_open(fs, epoch).unwrap()
}

fn try_open(fs: &SimulatedFs, epoch: u128) -> Result<(Log<SimulatedFs>, Recovered), OpenError> {
    Log::open_with(Arc::new(fs.clone()), Path::new(DIR), epoch, small())
}

fn store(log: &mut Log<SimulatedFs>, changes: &[(&str, Option<&[u8]>)]) -> Vec<Option<BodyRef>> {
    let mut batch = log.batch();
    let bodies = changes.iter().map(|(payload, body)| batch.push(payload.as_bytes(), *body)).collect();
    let appended = log.write(batch).unwrap();
    let synced = log.sync(appended).unwrap();
    log.validated(synced);
    bodies
}

fn payloads(recovered: &Recovered) -> Vec<&str> {
    recovered.records.iter().map(|record| std::str::from_utf8(&record.payload).unwrap()).collect()
}

fn segments(fs: &SimulatedFs) -> usize {
    fs.list(Path::new(DIR)).unwrap().iter().filter(|name| name.starts_with("seg.")).count()
}

#[test]
fn a_new_ownable_is_empty_and_stays_unmade_until_something_is_written() {
    let fs = SimulatedFs::new();
    let (mut log, recovered) = open(&fs, 1);
    assert!(recovered.snapshot.is_none() && recovered.records.is_empty());
    log.snapshot(&Held::new(b"nothing")).unwrap();
    log.close();
    assert!(fs.list(Path::new("/")).unwrap().is_empty());
}

#[test]
fn changes_and_bodies_are_read_back_where_they_were_said_to_be() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    let long = [9; 100];
    let bodies = store(&mut log, &[("a", None), ("b", Some(b"short")), ("c", Some(&long))]);
    let more = store(&mut log, &[("d", Some(b""))]);
    assert!(matches!(bodies[1], Some(BodyRef::Inline { generation: 1, length: 5, .. })));
    assert!(matches!(bodies[2], Some(BodyRef::File { epoch: 1, number: 1, length: 100 })));
    let reader = log.reader();
    assert_eq!(reader.read(bodies[1].unwrap(), 0..5).unwrap(), b"short");
    assert_eq!(reader.read(bodies[1].unwrap(), 1..3).unwrap(), b"ho");
    assert_eq!(reader.read(bodies[2].unwrap(), 90..100).unwrap(), [9; 10]);
    assert_eq!(reader.read(bodies[2].unwrap(), 90..101).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    log.close();

    let (log, recovered) = open(&fs, 2);
    assert_eq!(payloads(&recovered), ["a", "b", "c", "d"]);
    let found: Vec<_> = recovered.records.iter().map(|record| record.body).collect();
    assert_eq!(found, [bodies[0], bodies[1], bodies[2], more[0]]);
    assert_eq!(log.reader().read(found[1].unwrap(), 0..5).unwrap(), b"short");
}

#[test]
fn opening_after_a_clean_end_writes_nothing() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("a", None)]);
    log.close();
    let before = (fs.chances(), fs.list(Path::new(DIR)).unwrap());
    for epoch in 2..5 {
        let (log, recovered) = open(&fs, epoch);
        assert!(recovered.report.clean && payloads(&recovered) == ["a"]);
        log.close();
    }
    assert_eq!((fs.chances(), fs.list(Path::new(DIR)).unwrap()), before);
}

#[test]
fn after_any_other_end_the_old_segment_is_sealed_at_once_and_its_last_batch_written_again() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("a", Some(b"body a"))]);
    store(&mut log, &[("b", Some(b"body b"))]);
    drop(log);
    let (mut log, recovered) = open(&fs, 2);
    assert!(!recovered.report.clean && recovered.report.carried);
    assert_eq!((segments(&fs), payloads(&recovered)), (2, vec!["a", "b"]));
    assert!(matches!(recovered.records[0].body, Some(BodyRef::Inline { generation: 1, .. })));
    assert!(matches!(recovered.records[1].body, Some(BodyRef::Inline { generation: 2, .. })));
    assert_eq!(log.reader().read(recovered.records[1].body.unwrap(), 0..6).unwrap(), b"body b");
    store(&mut log, &[("c", None)]);
    drop(log);
    let (_, recovered) = open(&fs, 3);
    assert_eq!(payloads(&recovered), ["a", "b", "c"]);
}

#[test]
fn a_log_whose_owner_died_again_and_again_does_not_grow_segments_for_ever() {
    let fs = SimulatedFs::new();
    for epoch in 1..30 {
        let (mut log, recovered) = open(&fs, epoch);
        assert_eq!(recovered.report.seq, u64::try_from(epoch).unwrap() - 1);
        store(&mut log, &[("x", None)]);
        log.snapshot(&Held::new(b"state")).unwrap();
        drop(log);
    }
    assert!(segments(&fs) <= 12, "{} segments", segments(&fs));
}

#[test]
fn a_snapshot_saves_reading_what_came_before() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    for _ in 0..5 {
        assert!(!log.snapshot_due(0));
        store(&mut log, &[("x", None)]);
    }
    assert!(log.snapshot_due(0));
    log.snapshot(&Held::new(b"five")).unwrap();
    assert!(!log.snapshot_due(0));
    store(&mut log, &[("six", None)]);
    log.close();
    let (_, recovered) = open(&fs, 2);
    assert_eq!((recovered.snapshot.as_deref(), payloads(&recovered)), (Some(&b"five"[..]), vec!["six"]));
}

#[test]
fn a_long_segment_is_followed_by_another_at_the_next_snapshot() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    let body = [1; 40];
    let mut bodies = Vec::new();
    for round in 0..20 {
        bodies.extend(store(&mut log, &[("x", Some(&body[..])), ("y", None)]));
        if log.snapshot_due(0) {
            log.snapshot(&Held {
                state: format!("{round}").into(),
                bodies: bodies.iter().flatten().copied().collect(),
            })
            .unwrap();
        }
    }
    assert!(segments(&fs) > 2);
    for body in bodies.into_iter().flatten() {
        assert_eq!(log.reader().read(body, 0..40).unwrap(), [1; 40]);
    }
    let kept = fs.list(Path::new(DIR)).unwrap().iter().filter(|name| name.starts_with("snap.")).count();
    assert!(kept <= 3, "{kept} snapshots");
}

#[test]
fn a_damaged_snapshot_is_passed_over_for_the_one_before() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    for state in ["one", "two"] {
        store(&mut log, &[(state, None)]);
        log.snapshot(&Held::new(state.as_bytes())).unwrap();
    }
    log.close();
    let names = fs.list(Path::new(DIR)).unwrap();
    let newest = names.iter().filter(|name| name.starts_with("snap.")).max().unwrap();
    fs.flip(&Path::new(DIR).join(newest), 128 * 8).unwrap();
    let (_, recovered) = open(&fs, 2);
    assert_eq!((recovered.snapshot.as_deref(), payloads(&recovered)), (Some(&b"one"[..]), vec!["two"]));
    assert_eq!(recovered.report.damaged_snapshots, 1);
}

#[test]
fn where_overwriting_is_cheap_a_log_grows_ahead_of_its_batches() {
    let fs = SimulatedFs::new().overwriting_cheaply();
    let (mut log, _) = open(&fs, 1);
    let length = || fs.open(&Path::new(DIR).join("seg.0000000000000001")).unwrap().length().unwrap();
    let mut lengths = std::collections::BTreeSet::new();
    for number in 0..64 {
        store(&mut log, &[(&number.to_string(), None)]);
        lengths.insert(length());
    }
    // As much again each time: the file is made longer a few times only, and is twice as long as it must be at most.
    assert!(lengths.len() < 8, "{lengths:?}");
    log.close();
    for (fs, epoch) in [(fs.after_power_loss(&[1]), 2), (fs.clone(), 3)] {
        let (mut log, recovered) = open(&fs, epoch);
        let expected: Vec<String> = (0..64).map(|number| number.to_string()).collect();
        assert_eq!(payloads(&recovered), expected);
        assert_eq!(recovered.report.torn_bytes, 0);
        store(&mut log, &[("next", None)]);
    }
}

#[test]
fn a_storage_without_room_ahead_still_takes_batches() {
    let fs = SimulatedFs::new().overwriting_cheaply();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("first", None)]);
    // The batch fits, the zeros behind it do not.
    let mut batch = log.batch();
    batch.push(&[b'x'; 2_000], None);
    fs.fail_at(fs.operations() + 2, Fault::Error(io::ErrorKind::StorageFull));
    let appended = log.write(batch).unwrap();
    let synced = log.sync(appended).unwrap();
    log.validated(synced);
    store(&mut log, &[("third", None)]);
    let (_, recovered) = open(&fs, 2);
    assert_eq!(recovered.records.len(), 3);
}

#[test]
fn a_bad_batch_in_front_of_a_good_one_puts_the_log_into_quarantine() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("first", None)]);
    let end = fs.open(&Path::new(DIR).join("seg.0000000000000001")).unwrap().length().unwrap();
    store(&mut log, &[("second", None)]);
    log.close();
    fs.flip(&Path::new(DIR).join("seg.0000000000000001"), (end as usize - 16) * 8).unwrap();
    let before = fs.list(Path::new(DIR)).unwrap();
    assert!(matches!(try_open(&fs, 2), Err(OpenError::Quarantined(_))));
    assert_eq!(fs.list(Path::new(DIR)).unwrap(), before);
}

#[test]
fn every_single_flipped_bit_is_noticed_or_harmless() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("a", Some(b"body"))]);
    log.snapshot(&Held::new(b"state a")).unwrap();
    store(&mut log, &[("b", None)]);
    store(&mut log, &[("c", None)]);
    log.close();
    for name in fs.list(Path::new(DIR)).unwrap() {
        let path = Path::new(DIR).join(&name);
        let length = fs.open(&path).unwrap().length().unwrap() as usize;
        for bit in (0..length * 8).step_by(3) {
            fs.flip(&path, bit).unwrap();
            if let Ok((_, recovered)) = try_open(&fs.after_power_loss(&[1]), 2) {
                let state = recovered.snapshot.as_deref().unwrap_or(b"none");
                let whole = match state {
                    b"state a" => payloads(&recovered) == ["b", "c"],
                    b"none" => payloads(&recovered) == ["a", "b", "c"],
                    _ => false,
                };
                assert!(whole, "{name} bit {bit}: {state:?} {:?}", payloads(&recovered));
            }
            fs.flip(&path, bit).unwrap();
        }
    }
}

#[test]
fn a_file_of_a_newer_program_is_refused_and_left_alone() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("a", None)]);
    log.close();
    fs.flip(&Path::new(DIR).join("seg.0000000000000001"), 10 * 8 + 2).unwrap();
    assert!(matches!(try_open(&fs, 2), Err(OpenError::Newer(6))));
}

#[test]
fn an_epoch_that_is_not_higher_is_stale() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 5);
    store(&mut log, &[("a", None)]);
    log.close();
    assert!(matches!(try_open(&fs, 5), Err(OpenError::Stale)));
    assert!(matches!(try_open(&fs, 4), Err(OpenError::Stale)));
    open(&fs, 6);
}

#[test]
fn a_writer_of_old_times_finds_out_at_its_first_write() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("a", None)]);
    log.close();
    let (mut old, _) = open(&fs, 2);
    let (mut new, _) = open(&fs.join(Caching::Strict), 3);
    store(&mut new, &[("b", None)]);
    let mut batch = old.batch();
    batch.push(b"lost", None);
    assert!(matches!(old.write(batch), Err(WriteError::Stale)));
    assert!(matches!(old.reopen(), Err(OpenError::Stale)));
}

#[test]
fn a_writer_of_old_times_that_takes_the_next_name_is_sealed() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("a", None)]);
    log.close();
    let (mut old, _) = open(&fs, 2);
    let (mut new, _) = open(&fs.join(Caching::Strict), 3);
    store(&mut old, &[("late", None)]);
    let mut batch = new.batch();
    batch.push(b"b", Some(b"body"));
    assert!(matches!(new.write(batch), Err(WriteError::Io(_))));
    let (mut new, recovered) = new.reopen().unwrap();
    assert_eq!(payloads(&recovered), ["a", "late"]);
    let body = store(&mut new, &[("b", Some(b"body"))])[0].unwrap();
    assert_eq!(new.reader().read(body, 0..4).unwrap(), b"body");
    store(&mut old, &[("garbage", None)]);
    new.close();
    let (_, recovered) = open(&fs, 4);
    assert_eq!(payloads(&recovered), ["a", "late", "b"]);
}

#[test]
fn after_a_failed_sync_the_batch_is_gone_and_the_log_goes_on() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("a", None)]);
    let mut batch = log.batch();
    batch.push(b"in doubt", Some(b"body"));
    fs.fail_at(fs.operations() + 2, Fault::Halfway);
    let appended = log.write(batch).unwrap();
    assert!(log.sync(appended).is_err());
    let mut batch = log.batch();
    batch.push(b"too early", None);
    assert!(log.write(batch).is_err(), "a poisoned log takes nothing");
    let (mut log, recovered) = log.reopen().unwrap();
    assert_eq!(payloads(&recovered), ["a"]);
    store(&mut log, &[("b", None)]);
    drop(log);
    let (_, recovered) = open(&fs.after_power_loss(&[]), 2);
    assert_eq!(payloads(&recovered), ["a", "b"]);
}

#[test]
fn a_full_disk_takes_smaller_batches_and_loses_nothing() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("a", None)]);
    let mut batch = log.batch();
    for _ in 0..5 {
        batch.push(b"too much", Some(&[1; 39]));
    }
    fs.fail_at(fs.operations() + 1, Fault::Halfway);
    assert!(matches!(log.write(batch), Err(WriteError::Full(_))));
    assert!(!log.is_poisoned());
    store(&mut log, &[("b", None)]);
    drop(log);
    let (_, recovered) = open(&fs, 2);
    assert_eq!(payloads(&recovered), ["a", "b"]);
    assert!(recovered.report.torn_bytes > 0);
}

#[test]
fn a_disk_too_full_for_a_segment_leaves_the_log_to_be_opened_again() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    let mut batch = log.batch();
    batch.push(b"a", None);
    fs.fail_at(fs.operations() + 3, Fault::Error(io::ErrorKind::StorageFull));
    assert!(matches!(log.write(batch), Err(WriteError::Full(_))));
    assert!(log.is_poisoned());
    let (mut log, recovered) = log.reopen().unwrap();
    assert!(recovered.records.is_empty());
    store(&mut log, &[("b", None)]);
}

#[test]
fn a_log_opened_again_never_uses_the_name_of_a_body_file_twice() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    let long = [3; 50];
    store(&mut log, &[("a", Some(&long))]);
    let mut batch = log.batch();
    batch.push(b"lost", Some(&long));
    // Creating, writing and syncing the body file and its directory succeed, the batch fails.
    fs.fail_at(fs.operations() + 5, Fault::Halfway);
    assert!(log.write(batch).is_err());
    let (mut log, _) = log.reopen().unwrap();
    let body = store(&mut log, &[("b", Some(&long))])[0].unwrap();
    assert!(matches!(body, BodyRef::File { number: 3, .. }));
}

#[test]
fn a_handle_that_the_server_forgot_is_opened_again() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    let body = store(&mut log, &[("a", Some(b"body"))])[0].unwrap();
    fs.fail_at(fs.operations() + 1, Fault::Error(io::ErrorKind::StaleNetworkFileHandle));
    assert_eq!(log.reader().read(body, 0..4).unwrap(), b"body");
}

#[test]
fn what_a_dead_owner_left_is_removed_once_its_successor_has_stored_something() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("a", None)]);
    fs.fail_at(fs.operations() + 4, Fault::Error(io::ErrorKind::Other));
    assert!(log.snapshot(&Held::new(b"state")).is_err());
    drop(log);
    let left = || fs.list(Path::new(DIR)).unwrap().iter().filter(|name| name.starts_with("tmp.")).count();
    let (mut log, recovered) = open(&fs, 2);
    assert_eq!((left(), recovered.report.garbage_files), (1, 1));
    log.snapshot(&Held::new(b"state")).unwrap();
    assert_eq!(left(), 1);
    store(&mut log, &[("b", None)]);
    log.snapshot(&Held::new(b"state")).unwrap();
    assert_eq!(left(), 0);
}

#[test]
fn the_real_filesystem_does_what_the_simulated_one_does() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("accounts/ab/cd/x");
    let fs = Arc::new(RealFs::named("test"));
    let long = vec![5; 100_000];
    let (mut log, recovered) = Log::open(Arc::clone(&fs), &dir, 1).unwrap();
    assert!(recovered.records.is_empty() && !dir.exists());
    let mut batch = log.batch();
    let short = batch.push(b"a", Some(b"short")).unwrap();
    let file = batch.push(b"b", Some(&long)).unwrap();
    let appended = log.write(batch).unwrap();
    let synced = log.sync(appended).unwrap();
    assert_eq!(log.validated(synced).seq(), 1);
    log.snapshot(&Held { state: b"state".to_vec(), bodies: vec![short, file] }).unwrap();
    drop(log);
    let (log, recovered) = Log::open(fs, &dir, 2).unwrap();
    assert_eq!(recovered.snapshot.as_deref(), Some(&b"state"[..]));
    assert_eq!(log.reader().read(short, 0..5).unwrap(), b"short");
    assert_eq!(log.reader().read(file, 0..100_000).unwrap(), long);
}

#[test]
fn what_was_discarded_is_remembered_over_openings() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    let body = store(&mut log, &[("a", Some(b"body"))])[0].unwrap();
    log.snapshot(&Held { state: b"state".to_vec(), bodies: vec![body] }).unwrap();
    assert_eq!(log.discarded_bytes(), 0);
    store(&mut log, &[("gone", None)]);
    log.snapshot(&Held::new(b"state")).unwrap();
    assert_eq!(log.discarded_bytes(), 4);
    log.close();
    assert_eq!(open(&fs, 2).0.discarded_bytes(), 4);
}

#[test]
fn a_batch_costs_one_write_and_one_sync_however_many_changes_it_has() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    store(&mut log, &[("first", None)]);
    for count in [1, 30] {
        let before = fs.operations();
        store(&mut log, &vec![("change", Some(&b"body"[..])); count]);
        assert_eq!(fs.operations() - before, 2);
    }
}

#[test]
fn opening_after_a_clean_end_reads_each_file_once() {
    let fs = SimulatedFs::new();
    let (mut log, _) = open(&fs, 1);
    for _ in 0..10 {
        store(&mut log, &[("change", Some(b"body"))]);
        log.snapshot(&Held::new(b"state")).unwrap();
    }
    log.close();
    let before = fs.operations();
    open(&fs, 2);
    // The list of names; a segment (opened, its header and that it ends there, its length, its batches); a snapshot
    // (opened, its header, its length, the state, what follows).
    assert!(fs.operations() - before <= 11, "{}", fs.operations() - before);
}

/// Nobody opens a file before its writer's ownership has ended, and no file is written after that: so there is nothing
/// that a cache could hold too long. Clusters refuse such mounts all the same, for what they do elsewhere.
#[test]
fn owners_see_one_another_s_changes_even_through_caches_that_never_expire() {
    let fs = SimulatedFs::new();
    let members = [Caching::NfsDefault, Caching::GlusterDefault, Caching::Strict, Caching::GlusterDefault];
    let members = members.map(|caching| fs.join(caching));
    let mut stored = Vec::new();
    for (epoch, member) in (1..40).zip(members.iter().cycle()) {
        let (mut log, recovered) = open(member, epoch);
        let state = recovered.snapshot.as_deref().unwrap_or_default();
        let seen: Vec<u8> =
            state.iter().copied().chain(recovered.records.iter().map(|record| record.payload[0])).collect();
        assert_eq!(seen, stored, "epoch {epoch}");
        let change = epoch as u8;
        let mut batch = log.batch();
        batch.push(&[change], Some(&[change; 30]));
        let appended = log.write(batch).unwrap();
        let synced = log.sync(appended).unwrap();
        log.validated(synced);
        stored.push(change);
        match epoch % 3 {
            0 => drop(log.snapshot(&Held::new(&stored)).unwrap()),
            1 => log.close(),
            _ => {}
        }
    }
}

/// Prints what a batch costs beside a bare write and sync of as many bytes, in turns, on the disk of the temporary folder.
#[test]
#[ignore = "measures"]
fn batches_a_second_beside_bare_writes() {
    const ROUNDS: u32 = 400;
    let scratch = tempfile::tempdir_in(std::env::var("LANIAKEA_BENCH_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let fs = RealFs::default();
    let bare = fs.create(&scratch.path().join("bare")).unwrap();
    let (mut log, _) = Log::open(Arc::new(fs), &scratch.path().join("log"), 1).unwrap();
    let body = vec![7; 4096];
    let (mut written, mut times) = (0, [std::time::Duration::ZERO; 2]);
    for _ in 0..ROUNDS {
        let began = std::time::Instant::now();
        let mut batch = log.batch();
        batch.push(b"a change", Some(&body));
        let bytes = batch.bytes();
        let appended = log.write(batch).unwrap();
        let synced = log.sync(appended).unwrap();
        log.validated(synced);
        times[0] += began.elapsed();
        let began = std::time::Instant::now();
        bare.write_at(&vec![7; bytes as usize], written).unwrap();
        bare.sync_data().unwrap();
        written += bytes;
        times[1] += began.elapsed();
    }
    println!("a batch {:?}, a bare write and sync {:?}", times[0] / ROUNDS, times[1] / ROUNDS);
}
