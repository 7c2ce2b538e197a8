//! What an attempt's outcomes mean for an entry: who is done, who waits until when, who is given up.

use std::time::Duration;

use laniakea_router::wire::smtp::Reply;

use super::{
    change::{QueueChange, Settled},
    entry::{Entry, Pending},
    schedule::{delay, is_over},
};
use crate::deliver::Outcome;

/// A full account is asked again no more often than this.
const OVER_QUOTA_DELAY_MIN: Duration = Duration::from_secs(3600);

/// A recipient that is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Who.
    pub pending: Pending,
    /// What the last attempt met with.
    pub reply: Reply,
    /// Whether it was only given up because it took too long.
    pub expired: bool,
}

/// An attempt's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// What to record.
    pub change: QueueChange,
    /// Who is given up, to be reported in the same batch.
    pub failed: Vec<Failed>,
}

/// Settles an attempt; `outcomes` are by place. `random` varies the intervals.
#[must_use]
pub fn settle(entry: &Entry, outcomes: &[(u32, Outcome)], now_ms: u64, mut random: impl FnMut() -> u64) -> Settlement {
    let (mut results, mut failed) = (Vec::new(), Vec::new());
    for (place, outcome) in outcomes {
        // Somebody may have taken the recipient out of the queue meanwhile.
        let Some(pending) = entry.pending.iter().find(|pending| pending.place == *place) else { continue };
        let settled = settle_one(entry, pending, outcome, now_ms, random());
        if let (Settled::Failed, reply) = (&settled, outcome.reply()) {
            let expired = !reply.is_permanent();
            failed.push(Failed { pending: pending.clone(), reply, expired });
        }
        results.push((*place, settled));
    }
    Settlement { change: QueueChange::Attempted { id: entry.id, results }, failed }
}

fn settle_one(entry: &Entry, pending: &Pending, outcome: &Outcome, now_ms: u64, random: u64) -> Settled {
    let attempts = pending.attempts.saturating_add(1);
    let wait = match outcome {
        Outcome::Delivered => return Settled::Delivered,
        Outcome::Permanent(_) => return Settled::Failed,
        Outcome::Temporary(_) => delay(attempts, Duration::ZERO, random),
        Outcome::OverQuota => delay(attempts, OVER_QUOTA_DELAY_MIN, random),
    };
    if is_over(attempts, now_ms, entry.expires_ms) {
        return Settled::Failed;
    }
    let mut next_ms = now_ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    if now_ms < entry.expires_ms {
        // The last attempt is made when the time is up, not one interval before.
        next_ms = next_ms.min(entry.expires_ms);
    }
    Settled::Deferred { next_ms, reply: outcome.reply().to_string() }
}
