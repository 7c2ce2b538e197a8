//! What this member owns now, and how to come to own more.
//!
//! One entry per thing being opened or open; concurrent openers share one claim and one recovery. An entry leaves when
//! its worker has ended, after the ownership was given back.

use std::{hash::Hash, net::SocketAddr, sync::Arc, time::Duration};

use dashmap::DashMap;
use futures_util::{StreamExt, stream};
use laniakea_config::Openings;
use laniakea_directory::{AccountId, MemberName};
use laniakea_router::route::RouteKey;
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Claim, ClusterView, OwnableId},
    drive::{
        admission::{Admission, Crowded, Urgency},
        control::{ClaimError, ClusterHandle},
        owned::{Owned, Pass},
        quarantine::{Quarantine, Quarantined},
        storage::Storage,
    },
    mailbox::Account,
    queue::Queue,
    store::fs::RealFs,
    worker::{RecoverError, State, WorkerTiming},
};

/// Between two tries to open what is being given back or taken over.
const RETRY: Duration = Duration::from_millis(20);

/// Accounts that nobody uses are given back so many at a time: each costs the storage a write.
const RELEASES_MAX: usize = 32;

/// The answer to "open this".
pub enum Access<S: State> {
    /// It is owned here; the pass keeps it so.
    Here(Pass<S>),
    /// A fellow member owns it.
    Elsewhere(Owner),
}

/// The fellow member that owns something.
#[derive(Debug, Clone)]
pub struct Owner {
    /// Its name.
    pub member: MemberName,
    /// Where it takes handed-over connections.
    pub handoff: SocketAddr,
}

/// Why something can be opened nowhere now.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The cluster has no answer within the deadline.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Too many others are being opened.
    #[error(transparent)]
    Crowded(#[from] Crowded),
    /// Its files are unreadable now.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// Its files are damaged, and kept as they are until a person has looked.
    #[error("open: it is damaged, and in quarantine")]
    Quarantined,
    /// It was being given back for too long.
    #[error("open: it is still being given back")]
    Busy,
}

/// Everything this member owns.
pub struct Registry {
    opener: Opener,
    patience: Duration,
    accounts: Table<AccountId, Account>,
    shards: Table<u8, Queue>,
}

/// What opening needs. Cheap to clone.
#[derive(Clone)]
struct Opener {
    fs: Arc<RealFs>,
    storage: Storage,
    quarantine: Arc<Quarantine>,
    cluster: ClusterHandle,
    timing: WorkerTiming,
    admission: Arc<Admission>,
    /// What is being opened, and what says that the controller wants it back already.
    openings: Arc<DashMap<OwnableId, CancellationToken>>,
    /// How long one may wait for its turn to be opened.
    patience: Duration,
}

type Table<K, S> = Arc<DashMap<K, Arc<OnceCell<Owned<S>>>>>;

enum Opening {
    /// This very member still has it: it is being given back.
    Leaving,
    Elsewhere(Owner),
    Failed(AccessError),
}

impl Registry {
    /// An empty table. `patience` bounds how long [`Registry::account`] waits for an account that is being given back.
    #[must_use]
    pub fn new(
        storage: Storage,
        cluster: ClusterHandle,
        timing: WorkerTiming,
        patience: Duration,
        openings: Openings,
    ) -> Self {
        let admission = Arc::new(Admission::new(openings.at_once, openings.waiting_max));
        let fs = Arc::new(RealFs::named(cluster.view().member.as_str()).on(storage.path()));
        Self {
            opener: Opener {
                fs,
                storage,
                quarantine: Arc::default(),
                cluster,
                timing,
                admission,
                openings: Arc::default(),
                patience,
            },
            patience,
            accounts: Arc::default(),
            shards: Arc::default(),
        }
    }

    /// The cluster that grants.
    #[must_use]
    pub fn cluster(&self) -> &ClusterHandle {
        &self.opener.cluster
    }

