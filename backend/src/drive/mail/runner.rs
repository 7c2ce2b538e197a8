//! One shard of the queue at work: what is due is tried, and what became of it is recorded before anything else.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use laniakea_router::{drive::mail::Budget, handoff::SessionId};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::courier::{Courier, Origin};
use crate::{
    deliver::{Message, Outcome},
    drive::{
        clock,
        owned::{Owned, Pass},
    },
    queue::{Bounce, Entry, EntryId, Failed, Queue, QueueChange, Ramp, Report, bounce, settle},
};

/// Attempts of one shard under way at once.
const SHARD_ATTEMPTS_MAX: usize = 16;
/// Attempts of a member under way at once.
const ATTEMPTS_MAX: usize = 64;
/// Between two looks whether more of a backlog may be begun; up to twice as long, so that shards do not look together.
const LOOK: Duration = Duration::from_millis(100);
/// After an attempt whose result could not be recorded.
const RETRY: Duration = Duration::from_secs(5);

/// What all runners of a member share.
pub(super) struct Workshop {
    pub(super) courier: Arc<Courier>,
    pub(super) memory: Budget,
    pub(super) host: String,
    pub(super) origin: Origin,
    attempts: Semaphore,
    /// How fast what was due in shards when they were opened is begun.
    ramp: Mutex<Ramp>,
}

impl Workshop {
    pub(super) fn new(courier: Arc<Courier>, memory: Budget, host: String, origin: Origin) -> Self {
        Self { courier, memory, host, origin, attempts: Semaphore::new(ATTEMPTS_MAX), ramp: Mutex::default() }
    }
}

/// Runs one shard.
pub(super) struct Runner {
    shard: u8,
    pass: Pass<Queue>,
    workshop: Arc<Workshop>,
    stop: CancellationToken,
    under_way: HashSet<EntryId>,
    /// Entries to be left alone until then: their last attempt could not even be recorded.
    resting: Option<Instant>,
    /// What was due by then is a backlog.
    opened_ms: u64,
    /// Some of the backlog is not begun for being too fast.
    is_held_back: bool,
}

impl Runner {
    pub(super) fn new(shard: u8, pass: Pass<Queue>, workshop: Arc<Workshop>, stop: CancellationToken) -> Self {
        let (under_way, opened_ms) = (HashSet::new(), clock::unix_ms());
        Self { shard, pass, workshop, stop, under_way, resting: None, opened_ms, is_held_back: false }
    }

    /// Works until it is stopped or the shard is lost, then finishes what is under way.
    pub(super) async fn run(mut self) -> Pass<Queue> {
        let mut changes = self.pass.watch();
        let mut attempts: JoinSet<(EntryId, bool)> = JoinSet::new();
        let (leaving, closed) = (self.pass.leaving().clone(), self.pass.closed().clone());
        let waiting = metrics::gauge!("laniakea_queue_entries", "shard" => format!("{:02x}", self.shard));
        loop {
            waiting.set(self.pass.state().len() as f64);
            self.start_due(&mut attempts);
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = leaving.cancelled() => break,
                () = closed.cancelled() => break,
                Some(done) = attempts.join_next() => self.on_done(done.ok()),
                changed = changes.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(self.pause()) => {}
            }
        }
        // Their outcomes must be recorded while the shard is still ours; what is not is tried again by the next owner.
        while let Some(done) = attempts.join_next().await {
            self.on_done(done.ok());
        }
        // Whoever runs the shard next counts its entries.
        waiting.set(0.0);
        self.pass
    }

    fn start_due(&mut self, attempts: &mut JoinSet<(EntryId, bool)>) {
        if self.resting.is_some_and(|until| Instant::now() < until) {
            return;
        }
        (self.resting, self.is_held_back) = (None, false);
        let (now_ms, queue) = (clock::unix_ms(), self.pass.state());
        for entry in queue.overdue(self.opened_ms.min(now_ms)) {
            if self.is_full() {
                break;
            }
            if self.under_way.contains(&entry.id) {
                continue;
            }
            if !self.workshop.ramp.lock().may_begin(Instant::now()) {
                self.is_held_back = true;
                break;
            }
            self.start(entry, now_ms, attempts);
        }
        for entry in queue.due_since(self.opened_ms.saturating_add(1), now_ms) {
            if self.is_full() {
                break;
            }
            self.start(entry, now_ms, attempts);
        }
    }

    fn is_full(&self) -> bool {
        self.under_way.len() >= SHARD_ATTEMPTS_MAX
    }

    fn start(&mut self, entry: &Arc<Entry>, now_ms: u64, attempts: &mut JoinSet<(EntryId, bool)>) {
        if !self.under_way.insert(entry.id) {
            return;
        }
        let attempt = Attempt {
            shard: self.shard,
            entry: Arc::clone(entry),
            owned: Owned::clone(&self.pass),
            workshop: Arc::clone(&self.workshop),
        };
        let id = entry.id;
        attempts.spawn(async move { (id, attempt.run(now_ms).await) });
    }

    fn on_done(&mut self, done: Option<(EntryId, bool)>) {
        match done {
            Some((id, recorded)) => {
                self.under_way.remove(&id);
                if !recorded {
                    self.resting = Some(Instant::now() + RETRY);
                }
            }
            // A panic: which attempt it was is unknown, so it stays marked as under way for this owner.
            None => tracing::error!(shard = self.shard, "an attempt of the queue panicked"),
        }
    }

    fn pause(&self) -> Duration {
        if let Some(until) = self.resting {
            return until.saturating_duration_since(Instant::now());
        }
        if self.is_held_back {
            return LOOK + LOOK.mul_f64(rand::random());
        }
        let next = self.pass.state().next_due_ms(|id| self.under_way.contains(&id));
        match next {
            Some(due_ms) if !self.is_full() => Duration::from_millis(due_ms.saturating_sub(clock::unix_ms())),
            Some(_) | None => Duration::from_secs(3600),
        }
    }
}

