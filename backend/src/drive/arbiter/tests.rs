use std::{fs, sync::Barrier};

use laniakea_directory::{ClusterName, MemberName};

use super::*;
use crate::store::{
    FEATURE_LEVEL,
    fs::{Fs as _, SimulatedFs, simulated::Caching},
};

fn storage() -> (tempfile::TempDir, FileArbiter) {
    let folder = tempfile::tempdir().unwrap();
    initialise_storage(folder.path(), &ClusterName::new("one")).unwrap();
    let arbiter = FileArbiter::new(folder.path());
    (folder, arbiter)
}

fn newcomer(member: &str) -> Newcomer {
    let address = "127.0.0.1:1".parse().unwrap();
    Newcomer { member: MemberName::new(member), control: address, handoff: address }
}

fn living(arbiter: &FileArbiter, member: &str) -> Peer {
    let peer = arbiter.enlist(&newcomer(member)).unwrap();
    arbiter.appear(&peer.incarnation).unwrap();
    peer
}

#[test]
fn an_unmounted_or_foreign_storage_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let one = ClusterName::new("one");
    assert!(matches!(check_storage(folder.path(), &one), Err(VolumeError::Missing(_))));
    initialise_storage(folder.path(), &one).unwrap();
    initialise_storage(folder.path(), &one).unwrap();
    let other = ClusterName::new("other");
    assert!(matches!(initialise_storage(folder.path(), &other), Err(VolumeError::Foreign { .. })));
    fs::write(folder.path().join("laniakea-volume"), br#"{"format":2,"cluster":"one"}"#).unwrap();
    assert!(matches!(check_storage(folder.path(), &one), Err(VolumeError::Foreign { .. })));
}

#[test]
fn a_folder_with_something_in_it_is_not_made_a_volume() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "precious").unwrap();
    let refused = initialise_storage(folder.path(), &ClusterName::new("one"));
    assert!(matches!(refused, Err(VolumeError::NotEmpty(_))));
}

#[test]
fn numbers_rise_and_slots_stay() {
    let (_folder, arbiter) = storage();
    let first = arbiter.enlist(&newcomer("a.b")).unwrap();
    let other = arbiter.enlist(&newcomer("b")).unwrap();
    let second = arbiter.enlist(&newcomer("a.b")).unwrap();
    assert_eq!((first.incarnation.number, second.incarnation.number), (1, 2));
    assert_eq!((first.slot, second.slot, other.slot), (0, 0, 1));
}

#[test]
fn a_number_is_never_used_again_however_old_records_are_tidied() {
    let (_folder, arbiter) = storage();
    for number in 1..=40 {
        assert_eq!(arbiter.enlist(&newcomer("a")).unwrap().incarnation.number, number);
    }
    assert!(arbiter.fs.list(&arbiter.root.join("inc")).unwrap().len() <= HISTORY + 1);
    assert_eq!(arbiter.fs.list(&arbiter.root.join("tmp")).unwrap(), [""; 0]);
}

#[test]
fn a_tick_is_seen_by_others_and_fails_for_ever_after_the_fence() {
    let (_folder, arbiter) = storage();
    let peer = living(&arbiter, "a");
    let mut name = TickName::default();
    let sees = Slots::NONE.with(3);
    arbiter.tick(&peer.incarnation, &mut name, sees).unwrap();
    let survey = arbiter.survey().unwrap();
    assert_eq!(survey.live, [LiveEntry { peer: peer.clone(), tick: Some(TickName { counter: 1, sees }) }]);
    assert_eq!(arbiter.fence(&peer.incarnation, 0, false).unwrap(), FenceOutcome::Fenced);
    for _ in 0..3 {
        assert!(matches!(arbiter.tick(&peer.incarnation, &mut name, sees), Err(TickError::Fenced)));
    }
    assert_eq!(arbiter.fence(&peer.incarnation, 0, false).unwrap(), FenceOutcome::Fenced, "fencing twice does no harm");
    assert_eq!(arbiter.survey().unwrap().live, []);
}

