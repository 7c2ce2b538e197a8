use proptest::prelude::*;

use super::drain::RECALLS_MAX;
use super::tests::{answers, claim, epoch, granting, register, registering, release};
use super::*;
use crate::cluster::Roster;
use crate::cluster::fixture::{account, at, incarnation};

fn drain(member: &str, on: bool) -> ControllerEvent {
    let member = MemberName::new(member);
    ControllerEvent::Drain(DrainOrder { from: incarnation("b", 1), request: 7, member, on })
}

fn recorded(number: u64) -> ControllerEvent {
    ControllerEvent::Recorded { term: 5, number: Some(number) }
}

fn names(names: &[&str]) -> BTreeSet<MemberName> {
    names.iter().map(|name| MemberName::new(name)).collect()
}

/// How much is asked back.
fn recalled(commands: &[ControllerCommand]) -> usize {
    let recalls = commands.iter().map(|command| match command {
        ControllerCommand::Tell { message: Message::Recalls { recalled, .. }, .. } => recalled.len(),
        _ => 0,
    });
    recalls.sum()
}

/// What is to be recorded.
fn record(commands: &[ControllerCommand]) -> Option<(u64, BTreeSet<MemberName>)> {
    commands.iter().find_map(|command| match command {
        ControllerCommand::Record(record) => Some((record.number, record.drained.clone())),
        _ => None,
    })
}

/// What whoever gave a command is told.
fn told(commands: &[ControllerCommand]) -> Vec<BTreeSet<MemberName>> {
    let told = commands.iter().filter_map(|command| match command {
        ControllerCommand::Tell { message: Message::Drained { drained, .. }, .. } => Some(drained.clone()),
        _ => None,
    });
    told.collect()
}

/// The newest roster that went to a member.
fn roster(commands: &[ControllerCommand], name: &str) -> Option<Roster> {
    let mut rosters = commands.iter().filter_map(|command| match command {
        ControllerCommand::Tell { to, message: Message::Roster { roster, .. } } if to.member.as_str() == name => {
            Some(roster.clone())
        }
        _ => None,
    });
    rosters.next_back()
}

#[test]
fn a_drained_member_is_asked_for_a_few_at_a_time_and_gets_nothing_new() {
    let mut controller = granting(&["a", "b"]);
    let all = 0..=RECALLS_MAX as u128;
    for number in all.clone() {
        controller.step(at(1), claim("a", number));
    }
    let commands = controller.step(at(2), drain("a", true));
    assert_eq!(recalled(&commands), RECALLS_MAX);
    assert_eq!(answers(&controller.step(at(3), claim("b", 0))), [""; 0], "waits for the release");
    assert_eq!(answers(&controller.step(at(3), claim("a", 999))), ["a: draining"]);
    let commands = controller.step(at(4), release("a", 0, epoch(1)));
    assert_eq!(recalled(&commands), 1, "the next one is asked for");
    assert_eq!(answers(&commands), ["b: granted 5.66"]);
    for number in all.skip(1) {
        controller.step(at(5), release("a", number, epoch(number as u64 + 1)));
    }
    assert_eq!(controller.deadline(), None);
    assert_eq!(controller.owned_count(), 1);
}

#[test]
fn what_somebody_wants_of_a_drained_member_does_not_wait_in_line() {
    let mut controller = granting(&["a", "b"]);
    let last = RECALLS_MAX as u128 + 10;
    for number in 0..=last {
        controller.step(at(1), claim("a", number));
    }
    controller.step(at(2), drain("a", true));
    let commands = controller.step(at(3), claim("b", last));
    assert_eq!((recalled(&commands), answers(&commands)), (1, vec![]));
    assert_eq!(recalled(&controller.step(at(4), claim("b", last))), 0, "once is enough");
    let commands = controller.step(at(5), release("a", last, epoch(last as u64 + 1)));
    assert_eq!(answers(&commands), ["b: granted 5.76"]);
}

#[test]
fn who_waits_for_what_was_recalled_on_an_earlier_session_is_answered() {
    let mut controller = granting(&["a", "b"]);
    controller.step(at(1), claim("a", 1));
    controller.step(at(1), drain("a", true));
    assert_eq!(answers(&controller.step(at(2), claim("b", 1))), [""; 0], "waits for the release");
    controller.step(at(3), ControllerEvent::Disconnected(incarnation("a", 1)));
    controller.step(at(4), drain("a", false));
    let commands = controller.step(at(5), register("a", vec![(account(1), epoch(1))]));
    assert_eq!((recalled(&commands), answers(&commands)), (0, vec!["b: owned by a".to_owned()]));
}