/// One attempt at one message.
struct Attempt {
    shard: u8,
    entry: Arc<Entry>,
    owned: Owned<Queue>,
    workshop: Arc<Workshop>,
}

impl Attempt {
    /// Whether the outcome was recorded.
    async fn run(self, now_ms: u64) -> bool {
        let workshop = Arc::clone(&self.workshop);
        let Ok(_place) = workshop.attempts.acquire().await else { return false };
        let Ok(_share) = workshop.memory.take(self.entry.body.len()).await else { return false };
        let Some(content) = self.read().await else { return false };
        let due: Vec<_> = self.entry.due(now_ms).map(|pending| (pending.place, pending.addressee.clone())).collect();
        let (places, addressees): (Vec<u32>, Vec<_>) = due.into_iter().unzip();
        let message = Message {
            reverse_path: self.entry.reverse_path.clone(),
            parameters: self.entry.parameters.clone(),
            content: content.clone(),
        };
        let origin = Origin { session: SessionId::random(), kept: Arc::default(), ..self.workshop.origin.clone() };
        tracing::debug!(shard = self.shard, entry = %self.entry.id, session = %origin.session, "trying a queued message");
        let outcomes = self.workshop.courier.carry(&message, &addressees, &origin).await;
        for outcome in &outcomes {
            metrics::counter!("laniakea_queue_attempts_total", "result" => outcome.label()).increment(1);
        }
        self.record(places.into_iter().zip(outcomes).collect(), content).await
    }

    async fn read(&self) -> Option<Bytes> {
        let body = self.entry.body;
        match self.owned.read(body, 0..body.len()).await {
            Ok(content) => Some(content.into()),
            Err(error) => {
                tracing::error!(shard = self.shard, entry = %self.entry.id, %error, "a queued message cannot be read");
                None
            }
        }
    }

    /// One batch holds the outcomes and the bounce they cause.
    async fn record(self, outcomes: Vec<(u32, Outcome)>, content: Bytes) -> bool {
        let Self { shard, entry, owned, workshop } = self;
        let id = entry.id;
        let recorded = owned.update(move |queue, batch| {
            // The entry as it is now: somebody may have dropped it meanwhile.
            let Some(entry) = queue.entry(id).cloned() else { return Ok(()) };
            let now_ms = clock::unix_ms();
            let settlement = settle(&entry, &outcomes, now_ms, rand::random);
            queue.apply(&settlement.change, None)?;
            batch.push(&settlement.change.encode(), None);
            let Some((change, body)) = report(&workshop, &entry, &settlement.failed, &content, queue, now_ms) else {
                return Ok(());
            };
            let body = batch.push(&change.encode(), Some(&body));
            queue.apply(&change, body)
        });
        match recorded.await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(shard, entry = %id, %error, "the queue contradicts itself");
                false
            }
            Err(error) => {
                tracing::warn!(shard, entry = %id, %error, "what became of a message could not be recorded; it is tried again");
                false
            }
        }
    }
}

/// The bounce for recipients that are given up, as a change of the queue.
fn report(
    workshop: &Workshop,
    entry: &Entry,
    failed: &[Failed],
    content: &[u8],
    queue: &Queue,
    now_ms: u64,
) -> Option<(QueueChange, Vec<u8>)> {
    let report = Report {
        host: &workshop.host,
        domain: workshop.courier.domain(),
        entry,
        failed,
        content,
        now_ms,
        random: rand::random(),
    };
    for failed in failed {
        let recipient = &failed.pending.addressee.recipient.address;
        tracing::info!(%recipient, reply = %failed.reply, expired = failed.expired, "gave up a recipient");
    }
    match bounce(&report) {
        Bounce::Send(new, body) => {
            metrics::counter!("laniakea_queue_bounces_total").increment(1);
            Some((QueueChange::Accepted { id: queue.next_id(), entry: new }, body))
        }
        Bounce::Unwanted => None,
        Bounce::Dead => {
            tracing::warn!(entry = %entry.id, "a bounce to the postmaster could not be delivered and is dropped");
            None
        }
    }
}
