//! The real thing, from the registry down: claims, workers, logs, ticks.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use laniakea_backend::{
    drive::{
        control::ClusterHandle,
        owned::Pass,
        registry::{Access, Registry},
        storage::Storage,
    },
    mailbox::{Account, BodyRecord, Flag, FlagChange, Flags, MailboxName, NewMessage, Reply, Request, SystemFlag, Uid},
    worker::WorkerTiming,
};
use laniakea_directory::AccountId;
use parking_lot::RwLock;

use super::{super::member_settings, Keeper};

/// A member, without anything in front of its registry.
pub(super) struct Owner {
    cluster: ClusterHandle,
    registry: Registry,
    /// As in sessions: what is open stays open.
    open: RwLock<HashMap<u64, Arc<Pass<Account>>>>,
}

impl Owner {
    /// Joins the cluster.
    pub(super) async fn start(keeper: &Keeper) -> Result<Self> {
        let storage = keeper.folder.join("storage");
        let member = format!("member-{}", keeper.process);
        let settings = member_settings(storage.clone(), keeper.key.clone(), &member);
        let timing = settings.timing;
        let cluster = ClusterHandle::start(settings).await?;
        cluster.changes().wait_for(|view| view.registered).await?;
        let worker =
            WorkerTiming { idle_release: timing.idle_release, commit: timing.commit, grace: timing.release / 2 };
        let registry =
            Registry::new(Storage::new(storage, 0), cluster.clone(), worker, timing.claim, Default::default());
        Ok(Self { cluster, registry, open: RwLock::default() })
    }

    /// Opens an account here, which nobody else does.
    pub(super) async fn open(&self, account: u64) -> Result<()> {
        let id = AccountId(uuid::Uuid::from_u128(u128::from(account)));
        match self.registry.account(id, None, laniakea_backend::drive::admission::Urgency::Awaited).await? {
            Access::Here(pass) => drop(self.open.write().insert(account, Arc::new(pass))),
            Access::Elsewhere(owner) => bail!("account {account} is owned by {}", owner.member),
        }
        Ok(())
    }

    pub(super) async fn deliver(&self, account: u64, message: &[u8]) -> Result<Uid> {
        let body = BodyRecord::new(message).context("a message too long")?;
        let message = NewMessage { flags: Flags::default(), internal_date: None, body };
        let request = Request::Append { mailbox: MailboxName::inbox(), messages: vec![message] };
        match self.pass(account)?.perform(request).await? {
            Reply::Appended { uids, .. } => uids.iter().next().context("no UID"),
            other => bail!("delivery: {other:?}"),
        }
    }

    pub(super) async fn read(&self, account: u64, uid: Uid) -> Result<Vec<u8>> {
        let pass = self.pass(account)?;
        let state = pass.state();
        let inbox = state.mailbox(&MailboxName::inbox()).context("no INBOX")?;
        let (_, message) = inbox.find(uid).context("the message is gone")?;
        let (body, summary) = (message.body, u64::from(message.summary_len));
        let read = pass.read(body, summary..body.len()).await?;
        self.cluster.read_permit().await?;
        Ok(read)
    }

    pub(super) async fn mark_seen(&self, account: u64, uid: Uid) -> Result<()> {
        let change = FlagChange::Add([Flag::System(SystemFlag::Seen)].into_iter().collect());
        let mailbox = self.inbox(account)?;
        let request = Request::Store { mailbox, uids: uid.into(), change, unchanged_since: None };
        let reply = self.pass(account)?.perform(request).await?;
        ensure!(matches!(&reply, Reply::Stored { changed, .. } if !changed.is_empty()), "marking: {reply:?}");
        Ok(())
    }

    pub(super) async fn remove(&self, account: u64, uid: Uid) -> Result<()> {
        let request = Request::Remove { mailbox: self.inbox(account)?, uids: uid.into() };
        let reply = self.pass(account)?.perform(request).await?;
        ensure!(matches!(&reply, Reply::Expunged { uids } if !uids.is_empty()), "removal: {reply:?}");
        Ok(())
    }

    /// Gives everything back and leaves the cluster.
    pub(super) async fn leave(self) {
        self.open.write().clear();
        self.registry.close_all(tokio::time::Instant::now() + Duration::from_secs(10)).await;
        self.cluster.shutdown().await;
    }

    fn pass(&self, account: u64) -> Result<Arc<Pass<Account>>> {
        self.open.read().get(&account).cloned().context("the account is not open")
    }

    fn inbox(&self, account: u64) -> Result<laniakea_backend::mailbox::MailboxId> {
        Ok(self.pass(account)?.state().mailbox(&MailboxName::inbox()).context("no INBOX")?.id)
    }
}