#[test]
fn a_rename_whose_success_was_reported_as_an_error_is_no_fence() {
    let (_folder, arbiter) = storage();
    let peer = living(&arbiter, "a");
    let mut name = TickName::default();
    arbiter.tick(&peer.incarnation, &mut name, Slots::NONE).unwrap();
    // The member believes that its last rename failed.
    let mut believed = TickName::default();
    arbiter.tick(&peer.incarnation, &mut believed, Slots::NONE).unwrap();
    assert_eq!(believed.counter, 2);
}

#[test]
fn a_fence_wins_against_a_member_that_ticks_as_fast_as_it_can() {
    let (_folder, arbiter) = storage();
    let peer = living(&arbiter, "a");
    std::thread::scope(|scope| {
        let ticking = scope.spawn(|| {
            let mut name = TickName::default();
            while arbiter.tick(&peer.incarnation, &mut name, Slots::NONE).is_ok() {}
            name.counter
        });
        while arbiter.read_tick(&peer.incarnation).unwrap().is_none_or(|tick| tick.counter == 0) {
            std::thread::yield_now();
        }
        arbiter.fence(&peer.incarnation, 0, false).unwrap();
        assert!(!arbiter.live(&peer.incarnation).exists());
        assert!(ticking.join().unwrap() > 0);
    });
}

#[test]
fn of_many_candidates_exactly_one_wins_each_term() {
    let (_folder, arbiter) = storage();
    let barrier = Barrier::new(4);
    let wins: Vec<u64> = std::thread::scope(|scope| {
        let candidate = |name: &'static str| {
            let (arbiter, barrier) = (&arbiter, &barrier);
            scope.spawn(move || {
                let me = Incarnation { member: MemberName::new(name), number: 1 };
                let mut won = Vec::new();
                for term in 1..=30 {
                    barrier.wait();
                    let highest = arbiter.win_term(term, &me).unwrap();
                    if highest == (TermRecord { term, controller: me.clone() }) {
                        won.push(term);
                    }
                }
                won
            })
        };
        let threads = ["a", "b", "c", "d"].map(candidate);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut sorted = wins;
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=30).collect::<Vec<_>>());
    assert_eq!(arbiter.terms().unwrap().len(), HISTORY);
}

#[test]
fn a_fence_that_leaves_a_lease_is_seen_until_it_is_over() {
    let (_folder, arbiter) = storage();
    let peer = living(&arbiter, "a");
    arbiter.fence(&peer.incarnation, 0, true).unwrap();
    let survey = arbiter.survey().unwrap();
    assert_eq!((survey.live.len(), survey.cooling), (0, vec![peer.incarnation.clone()]));
    arbiter.cooled(&peer.incarnation).unwrap();
    arbiter.cooled(&peer.incarnation).unwrap();
    assert_eq!(arbiter.survey().unwrap(), Survey::default());
}

#[test]
fn a_deposed_controller_fences_nobody() {
    let (_folder, arbiter) = storage();
    let (a, b) = (living(&arbiter, "a"), living(&arbiter, "b"));
    arbiter.win_term(1, &a.incarnation).unwrap();
    let second = arbiter.win_term(2, &b.incarnation).unwrap();
    assert_eq!(arbiter.fence(&b.incarnation, 1, false).unwrap(), FenceOutcome::Superseded(second));
    assert_eq!(arbiter.survey().unwrap().live.len(), 2);
}

#[test]
fn whoever_asks_for_a_term_that_is_taken_learns_who_holds_the_highest() {
    let (_folder, arbiter) = storage();
    let (a, b) = (living(&arbiter, "a"), living(&arbiter, "b"));
    for term in 1..=20 {
        arbiter.win_term(term, &a.incarnation).unwrap();
    }
    // Term 1 has been tidied away; taking the name again wins nothing.
    assert_eq!(arbiter.win_term(1, &b.incarnation).unwrap().term, 20);
}

