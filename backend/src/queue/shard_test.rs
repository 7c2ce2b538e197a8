//! The invariant of the queue under arbitrary histories, and that what is read back is what was.

use laniakea_router::{
    session::smtp::Recipient,
    wire::smtp::{MailParameters, Mailbox, RcptParameters, Reply},
};
use proptest::prelude::*;

use super::*;
use crate::{
    deliver::{Addressee, Outcome},
    store::BodyRef,
};

#[derive(Debug, Clone)]
enum Step {
    Accept(u8),
    Attempt(u64, Vec<u8>),
    Hurry(u64),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (1u8..5).prop_map(Step::Accept),
        6 => (0u64..8, proptest::collection::vec(0u8..4, 1..5)).prop_map(|(id, outcomes)| Step::Attempt(id, outcomes)),
        1 => (0u64..8).prop_map(Step::Hurry),
        2 => (0u64..600_000_000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..60)
}

fn new_entry(recipients: u8, now_ms: u64) -> NewEntry {
    let addressee = |place: u8| Addressee {
        recipient: Recipient {
            address: Mailbox::parse(&format!("r{place}@x.example")).unwrap(),
            parameters: RcptParameters::default(),
        },
        delivery_id: u128::from(place),
    };
    NewEntry {
        reverse_path: Some(Mailbox::parse("s@x.example").unwrap()),
        parameters: MailParameters::default(),
        addressees: (0..recipients).map(addressee).collect(),
        arrived_ms: now_ms,
        expires_ms: now_ms + u64::try_from(LIFETIME.as_millis()).unwrap(),
    }
}

fn outcome(kind: u8) -> Outcome {
    match kind {
        0 => Outcome::Delivered,
        1 => Outcome::Permanent(Reply::new(550, (5, 1, 1), "no")),
        2 => Outcome::OverQuota,
        _ => Outcome::unavailable(),
    }
}

/// A shard, what was accepted, and how each recipient left.
#[derive(Default)]
struct World {
    queue: Queue,
    log: Vec<(Vec<u8>, Option<BodyRef>)>,
    now_ms: u64,
    accepted: usize,
    delivered: usize,
    failed: usize,
}

impl World {
    fn commit(&mut self, change: QueueChange, body: Option<BodyRef>) {
        self.queue.apply(&change, body).unwrap();
        self.log.push((change.encode(), body));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Accept(recipients) => {
                let id = self.queue.next_id();
                let entry = new_entry(recipients, self.now_ms);
                self.commit(
                    QueueChange::Accepted { id, entry },
                    Some(BodyRef::File { epoch: 1, number: id.0, length: 9 }),
                );
                self.accepted += usize::from(recipients);
            }
            Step::Attempt(id, kinds) => {
                let Some(entry) = self.queue.entry(EntryId(id)).cloned() else { return };
                let outcomes: Vec<_> =
                    entry.due(self.now_ms).zip(kinds).map(|(pending, kind)| (pending.place, outcome(kind))).collect();
                let settlement = settle(&entry, &outcomes, self.now_ms, || 7);
                let QueueChange::Attempted { results, .. } = &settlement.change else { panic!() };
                self.delivered += results.iter().filter(|(_, settled)| *settled == Settled::Delivered).count();
                let failed = results.iter().filter(|(_, settled)| *settled == Settled::Failed).count();
                assert_eq!(failed, settlement.failed.len());
                self.failed += failed;
                self.commit(settlement.change, None);
            }
            Step::Hurry(id) if self.queue.entry(EntryId(id)).is_some() => {
                self.commit(QueueChange::Hurried { id: EntryId(id), now_ms: self.now_ms }, None);
            }
            Step::Hurry(_) => {}
            Step::Wait(ms) => self.now_ms += ms,
        }
    }

    fn check(&self) {
        let queued: usize = self.queue.entries().map(|entry| entry.pending.len()).sum();
        assert_eq!(self.accepted, queued + self.delivered + self.failed);
        assert!(self.queue.entries().all(|entry| !entry.pending.is_empty()));
        let earliest = self.queue.entries().filter_map(|entry| entry.due_ms()).min();
        assert_eq!(self.queue.next_due_ms(|_| false), earliest);
        assert_eq!(self.queue.due(u64::MAX).count(), self.queue.len());
        // Nothing waits longer than an interval.
        let is_soon = |pending: &Pending| pending.next_ms <= self.now_ms + schedule::DELAY_MS_MAX;
        assert!(self.queue.entries().all(|entry| entry.pending.iter().all(is_soon)));
    }
}

