//! I11: of every recipient accepted exactly one holds: still queued, delivered, or bounced. Checked when a shard is opened,
//! and at the end of a run across all shards and accounts.

use std::collections::{BTreeMap, BTreeSet};

use super::{Glance, Ledger};
use crate::{cluster::OwnableId, queue::Queue};

/// Recipients, by the number of their delivery.
#[derive(Debug, Default)]
pub struct Mails {
    /// Whose acceptance was acknowledged: in which shard, and for which account.
    pub accepted: BTreeMap<u64, (OwnableId, OwnableId)>,
    /// Who was seen to have left the queue by a change that was acknowledged, and whether delivered.
    pub settled: BTreeMap<u64, bool>,
    /// For which account each is.
    pub recipients: BTreeMap<u64, OwnableId>,
    /// Somebody asked to record that they are done, whatever came of it.
    pub trying: BTreeSet<u64>,
}

/// Whether an account takes it never.
pub const fn is_refused(number: u64) -> bool {
    number % 16 == 7 && number < 1 << 40
}

/// The number of the bounce for a recipient.
pub const fn bounce_of(number: u64) -> u64 {
    number | 1 << 40
}

impl Mails {
    /// What was read back when a shard was opened.
    pub fn on_recovered(&self, shard: OwnableId, queue: &Queue) {
        let pending = pending(queue);
        for (number, _) in self.accepted.iter().filter(|(_, (of, _))| *of == shard) {
            let is_there = pending.contains_key(number);
            let may_be_gone = self.trying.contains(number);
            assert!(is_there || may_be_gone, "what was accepted stays until it is settled: {shard} {number} (I11)");
            let is_gone = self.settled.contains_key(number);
            assert!(!(is_there && is_gone), "what was settled has left the queue: {shard} {number} (I11)");
        }
        assert!(pending.values().all(|count| *count == 1), "nobody waits twice: {shard} {pending:?} (I11)");
    }

    /// At the end: all shards and accounts that can be read, as they are recovered.
    pub fn check(
        &self,
        shards: &BTreeMap<OwnableId, Queue>,
        accounts: &BTreeMap<OwnableId, Glance>,
        ledgers: &BTreeMap<OwnableId, Ledger>,
    ) {
        let queued: BTreeMap<u64, usize> = shards.values().flat_map(pending).collect();
        for (number, (shard, account)) in &self.accepted {
            let (Some(_), Some(glance)) = (shards.get(shard), accounts.get(account)) else { continue };
            let was_removed = ledgers.get(account).is_some_and(|ledger| ledger.doomed.contains(number));
            let is_delivered = was_removed || glance.messages.iter().any(|(one, ..)| one == number);
            let bounce = bounce_of(*number);
            let is_bounced = queued.contains_key(&bounce)
                || accounts.values().any(|glance| glance.messages.iter().any(|(one, ..)| *one == bounce))
                || ledgers.values().any(|ledger| ledger.doomed.contains(&bounce));
            let is_queued = queued.contains_key(number);
            // Delivered, and the shard not yet told so: the delivery id keeps the next attempt from adding a copy.
            let holds = is_bounced != (is_delivered || is_queued);
            assert!(
                holds,
                "one fate for {number} of {shard}: queued {is_queued}, delivered {is_delivered}, bounced {is_bounced} (I11)"
            );
        }
    }
}

/// How often each recipient waits.
fn pending(queue: &Queue) -> BTreeMap<u64, usize> {
    let mut waiting = BTreeMap::new();
    for pending in queue.entries().flat_map(|entry| &entry.pending) {
        *waiting.entry(pending.addressee.delivery_id as u64).or_default() += 1;
    }
    waiting
}
