//! The queue: mail is entered into a shard, and whoever owns the shard has it delivered.

use laniakea_router::{
    session::smtp::Recipient,
    wire::smtp::{MailParameters, Mailbox, RcptParameters},
};

use super::{
    clients::{Answer, Asked},
    *,
};
use crate::{
    deliver::{Addressee, Outcome},
    queue::{EntryId, NewEntry, QueueChange, Settlement, settle},
    sim::invariant::{bounce_of, is_refused},
    store::Batch,
};

/// Until when a recipient is tried, in milliseconds after it was accepted: longer than a run.
const LIFETIME_MS: u64 = 1_000_000;

impl World {
    /// A client enters a message with some recipients.
    pub(super) fn enter_mail(&mut self, id: ProcessId, shard: OwnableId) {
        let count = 1 + self.random.below(3);
        let recipients: Vec<Delivery> = (0..count)
            .map(|_| {
                let account = ownable(self.random.below(self.plan.accounts));
                self.new_delivery(account)
            })
            .collect();
        self.witness.mails.recipients.extend(recipients.iter().map(|one| (one.number, one.account)));
        let entry = self.entry(&recipients, Some(address_of(0)));
        let body = format!("Subject: {}\r\n\r\n", recipients[0].number);
        let job = Asked::Accept { shard, recipients };
        self.submit::<Queue>(id, shard, job, move |queue, batch| {
            accept(queue, batch, entry, body.as_bytes());
            Some(Answer::Done)
        });
    }

    fn entry(&self, recipients: &[Delivery], reverse_path: Option<Mailbox>) -> NewEntry {
        let arrived_ms = self.now.as_micros() / 1000;
        NewEntry {
            reverse_path,
            parameters: MailParameters::default(),
            addressees: recipients.iter().map(addressee).collect(),
            arrived_ms,
            expires_ms: arrived_ms + LIFETIME_MS,
        }
    }

    /// A member looks through its shards and tries what is due.
    pub(super) fn run_queue(&mut self, id: ProcessId) {
        let again = self.random.span(100_000, 400_000);
        self.after(again, Happening::Runner { process: id });
        let now_ms = self.now.as_micros() / 1000;
        let mut due = Vec::new();
        for (shard, work) in &self.processes[&id].shards {
            if let Work::Open(open) = work {
                for entry in open.shown.due(now_ms).take(8) {
                    due.extend(
                        entry
                            .due(now_ms)
                            .map(|pending| (*shard, entry.id, pending.place, number_of(&pending.addressee))),
                    );
                }
            }
        }
        for (shard, entry, place, number) in due {
            let delivery = Delivery { account: self.account_of(number), number };
            if is_refused(number) {
                self.record(id, Attempt { shard, entry, place, number, delivered: false });
            } else if self
                .witness
                .ledgers
                .get(&delivery.account)
                .is_some_and(|ledger| ledger.delivered.contains(&number))
            {
                self.record(id, Attempt { shard, entry, place, number, delivered: true });
            } else {
                // The owner of the account takes it, this member or a fellow.
                let owner =
                    self.processes.iter().find(|(_, process)| process.serves(delivery.account)).map(|(id, _)| *id);
                match owner {
                    Some(owner) => self.deliver_here(owner, delivery),
                    None => self.claim::<Account>(id, delivery.account),
                }
            }
        }
    }

    /// Which account a recipient is of: the same for its bounce.
    fn account_of(&self, number: u64) -> OwnableId {
        let accepted = self.witness.mails.recipients.get(&number);
        accepted.copied().unwrap_or_else(|| ownable(number % self.plan.accounts))
    }

    /// Records what became of a recipient; a failure and its bounce are one batch.
    fn record(&mut self, id: ProcessId, attempt: Attempt) {
        let Attempt { shard, entry, place, number, delivered } = attempt;
        self.witness.mails.trying.insert(number);
        let (now_ms, random) = (self.now.as_micros() / 1000, self.random.next());
        let bounce = Delivery { account: ownable(0), number: bounce_of(number) };
        self.witness.mails.recipients.insert(bounce.number, bounce.account);
        let report = self.entry(&[bounce], None);
        let job = Asked::Settle { number, delivered };
        self.submit::<Queue>(id, shard, job, move |queue, batch| {
            let found = queue.entry(entry)?;
            let outcome = if delivered { Outcome::Delivered } else { refused() };
            let Settlement { change, failed } = settle(found, &[(place, outcome)], now_ms, || random);
            if matches!(&change, QueueChange::Attempted { results, .. } if results.is_empty()) {
                return None;
            }
            queue.apply(&change, None).unwrap();
            batch.push(&change.encode(), None);
            if !failed.is_empty() {
                accept(queue, batch, report, b"Subject: bounce\r\n\r\n");
            }
            Some(Answer::Done)
        });
    }
}

/// What became of one recipient.
struct Attempt {
    shard: OwnableId,
    entry: EntryId,
    place: u32,
    number: u64,
    delivered: bool,
}

fn accept(queue: &mut Queue, batch: &mut Batch, entry: NewEntry, body: &[u8]) {
    let change = QueueChange::Accepted { id: queue.next_id(), entry };
    let body = batch.push(&change.encode(), Some(body));
    queue.apply(&change, body).unwrap();
}

fn addressee(delivery: &Delivery) -> Addressee {
    let recipient = Recipient { address: address_of(delivery.number), parameters: RcptParameters::default() };
    Addressee { recipient, delivery_id: u128::from(delivery.number) }
}

fn number_of(addressee: &Addressee) -> u64 {
    addressee.delivery_id as u64
}

fn address_of(number: u64) -> Mailbox {
    Mailbox::parse(&format!("u{number}@example.org")).unwrap()
}

fn refused() -> Outcome {
    Outcome::Permanent(laniakea_router::wire::smtp::Reply::new(550, (5, 1, 1), "no"))
}
