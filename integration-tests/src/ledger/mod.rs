//! Everything that was acknowledged, written down outside of what is being hurt, and whether it is there.
//!
//! Every message carries its own number and is sent once. What the answer says is written down before anything else
//! happens; what ends without an answer is in doubt, and may have happened or not. Whatever a client has been shown is
//! written down as well: it must never be taken back.

mod book;
mod work;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use self::book::Book;
pub use self::{
    book::{Count, Message},
    work::until_served,
};
use crate::cluster::{Cluster, PASSWORD};

/// What was acknowledged, and seen. Clones are the same ledger.
#[derive(Clone, Default)]
pub struct Ledger {
    book: Arc<Mutex<Book>>,
    next: Arc<AtomicU64>,
}

impl Ledger {
    /// How much was acknowledged so far.
    #[must_use]
    pub fn count(&self) -> Count {
        self.book().count()
    }

    /// What was found to be wrong so far.
    #[must_use]
    pub fn wrongs(&self) -> Vec<String> {
        self.book().wrongs.clone()
    }

    /// Writes down that something is wrong.
    pub fn wrong(&self, text: String) {
        self.book().wrongs.push(text);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Reads every account, through the router and at every member, and compares. Mail that is still queued, and accounts
    /// that are not served yet, are waited for as long as `patience`.
    ///
    /// # Errors
    /// If anything acknowledged is missing, anything is there twice, or anything else was wrong meanwhile.
    pub async fn judge(&self, cluster: &Cluster, patience: Duration) -> Result<Count> {
        for account in cluster.accounts() {
            let routed = work::until_all_there(self, cluster.imap(), &account, patience).await?;
            self.book().judge(&account, &routed);
            for member in cluster.members() {
                let direct = work::read_on(&member.host, &account, PASSWORD)?;
                if direct != routed {
                    self.wrong(format!("{account} is another one at {} than through the router", member.name));
                }
            }
        }
        let wrongs = self.wrongs();
        if !wrongs.is_empty() {
            bail!("{} wrongs:\n{}", wrongs.len(), wrongs.iter().take(20).cloned().collect::<Vec<_>>().join("\n"));
        }
        Ok(self.count())
    }
}

/// Clients at work, until they are told to stop.
pub struct Work {
    /// What they were told.
    pub ledger: Ledger,
    over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Work {
    /// Begins: so many senders over SMTP, one reader and writer over IMAP for each account, all through the router, and
    /// an observer that asks all members what they own.
    ///
    /// # Errors
    /// If the ids of the accounts cannot be found out.
    pub async fn begin(cluster: &Cluster, senders: usize) -> Result<Self> {
        let (ledger, over, mut tasks) = (Ledger::default(), Arc::new(AtomicBool::new(false)), JoinSet::new());
        let accounts = cluster.accounts();
        for sender in 0..senders {
            tasks.spawn(work::send(cluster.smtp(), accounts.clone(), sender, ledger.clone(), Arc::clone(&over)));
        }
        let mut ids = Vec::new();
        for account in accounts {
            ids.push(cluster.account_id(&account).await?);
            tasks.spawn(work::read_and_write(cluster.imap(), account, ledger.clone(), Arc::clone(&over)));
        }
        let observer = work::Observer::new(cluster, ids)?;
        tasks.spawn(observer.watch(ledger.clone(), Arc::clone(&over)));
        Ok(Self { ledger, over, tasks })
    }

    /// Ends, and returns the ledger.
    pub async fn end(mut self) -> Ledger {
        self.over.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        self.ledger
    }
}
