use super::*;
use crate::cluster::fixture::{account, at, incarnation, peer};

pub(super) fn registering(name: &str) -> Registering {
    let peer = peer(name, 1);
    Registering { incarnation: peer.incarnation, slot: peer.slot, handoff: peer.handoff }
}

pub(super) fn register(name: &str, owned: Vec<(OwnableId, Epoch)>) -> ControllerEvent {
    let part = Registration { term: 5, first: true, last: true, leaving: false, owned };
    ControllerEvent::Register { from: registering(name), part }
}

pub(super) fn claim(name: &str, number: u128) -> ControllerEvent {
    ControllerEvent::Claims { from: incarnation(name, 1), wanted: vec![account(number)] }
}

pub(super) fn release(name: &str, number: u128, epoch: Epoch) -> ControllerEvent {
    ControllerEvent::Releases { from: incarnation(name, 1), released: vec![(account(number), epoch)] }
}

fn listed(names: &[&str]) -> ControllerEvent {
    let living = names.iter().map(|name| incarnation(name, 1)).collect();
    ControllerEvent::Listed { living, drained: BTreeSet::new() }
}

fn doubt(name: &str, doubtful: bool) -> ControllerEvent {
    ControllerEvent::Doubt { incarnation: incarnation(name, 1), doubtful }
}

pub(super) fn epoch(number: u64) -> Epoch {
    Epoch { term: 5, number }
}

/// A controller of term 5 with registered members that own nothing.
pub(super) fn granting(names: &[&str]) -> Controller {
    let mut controller = Controller::new(5, ClusterTiming::default());
    for name in names {
        controller.step(at(0), register(name, vec![]));
    }
    controller.step(at(0), listed(&[]));
    assert!(controller.is_granting());
    controller
}

/// What was answered, as `member: answer`.
pub(super) fn answers(commands: &[ControllerCommand]) -> Vec<String> {
    let mut said = Vec::new();
    for command in commands {
        let ControllerCommand::Tell { to, message: Message::Answers { answers, .. } } = command else { continue };
        said.extend(answers.iter().map(|(_, answer)| match answer {
            Answer::Granted(epoch) => format!("{}: granted {epoch}", to.member),
            Answer::Owned { member, .. } => format!("{}: owned by {member}", to.member),
            Answer::Draining => format!("{}: draining", to.member),
        }));
    }
    said
}

#[test]
fn the_first_claim_is_granted_and_the_second_learns_the_owner() {
    let mut controller = granting(&["a", "b"]);
    assert_eq!(answers(&controller.step(at(1), claim("a", 1))), ["a: granted 5.1"]);
    assert_eq!(answers(&controller.step(at(2), claim("b", 1))), ["b: owned by a"]);
    assert_eq!(answers(&controller.step(at(3), release("a", 1, epoch(1)))), [""; 0]);
    assert_eq!(answers(&controller.step(at(4), claim("b", 1))), ["b: granted 5.2"]);
}

#[test]
fn nothing_is_granted_before_everybody_listed_has_registered_or_is_fenced() {
    let mut controller = Controller::new(5, ClusterTiming::default());
    controller.step(at(0), register("a", vec![]));
    assert_eq!(answers(&controller.step(at(1), claim("a", 1))), [""; 0]);
    assert_eq!(answers(&controller.step(at(2), listed(&["a", "b", "c"]))), [""; 0]);
    controller.step(at(3), register("b", vec![(account(1), Epoch { term: 4, number: 9 })]));
    assert_eq!(controller.awaited(), [incarnation("c", 1)]);
    let commands = controller.step(at(4), ControllerEvent::Fenced(incarnation("c", 1)));
    assert_eq!(answers(&commands), ["a: owned by b"]);
    assert!(controller.is_granting());
}

#[test]
fn what_a_doubtful_member_owns_is_granted_only_after_its_fence() {
    let mut controller = granting(&["a", "b"]);
    controller.step(at(1), claim("a", 1));
    controller.step(at(2), doubt("a", true));
    assert_eq!(answers(&controller.step(at(3), claim("b", 1))), [""; 0]);
    let commands = controller.step(at(4), ControllerEvent::Fenced(incarnation("a", 1)));
    assert_eq!(answers(&commands), ["b: granted 5.2"]);
}

#[test]
fn a_doubt_that_passes_tells_who_waited() {
    let mut controller = granting(&["a", "b"]);
    controller.step(at(1), claim("a", 1));
    controller.step(at(2), doubt("a", true));
    controller.step(at(3), claim("b", 1));
    assert_eq!(answers(&controller.step(at(4), doubt("a", false))), ["b: owned by a"]);
}

#[test]
fn a_grant_lost_with_its_session_is_given_back_by_registering_without_it() {
    let mut controller = granting(&["a", "b"]);
    controller.step(at(1), claim("a", 1));
    controller.step(at(2), ControllerEvent::Disconnected(incarnation("a", 1)));
    assert_eq!(answers(&controller.step(at(3), claim("b", 1))), ["b: owned by a"]);
    controller.step(at(4), register("a", vec![]));
    assert_eq!(answers(&controller.step(at(5), claim("b", 1))), ["b: granted 5.2"]);
}

