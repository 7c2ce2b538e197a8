//! The shards of the queue this member runs: which they are, and how a message gets into one.
//!
//! Every change of the cluster's view is a reason to look again: shards that fall to this member are claimed and opened,
//! shards that fall to another are given back. A dead member's shards are thus taken over without any code of their own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use laniakea_directory::MemberName;
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::runner::{Runner, Workshop};
use crate::{
    cluster::ClusterView,
    drive::{
        clock,
        control::ClaimError,
        member::Member,
        owned::{Owned, Pass},
        registry::{Access, AccessError},
    },
    queue::{EntryId, NewEntry, Queue, QueueChange, shards_of},
    worker::CommitError,
};

/// Messages in one shard at most.
const ENTRIES_MAX: usize = 100_000;
/// Shards a message is offered to.
const CHOICES_MAX: usize = 3;
/// Shards opened at once.
const OPENINGS_MAX: usize = 8;
/// Between two looks when a shard of ours is still with somebody else.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks when nothing happens.
const CALM: Duration = Duration::from_secs(60);

/// The shards this member runs.
pub struct Spool {
    member: Arc<Member>,
    running: Mutex<BTreeMap<u8, Running>>,
    turn: AtomicUsize,
    tasks: TaskTracker,
}

/// A shard that is open here and has a runner.
struct Running {
    owned: Owned<Queue>,
    stop: CancellationToken,
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// Too much waits already, or the storage is full.
    #[error("the queue is full")]
    Full,
    /// This member has no shard now; nothing was written.
    #[error("no shard of the queue is here")]
    NoShard,
    /// No shard could be written to.
    #[error("no shard of the queue can be written to")]
    Unavailable,
}

impl Spool {
    /// A spool without shards.
    #[must_use]
    pub fn new(member: Arc<Member>) -> Self {
        Self { member, running: Mutex::default(), turn: AtomicUsize::new(0), tasks: TaskTracker::new() }
    }