#[test]
fn every_cache_that_was_measured_or_assumed_leaves_fence_tick_and_term_right() {
    for caching in [Caching::Strict, Caching::NfsDefault, Caching::GlusterDefault, Caching::AsAssumed] {
        let fs = SimulatedFs::new();
        fs.create_dir(Path::new("/s")).unwrap();
        make_folders(&fs, Path::new("/s")).unwrap();
        let [one, other] = [(); 2].map(|()| FileArbiter::on(Arc::new(fs.join(caching)), Path::new("/s")));
        // Both have looked before anything was there.
        assert_eq!(one.survey().unwrap(), other.survey().unwrap());
        let mut number = 0;
        for round in 1..=20 {
            let [a, b] = [&one, &other].map(|arbiter| arbiter.enlist(&newcomer("a")).unwrap().incarnation);
            assert!(number < a.number && a.number < b.number, "{caching:?}: numbers rise in round {round}");
            number = b.number;
            one.appear(&a).unwrap();
            other.appear(&b).unwrap();
            let seen = |arbiter: &FileArbiter<SimulatedFs>| {
                arbiter.survey().unwrap().live.into_iter().map(|entry| entry.peer.incarnation).collect::<Vec<_>>()
            };
            assert_eq!((seen(&one), seen(&other)), (vec![a.clone(), b.clone()], vec![a.clone(), b.clone()]));
            let won = one.win_term(round, &a).unwrap();
            assert_eq!(won, TermRecord { term: round, controller: a.clone() });
            assert_eq!(other.win_term(round, &b).unwrap().controller, a);
            let mut name = TickName::default();
            other.tick(&b, &mut name, Slots(1)).unwrap();
            assert_eq!(one.fence(&b, round, true).unwrap(), FenceOutcome::Fenced);
            assert!(matches!(other.tick(&b, &mut name, Slots(1)), Err(TickError::Fenced)), "{caching:?}");
            assert_eq!(other.survey().unwrap().cooling, std::slice::from_ref(&b));
            other.cooled(&b).unwrap();
            one.depart(&a).unwrap();
        }
    }
}

#[test]
fn a_volume_raised_beyond_this_program_is_refused_in_a_clear_sentence() {
    let (folder, arbiter) = storage();
    let check = || check_storage(folder.path(), &ClusterName::new("one"));
    assert_eq!(volume_level(folder.path()).unwrap(), FEATURE_LEVEL, "nobody older was ever a member of a new volume");
    check().unwrap();
    let unknown = FEATURE_LEVEL + 1;
    assert!(matches!(raise_volume_level(folder.path(), unknown), Err(RaiseError::Unknown { .. })));
    check().unwrap();
    // A later program does it, and another one at the same time.
    arbiter.record_level(unknown).unwrap();
    arbiter.record_level(unknown).unwrap();
    let refused = check().unwrap_err();
    assert!(matches!(refused, VolumeError::Newer { level, .. } if level == unknown));
    let sentence = refused.to_string();
    assert!(sentence.contains(&format!("is at feature level {unknown}, and this program knows {FEATURE_LEVEL}")));
    assert!(sentence.ends_with("Start the program that its cluster was upgraded to"), "{sentence}");
    // Raising it to what it is beyond already is no error, and lowers nothing.
    raise_volume_level(folder.path(), FEATURE_LEVEL).unwrap();
    assert_eq!(volume_level(folder.path()).unwrap(), unknown);
}

#[test]
fn a_volume_for_which_nobody_has_decided_is_at_the_lowest_level() {
    let (folder, arbiter) = storage();
    assert_eq!(volume_level(folder.path()).unwrap(), LEVEL_LOWEST);
    arbiter.record_level(LEVEL_LOWEST + 7).unwrap();
    std::fs::write(folder.path().join("cluster/level/no-level"), "").unwrap();
    assert_eq!(volume_level(folder.path()).unwrap(), LEVEL_LOWEST + 7);
}