    /// The storage that everything is on.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.opener.storage
    }

    /// What cannot be opened here because it is damaged.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.opener.quarantine.all()
    }

    /// Tries at once to open what was damaged, and gives it back if that succeeds: whoever wants it opens it as it should be.
    ///
    /// # Errors
    /// [`AccessError::Quarantined`] if it is damaged still; else see [`AccessError`].
    pub async fn try_quarantined(&self, id: OwnableId) -> Result<(), AccessError> {
        self.opener.quarantine.forgive(id);
        match id {
            OwnableId::Account(account) => match self.account(account, None, Urgency::Awaited).await? {
                Access::Here(pass) => pass.recall(),
                Access::Elsewhere(_) => {}
            },
            OwnableId::Queue(number) => match self.shard(number).await? {
                Access::Here(pass) => pass.recall(),
                Access::Elsewhere(_) => {}
            },
        }
        // A fellow has it open: then it is whole.
        self.opener.quarantine.leave(id);
        Ok(())
    }

    /// Opens an account here, or says who owns it. The quota, in bytes, is the directory's and holds as long as the
    /// account stays open.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn account(
        &self,
        id: AccountId,
        quota: Option<u64>,
        urgency: Urgency,
    ) -> Result<Access<Account>, AccessError> {
        let prepare = move |account: &mut Account| account.quota = quota;
        self.open(&self.accounts, id, (OwnableId::Account(id), urgency), prepare).await
    }

    /// Opens a shard of the queue here, or says who owns it.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn shard(&self, number: u8) -> Result<Access<Queue>, AccessError> {
        self.open(&self.shards, number, (OwnableId::Queue(number), Urgency::Awaited), |_| ()).await
    }

    /// Where the fellow members that open what is not open yet take connections.
    #[must_use]
    pub fn fellows(&self) -> Vec<SocketAddr> {
        let view = self.cluster().view();
        let others = view.takers().into_iter().filter(|one| one.name != view.member);
        others.map(|one| one.handoff).collect()
    }

    /// Accounts open here.
    #[must_use]
    pub fn accounts_open(&self) -> usize {
        self.accounts.len()
    }

    /// The open account, if it is open here.
    #[must_use]
    pub fn open_account(&self, id: AccountId) -> Option<Owned<Account>> {
        self.accounts.get(&id).and_then(|cell| cell.get().cloned())
    }

    /// Shards of the queue open here.
    #[must_use]
    pub fn open_shards(&self) -> Vec<Owned<Queue>> {
        self.shards.iter().filter_map(|cell| cell.get().cloned()).collect()
    }

    /// Gives back, a few at a time, what nobody uses: it need not wait in line behind what somebody does. Ends when nothing
    /// unused is left, or `unless` says so.
    pub async fn release_unused(&self, unless: impl Fn() -> bool) {
        let unused: Vec<_> = self.accounts.iter().filter_map(|cell| cell.get().cloned()).collect();
        let unused = stream::iter(unused).take_while(|_| std::future::ready(!unless()));
        let released = unused.for_each_concurrent(RELEASES_MAX, |owned| async move {
            if owned.recall_unused() {
                owned.closed().cancelled().await;
            }
        });
        released.await;
    }

    /// The controller wants this back.
    pub fn recall(&self, what: OwnableId) {
        // Perhaps it is not even open: then whoever opens it gives it back.
        if let Some(opening) = self.opener.openings.get(&what) {
            opening.cancel();
        }
        match what {
            OwnableId::Account(id) => {
                if let Some(owned) = self.open_account(id) {
                    owned.recall();
                }
            }
            OwnableId::Queue(number) => {
                if let Some(owned) = self.shards.get(&number).and_then(|cell| cell.get().cloned()) {
                    owned.recall();
                }
            }
        }
    }

    /// Gives everything back and waits until it is, `deadline` at most.
    pub async fn close_all(&self, deadline: Instant) {
        let closed: Vec<_> = self
            .accounts
            .iter()
            .filter_map(|cell| cell.get().map(|owned| (owned.recall(), owned.closed().clone()).1))
            .chain(
                self.shards
                    .iter()
                    .filter_map(|cell| cell.get().map(|owned| (owned.recall(), owned.closed().clone()).1)),
            )
            .collect();
        for closed in closed {
            if tokio::time::timeout_at(deadline, closed.cancelled()).await.is_err() {
                return;
            }
        }
    }

    async fn open<K, S>(
        &self,
        table: &Table<K, S>,
        key: K,
        (id, urgency): (OwnableId, Urgency),
        prepare: impl Fn(&mut S) + Send + Copy + 'static,
    ) -> Result<Access<S>, AccessError>
    where
        K: Eq + Hash + Copy + Send + Sync + 'static,
        S: State,
    {
        let give_up = Instant::now() + self.patience;
        loop {
            // The guard of the map must not be held over an await.
            let cell = Arc::clone(&table.entry(key).or_default());
            let opened = match cell.get() {
                Some(owned) => Ok(owned.clone()),
                None => self.opener.open(Arc::clone(&cell), (id, urgency), prepare).await,
            };
            match opened {
                Ok(owned) => {
                    if let Some(pass) = owned.enter() {
                        watch_end(table, key, &cell, &owned);
                        return Ok(Access::Here(pass));
                    }
                    // It is being given back: wait until it is, then claim anew.
                    if tokio::time::timeout_at(give_up, owned.closed().cancelled()).await.is_err() {
                        return Err(AccessError::Busy);
                    }
                    table.remove_if(&key, |_, other| Arc::ptr_eq(other, &cell));
                }
                Err(opening) => {
                    table.remove_if(&key, |_, other| Arc::ptr_eq(other, &cell) && other.get().is_none());
                    match opening {
                        Opening::Elsewhere(owner) => return Ok(Access::Elsewhere(owner)),
                        Opening::Failed(error) => return Err(error),
                        Opening::Leaving => {}
                    }
                }
            }
            if Instant::now() >= give_up {
                return Err(AccessError::Busy);
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

impl Opener {
    /// Fills the cell, in a task of its own: whoever asked may go away, the grant must not get lost with it.
    async fn open<S: State>(
        &self,
        cell: Arc<OnceCell<Owned<S>>>,
        (id, urgency): (OwnableId, Urgency),
        prepare: impl FnOnce(&mut S) + Send + 'static,
    ) -> Result<Owned<S>, Opening> {
        if urgency == Urgency::Awaited {
            // Somebody else may have asked first who was in no hurry.
            self.admission.hurry(id);
        }
        let opener = self.clone();
        let opening = tokio::spawn(async move {
            let recalled = CancellationToken::clone(&opener.openings.entry(id).or_default());
            let opening = cell.get_or_try_init(|| opener.claim_and_recover(id, urgency, prepare, &recalled));
            let opened = opening.await.cloned();
            opener.openings.remove(&id);
            if let (Ok(owned), true) = (&opened, recalled.is_cancelled()) {
                owned.recall();
            }
            opened
        });
        opening.await.unwrap_or(Err(Opening::Leaving))
    }

    async fn claim_and_recover<S: State>(
        &self,
        id: OwnableId,
        urgency: Urgency,
        prepare: impl FnOnce(&mut S) + Send + 'static,
        recalled: &CancellationToken,
    ) -> Result<Owned<S>, Opening> {
        if self.quarantine.holds(id) {
            return Err(Opening::Failed(AccessError::Quarantined));
        }
        let claim = match self.cluster.claim(id).await {
            Ok(claim) => claim,
            Err(error @ (ClaimError::Draining | ClaimError::Leaving)) => {
                let heir = heir(&self.cluster.view(), id);
                return Err(heir.map_or(Opening::Failed(error.into()), Opening::Elsewhere));
            }
            Err(error) => return Err(Opening::Failed(error.into())),
        };
        let grant = match claim {
            Claim::Granted(grant) => grant,
            Claim::Owned { member, .. } if member == self.cluster.view().member => return Err(Opening::Leaving),
            Claim::Owned { member, handoff, .. } => return Err(Opening::Elsewhere(Owner { member, handoff })),
        };
        let epoch = grant.epoch();
        // In line with a grant in hand: whoever else wants it comes here, and stands with us.
        let turn = timeout(self.patience, self.admission.enter(id, urgency));
        let turn = tokio::select! {
            turn = turn => turn,
            () = recalled.cancelled() => {
                self.cluster.release(id, epoch);
                return Err(Opening::Leaving);
            }
        };
        let Ok(Ok(_admitted)) = turn else {
            self.cluster.release(id, epoch);
            metrics::counter!("laniakea_member_openings_refused_total").increment(1);
            return Err(Opening::Failed(Crowded.into()));
        };
        let opened =
            Owned::open(Arc::clone(&self.fs), &self.storage, grant, self.cluster.clone(), self.timing, prepare).await;
        match opened {
            Ok(owned) => {
                self.quarantine.leave(id);
                Ok(owned)
            }
            Err(error) => {
                let is_damaged = self.quarantine.enter(id, &error);
                if !is_damaged {
                    tracing::error!(ownable = %id, %error, "could not open what was granted");
                }
                self.cluster.release(id, epoch);
                Err(Opening::Failed(if is_damaged { AccessError::Quarantined } else { error.into() }))
            }
        }
    }
}

/// Who is to open what this member may not: of those that may, the one a router would try first.
fn heir(view: &ClusterView, id: OwnableId) -> Option<Owner> {
    let key = match id {
        OwnableId::Account(account) => RouteKey::of_account(account),
        OwnableId::Queue(_) => RouteKey::of_name(&id.to_string()),
    };
    let others = view.takers().into_iter().filter(|one| one.name != view.member);
    let heir = others.max_by_key(|one| key.weight(&one.handoff.to_string()))?;
    Some(Owner { member: heir.name.clone(), handoff: heir.handoff })
}

/// Sees to it that the entry is in the table as long as its worker lives. Done by whoever finds the worker fresh.
fn watch_end<K, S>(table: &Table<K, S>, key: K, cell: &Arc<OnceCell<Owned<S>>>, owned: &Owned<S>)
where
    K: Eq + Hash + Copy + Send + Sync + 'static,
    S: State,
{
    if !owned.first_entry() {
        return;
    }
    // Another opener may have failed on the same cell, and taken it out, just before this one succeeded.
    table.insert(key, Arc::clone(cell));
    let (table, cell, closed) = (Arc::clone(table), Arc::clone(cell), owned.closed().clone());
    tokio::spawn(async move {
        closed.cancelled().await;
        table.remove_if(&key, |_, other| Arc::ptr_eq(other, &cell));
    });
}

#[cfg(test)]
#[path = "registry_test.rs"]
mod tests;
