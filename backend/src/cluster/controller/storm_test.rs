//! A hundred thousand accounts of one member: no step of the controller may take so long that a sign of life is late.
//!
//! Times are printed, not asserted.

use std::time::Instant;

use super::{
    tests::{epoch, granting, registering},
    *,
};
use crate::cluster::fixture::{account, at, incarnation};

const ACCOUNTS: u128 = 100_000;

/// Takes steps, and remembers the longest.
struct Steps {
    controller: Controller,
    longest: std::time::Duration,
}

impl Steps {
    fn take(&mut self, event: ControllerEvent) -> Vec<ControllerCommand> {
        let began = Instant::now();
        let commands = self.controller.step(at(1), event);
        self.longest = self.longest.max(began.elapsed());
        commands
    }

    fn report(&mut self, what: &str) {
        println!("  {what}: longest step {:?}", std::mem::take(&mut self.longest));
    }

    /// Claims all accounts for a member, in batches as on a link; returns how many were granted.
    fn claim_all(&mut self, name: &str) -> usize {
        let accounts: Vec<OwnableId> = (0..ACCOUNTS).map(account).collect();
        let claims = accounts
            .chunks(BATCH_MAX)
            .map(|wanted| ControllerEvent::Claims { from: incarnation(name, 1), wanted: wanted.to_vec() });
        claims.map(|claim| granted(&self.take(claim)).len()).sum()
    }
}

fn granted(commands: &[ControllerCommand]) -> Vec<(OwnableId, Epoch)> {
    let mut all = Vec::new();
    for command in commands {
        let ControllerCommand::Tell { message: Message::Answers { answers, .. }, .. } = command else { continue };
        all.extend(answers.iter().filter_map(|(ownable, answer)| match answer {
            Answer::Granted(epoch) => Some((*ownable, *epoch)),
            Answer::Owned { .. } | Answer::Draining => None,
        }));
    }
    all
}

#[test]
fn the_accounts_of_a_dead_member_are_free_at_once_and_go_to_who_claims_them() {
    let mut steps = Steps { controller: granting(&["a", "b"]), longest: <_>::default() };
    assert_eq!(steps.claim_all("a"), 100_000);
    steps.report("all claimed");
    assert_eq!(steps.controller.owned_count(), 100_000);
    // Somebody waits for one of them.
    steps.take(ControllerEvent::Doubt { incarnation: incarnation("a", 1), doubtful: true });
    let waits = ControllerEvent::Claims { from: incarnation("b", 1), wanted: vec![account(7)] };
    assert_eq!(granted(&steps.take(waits)), []);
    let fenced = steps.take(ControllerEvent::Fenced(incarnation("a", 1)));
    steps.report("owner fenced");
    assert_eq!(granted(&fenced), [(account(7), epoch(100_001))]);
    assert_eq!(steps.controller.table.owners.len(), 100_000);
    assert_eq!((steps.controller.owned_count(), steps.controller.owners().len()), (1, 1));
    steps.take(ControllerEvent::Timer);
    steps.report("swept out");
    assert_eq!(steps.controller.table.owners.len(), 1);
    assert_eq!(steps.claim_all("b"), 99_999);
    steps.report("all claimed by another");
    assert_eq!(steps.controller.owned_count(), 100_000);
    let first = steps.controller.owners().into_iter().next().unwrap();
    assert_eq!((first.0, first.1.as_str()), (account(0), "b"));
}

#[test]
fn a_member_that_owns_much_registers_and_is_drained() {
    let mut steps = Steps { controller: granting(&["b"]), longest: <_>::default() };
    let estate: Vec<_> =
        (0..ACCOUNTS).map(|number| (account(number), Epoch { term: 4, number: number as u64 })).collect();
    for _ in 0..2 {
        let parts = estate.chunks(BATCH_MAX).count();
        for (number, part) in estate.chunks(BATCH_MAX).enumerate() {
            let (first, last, owned) = (number == 0, number + 1 == parts, part.to_vec());
            let part = Registration { term: 5, first, last, leaving: false, owned };
            steps.take(ControllerEvent::Register { from: registering("a"), part });
        }
        steps.report("registered");
        assert_eq!(steps.controller.owned_count(), 100_000);
        assert_eq!(steps.controller.owners().len(), 100_000);
    }
    let member = MemberName::new("a");
    let order = DrainOrder { from: incarnation("b", 1), request: 1, member, on: true };
    let commands = steps.take(ControllerEvent::Drain(order));
    steps.report("drained");
    let recalled = commands.iter().find_map(|command| match command {
        ControllerCommand::Tell { message: Message::Recalls { recalled, .. }, .. } => Some(recalled.len()),
        _ => None,
    });
    assert_eq!(recalled, Some(64));
    steps.take(ControllerEvent::Disconnected(incarnation("a", 1)));
    steps.report("disconnected");
}
