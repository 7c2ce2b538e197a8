//! What clients do at members, and what they hold their members to.

use super::*;
use crate::{
    mailbox::{
        BodyRecord, DeliveryId, FlagChange, Flags, InternalDate, MailboxName, NewMessage, Reply, Request, SystemFlag,
        Timestamp, Uid, UidSet,
    },
    sim::invariant::{Glance, i06_rollback},
    store::Batch,
    worker::{CommitError, perform_in},
};

/// A delivery that is tried until it is acknowledged, always under one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub account: OwnableId,
    /// In its date, its body and its id.
    pub number: u64,
}

/// What a piece of work was for.
#[derive(Debug, Clone)]
pub enum Asked {
    Deliver(Delivery),
    Remove {
        account: OwnableId,
        messages: Vec<(u64, u32)>,
    },
    Flag,
    /// A message with these recipients is entered into the queue.
    Accept {
        shard: OwnableId,
        recipients: Vec<Delivery>,
    },
    /// A recipient was delivered, or given up.
    Settle {
        number: u64,
        delivered: bool,
    },
}

/// What came of it.
#[derive(Debug)]
pub enum Answer {
    Reply(Reply),
    Done,
}

/// A read that waits for a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadTicket {
    pub account: OwnableId,
    /// The newest state anybody had been shown when it began.
    floor: u64,
    modseq: u64,
}

impl World {
    /// A client picks an account at a member and does what comes next there.
    pub(super) fn client(&mut self, member: usize) {
        let again = self.random.span(5_000, 60_000);
        self.after(again, Happening::Client { member });
        let awake = |(_, process): &(&ProcessId, &Process)| {
            process.host % 100 == member && process.pulse == Pulse::Runs && process.seat.is_some() && !process.leaving
        };
        let found: Vec<ProcessId> = self.processes.iter().filter(awake).map(|(id, _)| *id).collect();
        let pick = self.random.next();
        for id in found {
            if self.random.one_in(16) {
                self.meet_stranger(id);
            }
            // When all is well each member is asked about everything in turn.
            let pick = if self.trouble { pick } else { self.process(id).next_pick() };
            let ownables = self.plan.accounts + u64::from(SHARDS);
            match pick % ownables {
                account if account < self.plan.accounts => self.use_account(id, ownable(account)),
                shard => self.use_shard(id, OwnableId::Queue((shard - self.plan.accounts) as u8)),
            }
        }
    }

    fn use_account(&mut self, id: ProcessId, account: OwnableId) {
        match self.processes[&id].accounts.get(&account) {
            None => return self.claim::<Account>(id, account),
            Some(Work::Claiming { request }) if self.random.one_in(200) => {
                let request = *request;
                self.process(id).accounts.remove(&account);
                return self.step(id, Event::Abandon { request, ownable: account });
            }
            Some(Work::Claiming { .. } | Work::Recovering { .. }) => return,
            Some(Work::Open(_)) => {}
        }
        self.read(id, account);
        match self.random.below(10) {
            0..5 => self.deliver_something(id, account),
            5 => self.remove_something(id, account),
            6 => self.flag_something(id, account),
            7 => self.visit(id, account),
            _ => {}
        }
    }

    fn use_shard(&mut self, id: ProcessId, shard: OwnableId) {
        match self.process(id).shards.get(&shard) {
            None => self.claim::<Queue>(id, shard),
            Some(Work::Open(_)) => {
                self.note_answer(id, shard);
                if self.trouble && self.random.one_in(2) {
                    self.enter_mail(id, shard);
                }
            }
            Some(Work::Claiming { .. } | Work::Recovering { .. }) => {}
        }
    }

    /// A session comes and stays for a while.
    fn visit(&mut self, id: ProcessId, account: OwnableId) {
        if let Some(Work::Open(open)) = self.process(id).accounts.get_mut(&account) {
            open.guests += 1;
            let span = self.random.span(10_000, 3_000_000);
            self.after(span, Happening::GuestLeaves { process: id, ownable: account });
        }
    }