    /// Queues a message: resolves once its entry is synced and validated.
    ///
    /// # Errors
    /// See [`SpoolError`]; after [`SpoolError::Unavailable`] the message may be in the queue nevertheless.
    pub async fn accept(&self, entry: NewEntry, content: Bytes) -> Result<(u8, EntryId), SpoolError> {
        let mut failure = SpoolError::NoShard;
        for _ in 0..CHOICES_MAX {
            let Some((shard, owned)) = self.choose().await else { break };
            match accept_into(shard, &owned, entry.clone(), content.clone()).await {
                Ok(id) => return Ok((shard, id)),
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Elsewhere(error)) => failure = error,
            }
        }
        Err(failure)
    }

    /// The shards open here, as they are now.
    #[must_use]
    pub fn shards(&self) -> Vec<(u8, Arc<Queue>)> {
        self.running.lock().iter().map(|(shard, running)| (*shard, running.owned.state())).collect()
    }

    /// Has a message tried now; `false` if it is not in a shard of this member.
    pub async fn hurry(&self, shard: u8, id: EntryId) -> bool {
        self.change(shard, QueueChange::Hurried { id, now_ms: clock::unix_ms() }).await
    }

    /// Takes a message out of the queue, for good; `false` if it is not in a shard of this member.
    pub async fn discard(&self, shard: u8, id: EntryId) -> bool {
        self.change(shard, QueueChange::Dropped { id }).await
    }

    /// Follows the cluster's view until shutdown: claims this member's share and lets go of the rest.
    pub(super) async fn run(self: Arc<Self>, workshop: Arc<Workshop>, shutdown: CancellationToken) {
        let mut changes = self.member.registry.cluster().changes();
        while !shutdown.is_cancelled() {
            let view = changes.borrow_and_update().clone();
            let complete = self.settle_into(&view, &workshop, &shutdown).await;
            let pause = if complete { CALM } else { PATIENCE };
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.running.lock().values().for_each(|running| running.stop.cancel());
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Opens what is missing of this member's share and gives back what is not in it; whether nothing is missing.
    async fn settle_into(
        self: &Arc<Self>,
        view: &ClusterView,
        workshop: &Arc<Workshop>,
        shutdown: &CancellationToken,
    ) -> bool {
        let share = share(view);
        self.let_go_except(&share);
        let missing: Vec<u8> = {
            let running = self.running.lock();
            share.into_iter().filter(|shard| !running.contains_key(shard)).collect()
        };
        // An opening that has begun is seen to its end: its grant must not get lost.
        let opened = stream::iter(missing)
            .take_until(shutdown.cancelled())
            .map(|shard| async move { self.open(shard, workshop).await })
            .buffer_unordered(OPENINGS_MAX)
            .collect::<Vec<bool>>()
            .await;
        metrics::gauge!("laniakea_queue_shards_open").set(self.running.lock().len() as f64);
        opened.into_iter().all(|opened| opened)
    }

    fn let_go_except(&self, share: &[u8]) {
        for (shard, running) in self.running.lock().iter() {
            if !share.contains(shard) {
                running.stop.cancel();
            }
        }
    }

    async fn open(self: &Arc<Self>, shard: u8, workshop: &Arc<Workshop>) -> bool {
        match self.member.registry.shard(shard).await {
            Ok(Access::Here(pass)) => {
                self.start(shard, pass, workshop);
                true
            }
            Ok(Access::Elsewhere(owner)) => {
                tracing::debug!(shard, owner = %owner.member, "a shard of the queue is still with another member");
                false
            }
            // Others take it.
            Err(AccessError::Claim(ClaimError::Draining | ClaimError::Leaving | ClaimError::Left)) => false,
            Err(error) => {
                tracing::warn!(shard, %error, "a shard of the queue cannot be opened");
                false
            }
        }
    }

    fn start(self: &Arc<Self>, shard: u8, pass: Pass<Queue>, workshop: &Arc<Workshop>) {
        let stop = CancellationToken::new();
        let running = Running { owned: Owned::clone(&pass), stop: stop.clone() };
        self.running.lock().insert(shard, running);
        let waiting = pass.state().len();
        if waiting > 0 {
            tracing::info!(shard, waiting, "took over a shard of the queue");
        }
        let (spool, runner) = (Arc::clone(self), Runner::new(shard, pass, Arc::clone(workshop), stop));
        self.tasks.spawn(async move {
            let pass = runner.run().await;
            spool.running.lock().remove(&shard);
            // Given back at once, not when it has been idle: another member waits for it.
            pass.recall();
        });
    }

    /// A shard to write to: those open here in turn, else one that is opened for it.
    async fn choose(&self) -> Option<(u8, Owned<Queue>)> {
        if let Some(chosen) = self.next_open() {
            return Some(chosen);
        }
        let view = self.member.registry.cluster().view();
        for shard in share(&view) {
            if let Ok(Access::Here(pass)) = self.member.registry.shard(shard).await {
                return Some((shard, Owned::clone(&pass)));
            }
        }
        None
    }

    fn next_open(&self) -> Option<(u8, Owned<Queue>)> {
        let running = self.running.lock();
        let usable: Vec<_> = running.iter().filter(|(_, one)| !one.stop.is_cancelled()).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % usable.len().max(1);
        usable.get(turn).map(|(shard, running)| (**shard, running.owned.clone()))
    }

    async fn change(&self, shard: u8, change: QueueChange) -> bool {
        let Some(owned) = self.running.lock().get(&shard).map(|running| running.owned.clone()) else { return false };
        let changed = owned.update(move |queue, batch| {
            let applied = queue.apply(&change, None).is_ok();
            if applied {
                batch.push(&change.encode(), None);
            }
            applied
        });
        changed.await.unwrap_or(false)
    }
}

/// The shards that fall to this member: none while it is drained or leaves.
fn share(view: &ClusterView) -> Vec<u8> {
    let takers: Vec<MemberName> = view.takers().into_iter().map(|member| member.name.clone()).collect();
    shards_of(&view.member, &takers)
}

/// Why one shard did not take a message.
enum Refusal {
    /// Another one may.
    Elsewhere(SpoolError),
    /// It may be in this one nevertheless: trying another could double it.
    Final(SpoolError),
}

async fn accept_into(shard: u8, owned: &Owned<Queue>, entry: NewEntry, content: Bytes) -> Result<EntryId, Refusal> {
    if owned.state().len() >= ENTRIES_MAX {
        return Err(Refusal::Elsewhere(SpoolError::Full));
    }
    if !owned.admits(content.len() as u64) {
        return Err(Refusal::Final(SpoolError::Full));
    }
    let accepted = owned.update(move |queue, batch| {
        let id = queue.next_id();
        let change = QueueChange::Accepted { id, entry };
        let body = batch.push(&change.encode(), Some(&content));
        queue.apply(&change, body).map(|()| id)
    });
    match accepted.await {
        Ok(Ok(id)) => {
            metrics::counter!("laniakea_queue_accepted_total").increment(1);
            Ok(id)
        }
        Ok(Err(error)) => {
            tracing::error!(shard, %error, "the queue contradicts itself");
            Err(Refusal::Final(SpoolError::Unavailable))
        }
        Err(CommitError::Busy | CommitError::Closed) => Err(Refusal::Elsewhere(SpoolError::Unavailable)),
        Err(CommitError::Full) => Err(Refusal::Final(SpoolError::Full)),
        Err(CommitError::Fenced | CommitError::Storage) => Err(Refusal::Final(SpoolError::Unavailable)),
    }
}