#[test]
fn who_keeps_what_was_recalled_is_condemned_after_five_seconds() {
    let mut controller = granting(&["a", "b"]);
    controller.step(at(0), claim("a", 1));
    controller.step(at(0), drain("a", true));
    controller.step(at(0), claim("b", 1));
    controller.step(at(0), recorded(0));
    controller.step(at(0), recorded(1));
    assert_eq!(controller.deadline(), Some(at(5000)));
    assert_eq!(controller.step(at(4999), ControllerEvent::Timer), []);
    let condemned = ControllerCommand::Condemn { incarnation: incarnation("a", 1), offence: Offence::KeptRecalled };
    assert_eq!(controller.step(at(5000), ControllerEvent::Timer), [condemned]);
    let commands = controller.step(at(6200), ControllerEvent::Fenced(incarnation("a", 1)));
    assert_eq!(answers(&commands), ["b: granted 5.2"]);
}

#[test]
fn claims_do_not_extend_the_time_a_recalled_owner_has() {
    let mut controller = granting(&["a", "b"]);
    controller.step(at(0), claim("a", 1));
    controller.step(at(0), drain("a", true));
    for now in (100..5000).step_by(100) {
        assert_eq!(recalled(&controller.step(at(now), claim("b", 1))), 0);
    }
    let condemned = ControllerCommand::Condemn { incarnation: incarnation("a", 1), offence: Offence::KeptRecalled };
    assert_eq!(controller.step(at(5000), ControllerEvent::Timer), [condemned]);
}

#[test]
fn a_drain_outlives_its_controller_and_the_members_process() {
    let mut controller = Controller::new(5, ClusterTiming::default());
    let read = ControllerEvent::Listed { living: vec![incarnation("b", 1)], drained: names(&["a"]) };
    controller.step(at(0), read);
    let commands = controller.step(at(1), register("b", vec![]));
    assert_eq!(record(&commands), Some((0, names(&["a"]))), "what the last term decided counts in this one");
    let commands = controller.step(at(2), register("a", vec![(account(1), Epoch { term: 3, number: 1 })]));
    assert_eq!(recalled(&commands), 1);
    assert_eq!(roster(&commands, "a").unwrap().drained, names(&["a"]));
}

#[test]
fn when_all_are_drained_all_serve_and_when_one_is_not_it_takes_over() {
    let mut controller = granting(&["a", "b"]);
    controller.step(at(1), drain("a", true));
    let commands = controller.step(at(2), drain("b", true));
    assert_eq!(roster(&commands, "a").unwrap().drained, names(&["a", "b"]));
    assert_eq!(answers(&controller.step(at(3), claim("a", 1))), ["a: granted 5.1"]);
    assert_eq!(answers(&controller.step(at(3), claim("b", 1))), ["b: owned by a"]);
    assert_eq!(recalled(&controller.step(at(4), drain("b", false))), 1);
    assert_eq!(answers(&controller.step(at(5), release("a", 1, epoch(1)))), [""; 0]);
    assert_eq!(answers(&controller.step(at(6), claim("b", 1))), ["b: granted 5.2"]);
}

#[test]
fn the_last_one_left_serves_though_it_is_drained() {
    let mut controller = granting(&["a", "b"]);
    controller.step(at(1), drain("a", true));
    assert_eq!(answers(&controller.step(at(2), claim("a", 1))), ["a: draining"]);
    controller.step(at(3), claim("b", 1));
    controller.step(at(4), doubt_and_fence("b"));
    assert_eq!(answers(&controller.step(at(5), claim("a", 1))), ["a: granted 5.2"]);
}

fn doubt_and_fence(name: &str) -> ControllerEvent {
    ControllerEvent::Fenced(incarnation(name, 1))
}