    pub(super) fn new_delivery(&mut self, account: OwnableId) -> Delivery {
        self.next_message += 1;
        Delivery { account, number: self.next_message }
    }

    /// A new message, or one whose fate is unknown.
    fn deliver_something(&mut self, id: ProcessId, account: OwnableId) {
        let unknown = self.deliveries.iter().position(|delivery| delivery.account == account);
        let delivery = match unknown.filter(|_| self.random.one_in(2)) {
            Some(at) => self.deliveries.swap_remove(at),
            None if self.trouble => self.new_delivery(account),
            None => return,
        };
        self.deliver_here(id, delivery);
    }

    /// Has a worker deliver; if it is not here, the delivery stays unknown.
    pub(super) fn deliver_here(&mut self, id: ProcessId, delivery: Delivery) {
        let message = NewMessage {
            flags: Flags::default(),
            internal_date: Some(InternalDate::utc(Timestamp(delivery.number as i64))),
            body: BodyRecord::new(format!("Subject: {}\r\n\r\n", delivery.number).as_bytes()).unwrap(),
        };
        let request = Request::Deliver {
            id: Some(DeliveryId { transaction: u128::from(delivery.number), recipient: 0 }),
            mailbox: MailboxName::inbox(),
            message,
        };
        self.request(id, delivery.account, request, Asked::Deliver(delivery));
    }

    fn some_messages(&mut self, id: ProcessId, account: OwnableId) -> Vec<(u64, u32)> {
        let Some(Work::Open(open)) = self.process(id).accounts.get(&account) else { return Vec::new() };
        let mut messages: Vec<_> =
            Glance::of(&open.shown).messages.iter().map(|(number, uid, _)| (*number, *uid)).collect();
        // Accounts stay small, so that a run is fast.
        let kept = usize::try_from(self.random.below(12)).unwrap();
        messages.truncate(messages.len().saturating_sub(kept).max(1));
        messages
    }

    fn remove_something(&mut self, id: ProcessId, account: OwnableId) {
        let messages = self.some_messages(id, account);
        let Some(mailbox) = self.inbox(id, account).filter(|_| !messages.is_empty()) else { return };
        let uids = messages.iter().filter_map(|(_, uid)| Uid::new(*uid)).collect();
        self.witness.ledger(account).doomed.extend(messages.iter().map(|(number, _)| *number));
        self.request(id, account, Request::Remove { mailbox, uids }, Asked::Remove { account, messages });
    }

    fn flag_something(&mut self, id: ProcessId, account: OwnableId) {
        let messages = self.some_messages(id, account);
        let Some(mailbox) = self.inbox(id, account).filter(|_| !messages.is_empty()) else { return };
        let uids: UidSet = messages.iter().filter_map(|(_, uid)| Uid::new(*uid)).collect();
        let seen: Flags = [crate::mailbox::Flag::System(SystemFlag::Seen)].into_iter().collect();
        let change = if self.random.one_in(2) { FlagChange::Add(seen) } else { FlagChange::Remove(seen) };
        self.request(id, account, Request::Store { mailbox, uids, change, unchanged_since: None }, Asked::Flag);
    }

    fn inbox(&mut self, id: ProcessId, account: OwnableId) -> Option<crate::mailbox::MailboxId> {
        let Some(Work::Open(open)) = self.process(id).accounts.get(&account) else { return None };
        Some(open.shown.mailbox(&MailboxName::inbox())?.id)
    }

    fn request(&mut self, id: ProcessId, account: OwnableId, request: Request, job: Asked) {
        let (now, random) = (Timestamp(self.now.as_micros() as i64 / 1_000_000), u128::from(self.random.next()));
        self.submit::<Account>(id, account, job, move |state, batch| {
            Some(Answer::Reply(perform_in(batch, state, request, now, random)))
        });
    }