proptest! {
    #[test]
    fn every_recipient_is_queued_delivered_or_given_up_exactly_once(steps in steps()) {
        let mut world = World::default();
        for step in steps {
            world.step(step);
            world.check();
        }
        let mut replayed = Queue::default();
        for (payload, body) in &world.log {
            replayed.apply(&QueueChange::decode(payload).unwrap(), *body).unwrap();
        }
        prop_assert_eq!(&replayed, &world.queue);
        prop_assert_eq!(&Queue::decode_snapshot(&world.queue.encode_snapshot(&|body| body)).unwrap(), &world.queue);
    }

    #[test]
    fn foreign_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = QueueChange::decode(&bytes);
        let _ = Queue::decode_snapshot(&bytes);
    }
}

#[test]
fn a_message_that_is_never_accepted_is_given_up_after_five_days() {
    let mut world = World::default();
    world.step(Step::Accept(1));
    let mut attempts = 0;
    while !world.queue.is_empty() {
        world.now_ms = world.queue.next_due_ms(|_| false).unwrap();
        world.step(Step::Attempt(0, vec![3]));
        attempts += 1;
        assert!(attempts < 1000);
    }
    assert_eq!((world.failed, world.now_ms), (1, u64::try_from(LIFETIME.as_millis()).unwrap()));
}

/// Ten years.
const LEAP_MS: u64 = 10 * 365 * 24 * 3600 * 1000;

#[test]
fn a_clock_that_leaps_ahead_gives_nothing_up_that_was_not_tried_for_days() {
    let mut world = World::default();
    world.step(Step::Accept(1));
    world.step(Step::Attempt(0, vec![3]));
    world.now_ms += LEAP_MS;
    let leapt = world.now_ms;
    while !world.queue.is_empty() {
        world.now_ms = world.queue.next_due_ms(|_| false).unwrap().max(world.now_ms);
        world.step(Step::Attempt(0, vec![3]));
    }
    assert!(world.now_ms - leapt > LIFETIME.as_millis() as u64 / 2, "given up after {} ms", world.now_ms - leapt);
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let mut world = World { now_ms: LEAP_MS, ..World::default() };
    for _ in 0..3 {
        world.step(Step::Accept(1));
    }
    world.step(Step::Attempt(0, vec![3]));
    world.now_ms = 5;
    assert_eq!(world.queue.due(world.now_ms).count(), 3);
    world.step(Step::Attempt(0, vec![3]));
    // Tried once more; now its turn comes as always.
    assert_eq!(world.queue.due(world.now_ms).map(|entry| entry.id.0).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(world.queue.due(world.now_ms + schedule::DELAY_MS_MAX).count(), 3);
}

#[test]
fn what_is_never_accepted_ends_though_the_clock_stands_still() {
    let mut world = World::default();
    world.step(Step::Accept(1));
    for _ in 0..1000 {
        world.step(Step::Hurry(0));
        world.step(Step::Attempt(0, vec![3]));
    }
    assert_eq!(world.failed, 1);
}

#[test]
fn a_contradiction_changes_nothing() {
    let mut world = World::default();
    world.step(Step::Accept(2));
    let before = world.queue.clone();
    let out_of_order = QueueChange::Accepted { id: EntryId(0), entry: new_entry(1, 0) };
    let body = Some(BodyRef::File { epoch: 1, number: 0, length: 0 });
    assert_eq!(world.queue.apply(&out_of_order, body), Err(ChangeError::OutOfOrder));
    let missing =
        QueueChange::Attempted { id: EntryId(0), results: vec![(0, Settled::Delivered), (5, Settled::Delivered)] };
    assert_eq!(world.queue.apply(&missing, None), Err(ChangeError::Missing));
    assert_eq!(world.queue, before);
    world.step(Step::Attempt(0, vec![0, 0]));
    assert!(world.queue.is_empty());
    assert_eq!(world.queue.next_id(), EntryId(1));
}