#[test]
fn who_leaves_gets_nothing_new_and_is_forgotten_with_its_process() {
    let mut controller = granting(&["a", "b"]);
    controller.step(at(1), claim("a", 1));
    let commands = controller.step(at(2), ControllerEvent::Leaving(incarnation("a", 1)));
    assert_eq!(recalled(&commands), 1);
    assert_eq!(roster(&commands, "b").unwrap().leaving, BTreeSet::from([incarnation("a", 1)]));
    assert_eq!(answers(&controller.step(at(3), claim("a", 2))), ["a: draining"]);
    let commands = controller.step(at(4), ControllerEvent::Fenced(incarnation("a", 1)));
    assert_eq!(roster(&commands, "b"), Some(Roster::default()));
    controller.step(at(5), claim("b", 3));
    let peer = Registering { incarnation: incarnation("a", 2), ..registering("a") };
    let part = Registration { term: 5, first: true, last: true, leaving: false, owned: vec![] };
    controller.step(at(6), ControllerEvent::Register { from: peer, part });
    let wanted = ControllerEvent::Claims { from: incarnation("a", 2), wanted: vec![account(9)] };
    assert_eq!(answers(&controller.step(at(7), wanted)), ["a: granted 5.3"]);
}

#[test]
fn nobody_is_answered_before_the_decision_is_recorded_and_a_failed_record_is_tried_again() {
    let mut controller = granting(&["a", "b"]);
    let commands = controller.step(at(1), drain("a", true));
    assert_eq!((record(&commands), told(&commands)), (None, vec![]), "one record at a time");
    let commands = controller.step(at(2), recorded(0));
    assert_eq!(record(&commands), Some((1, names(&["a"]))));
    let commands = controller.step(at(3), ControllerEvent::Recorded { term: 5, number: None });
    assert_eq!((record(&commands), told(&commands)), (None, vec![]));
    assert_eq!(controller.deadline(), Some(at(203)));
    let commands = controller.step(at(203), ControllerEvent::Timer);
    assert_eq!(record(&commands), Some((1, names(&["a"]))));
    let stale = ControllerEvent::Recorded { term: 4, number: Some(1) };
    assert_eq!(controller.step(at(204), stale), [], "what an earlier office of this seat asked for");
    assert_eq!(told(&controller.step(at(205), recorded(1))), [names(&["a"])]);
}

proptest! {
    /// Two people, or two loops of a script, that contradict each other: both hear the same, and so does everybody else.
    #[test]
    fn contradictory_commands_end_in_one_state(
        orders in proptest::collection::vec((0_usize..3, any::<bool>(), any::<bool>()), 1..40)
    ) {
        let mut controller = granting(&["a", "b", "c"]);
        let (mut disk, mut writing) = (BTreeSet::new(), Some((0, BTreeSet::new())));
        let mut rosters = [Roster::default(), Roster::default(), Roster::default()];
        let mut last_told = None;
        let mut step = |event: ControllerEvent, writing: &mut Option<(u64, BTreeSet<MemberName>)>| {
            let commands = controller.step(at(1), event);
            if let Some(record) = record(&commands) {
                assert!(writing.replace(record).is_none(), "two records under way");
            }
            for (member, roster_of) in ["a", "b", "c"].iter().zip(&mut rosters) {
                if let Some(roster) = roster(&commands, member) {
                    *roster_of = roster;
                }
            }
            told(&commands)
        };
        let names = ["a", "b", "c"];
        for (member, on, is_recorded) in orders {
            if is_recorded && let Some((number, drained)) = writing.take() {
                disk = drained;
                for set in step(recorded(number), &mut writing) {
                    prop_assert_eq!(&set, &disk, "told what is not recorded");
                    last_told = Some(set);
                }
            }
            for set in step(drain(names[member], on), &mut writing) {
                prop_assert_eq!(&set, &disk);
                last_told = Some(set);
            }
        }
        while let Some((number, drained)) = writing.take() {
            disk = drained;
            last_told = step(recorded(number), &mut writing).pop().or(last_told);
        }
        prop_assert_eq!(last_told.as_ref(), Some(&disk), "the last word is what the disk says");
        prop_assert_eq!(controller.drained(), &disk);
        for roster in &rosters {
            prop_assert_eq!(&roster.drained, &disk, "a member believes something else");
        }
        // Whatever was said, everything can be opened somewhere.
        let granted = names.iter().filter(|name| answers(&controller.step(at(2), claim(name, 1)))[0].contains("granted"));
        prop_assert_eq!(granted.count(), 1);
    }
}