    /// Has a worker do something; nothing comes of it if it is not here, or is about to close.
    pub(super) fn submit<S: Kind>(
        &mut self,
        id: ProcessId,
        ownable: OwnableId,
        job: Asked,
        work: impl FnOnce(&mut S, &mut Batch) -> Option<Answer> + Send + 'static,
    ) {
        let told = Arc::clone(&self.told);
        let now = self.local(id);
        let Some(Work::Open(open)) = S::works(self.process(id)).get_mut(&ownable).filter(|work| work.takes_work())
        else {
            return self.unknown(job);
        };
        let piece: crate::worker::Job<S> = Box::new(move |state, batch| {
            let answer = work(state, batch);
            Box::new(move |outcome| {
                let outcome = outcome.and_then(|()| answer.ok_or(CommitError::Closed));
                told.lock().unwrap().push(Told { by: (id, ownable), job, outcome });
            })
        });
        open.inbox.push_back(piece);
        if open.phase == Phase::Resting
            && let Some(first) = open.inbox.pop_front()
        {
            let step = open.worker.work(now, first, || None);
            self.take::<S>(id, ownable, step);
        }
    }

    /// Nobody knows what became of it: who asked will ask again, if it matters.
    fn unknown(&mut self, job: Asked) {
        if let Asked::Deliver(delivery) = job {
            self.deliveries.push(delivery);
        }
    }

    /// Looks at what workers have answered.
    pub(super) fn settle_answers(&mut self) {
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        for Told { by, job, outcome } in told {
            let Ok(answer) = outcome else {
                self.unknown(job);
                continue;
            };
            self.witness.validations.on_seen(by.0, by.1);
            self.witness.seen.acknowledged += 1;
            match (job, answer) {
                (Asked::Deliver(delivery), Answer::Reply(Reply::Delivered { .. })) => {
                    self.witness.ledger(delivery.account).delivered.insert(delivery.number);
                }
                (Asked::Remove { account, messages }, Answer::Reply(Reply::Expunged { uids })) => {
                    let gone = messages.iter().filter(|(_, uid)| Uid::new(*uid).is_some_and(|uid| uids.contains(uid)));
                    self.witness.ledger(account).removed.extend(gone.map(|(number, _)| *number));
                }
                (Asked::Flag, Answer::Reply(_)) => {}
                (Asked::Accept { shard, recipients }, Answer::Done) => {
                    self.witness.seen.accepted += recipients.len() as u64;
                    for recipient in recipients {
                        self.witness.mails.accepted.insert(recipient.number, (shard, recipient.account));
                    }
                }
                (Asked::Settle { number, delivered }, Answer::Done) => {
                    self.witness.seen.settled += 1;
                    self.witness.mails.settled.insert(number, delivered);
                }
                (job, answer) => panic!("{job:?} was answered with {answer:?}"),
            }
        }
    }

    /// Whether clocks are good enough for read leases: theirs and the controller's must agree within two thirds.
    pub(super) fn may_lease(&self) -> bool {
        self.plan.drift <= 200
    }

    /// A client reads an account, at once within the lease, else after a tick.
    fn read(&mut self, id: ProcessId, account: OwnableId) {
        let floor = self.witness.ledgers.get(&account).map_or(0, i06_rollback::newest);
        let (now, may_lease) = (self.local(id), self.may_lease());
        let process = self.process(id);
        let Some(Work::Open(open)) = process.accounts.get(&account) else { return };
        let ticket = ReadTicket { account, floor, modseq: open.shown.highest_modseq().0 };
        if may_lease && process.lease.is_some_and(|until| now < until) {
            self.read_ends(id, ticket);
        } else if !process.leaving {
            self.await_tick(id, Waiter::Read(ticket));
        }
    }

    /// A read may be answered.
    pub(super) fn read_ends(&mut self, id: ProcessId, ticket: ReadTicket) {
        // Sessions leave before the ownable is given back.
        if !self.processes[&id].serves(ticket.account) {
            return;
        }
        if !self.witness.is_damaged(ticket.account) {
            i06_rollback::on_read(ticket.account, ticket.floor, ticket.modseq);
        }
        self.witness.seen.reads += 1;
        self.note_answer(id, ticket.account);
    }

    pub(super) fn note_answer(&mut self, id: ProcessId, ownable: OwnableId) {
        let member = self.processes[&id].host % 100;
        self.witness.answers.on_answer(member, ownable, self.now);
    }
}