#[test]
fn a_late_release_of_an_earlier_epoch_releases_nothing() {
    let mut controller = granting(&["a", "b"]);
    controller.step(at(1), claim("a", 1));
    controller.step(at(2), release("a", 1, epoch(1)));
    controller.step(at(3), claim("a", 1));
    controller.step(at(4), release("a", 1, epoch(1)));
    assert_eq!(answers(&controller.step(at(5), claim("b", 1))), ["b: owned by a"]);
    controller.step(at(6), release("b", 1, epoch(2)));
    assert_eq!(answers(&controller.step(at(7), claim("b", 1))), ["b: owned by a"], "only the owner releases");
}

#[test]
fn who_contradicts_the_table_is_condemned_and_changes_nothing() {
    let mut controller = granting(&["a", "b"]);
    controller.step(at(1), claim("a", 1));
    let commands = controller.step(at(2), register("b", vec![(account(1), Epoch { term: 4, number: 1 })]));
    let condemned = ControllerCommand::Condemn { incarnation: incarnation("b", 1), offence: Offence::ContradictsTable };
    assert_eq!(commands, [condemned]);
    assert_eq!(controller.owners(), [(account(1), MemberName::new("a"), epoch(1))]);
}

#[test]
fn a_registration_of_another_term_counts_for_nothing() {
    let mut controller = Controller::new(5, ClusterTiming::default());
    controller.step(at(0), listed(&["a"]));
    let part = Registration { term: 4, first: true, last: true, leaving: false, owned: vec![] };
    assert_eq!(controller.step(at(1), ControllerEvent::Register { from: registering("a"), part }), []);
    assert!(!controller.is_granting());
}

#[test]
fn a_login_that_meets_the_last_session_leaving_gets_one_owner() {
    for release_first in [true, false] {
        let mut controller = granting(&["a", "b"]);
        controller.step(at(0), claim("a", 1));
        let steps = [release("a", 1, epoch(1)), claim("b", 1)];
        let said: Vec<_> = if release_first {
            steps.into_iter().flat_map(|step| answers(&controller.step(at(1), step))).collect()
        } else {
            steps.into_iter().rev().flat_map(|step| answers(&controller.step(at(1), step))).collect()
        };
        let expected = if release_first { "b: granted 5.2" } else { "b: owned by a" };
        assert_eq!(said, [expected]);
        assert!(controller.owned_count() <= 1);
    }
}

#[test]
fn claims_and_retries_do_not_keep_a_dead_owner_alive() {
    let run = |is_contended: bool| {
        let mut controller = granting(&["a", "b", "c"]);
        controller.step(at(0), claim("a", 1));
        controller.step(at(10), doubt("a", true));
        let mut deadlines = Vec::new();
        for now in 11..200 {
            for name in ["b", "c"].iter().filter(|_| is_contended) {
                assert_eq!(answers(&controller.step(at(now), claim(name, 1))), [""; 0]);
            }
            assert_eq!(controller.step(at(now), ControllerEvent::Timer), []);
            deadlines.push(controller.deadline());
        }
        let said = answers(&controller.step(at(200), ControllerEvent::Fenced(incarnation("a", 1))));
        (deadlines, said)
    };
    let (calm, contended) = (run(false), run(true));
    assert_eq!(calm.0, contended.0, "who wants it changes nothing about when");
    assert_eq!((calm.1, contended.1), (vec![], vec!["b: granted 5.2".to_owned(), "c: owned by b".to_owned()]));
}

#[test]
fn the_fence_of_an_owner_of_100_000_answers_every_claim_that_waits() {
    const OWNED: u128 = 100_000;
    let mut controller = granting(&["b", "c"]);
    let estate = (0..OWNED).map(|number| (account(number), Epoch { term: 4, number: number as u64 })).collect();
    controller.step(at(0), register("a", estate));
    controller.step(at(1), doubt("a", true));
    let wanted: Vec<_> = (0..OWNED).map(account).collect();
    for part in wanted.chunks(BATCH_MAX) {
        let claims = ControllerEvent::Claims { from: incarnation("b", 1), wanted: part.to_vec() };
        assert_eq!(controller.step(at(2), claims), []);
    }
    let (mut said, mut longest) = (Vec::new(), std::time::Duration::ZERO);
    let mut event = ControllerEvent::Fenced(incarnation("a", 1));
    loop {
        let began = std::time::Instant::now();
        let now = answers(&controller.step(at(3), event));
        longest = longest.max(began.elapsed());
        assert!(now.len() <= SETTLED_MAX);
        said.extend(now);
        if controller.deadline().is_none() {
            break;
        }
        event = ControllerEvent::Timer;
    }
    println!("  longest step for 100,000 owned and claimed: {longest:?}");
    assert_eq!(said.len(), OWNED as usize);
    assert!(said.iter().all(|answer| answer.starts_with("b: granted")));
}
