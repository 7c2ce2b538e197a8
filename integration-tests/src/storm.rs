//! A storm of deliveries with a ledger of what was acknowledged, kept outside of what is being killed.
//!
//! Every message carries its own number. A 250 is written into the ledger before anything else happens; a connection
//! that ends earlier proves nothing, and the number is never sent a second time. Afterwards every acknowledged number
//! must be found exactly once in every account it was acknowledged for, and no number twice anywhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use tokio::task::JoinSet;

use crate::{
    client::{Imap, Smtp},
    up::Up,
};

/// The header field that carries the number.
const FIELD: &str = "X-Storm";

/// What was acknowledged: account and number.
#[derive(Clone, Default)]
pub struct Ledger {
    acknowledged: Arc<Mutex<BTreeSet<(String, u64)>>>,
    next: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Ledger {
    /// How many deliveries were acknowledged so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many messages were not acknowledged for every recipient: a sender would have to try again.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn note(&self, account: &str, number: u64) {
        let mut set = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        set.insert((account.to_owned(), number));
    }

    fn of(&self, account: &str) -> BTreeSet<u64> {
        let set = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        set.iter().filter(|(name, _)| name == account).map(|(_, number)| *number).collect()
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends one message and notes what was acknowledged.
    ///
    /// # Errors
    /// If the connection ended first.
    pub async fn deliver(&self, smtp: &mut Smtp, recipients: &[&str]) -> Result<()> {
        // Unless all goes well.
        self.failed.fetch_add(1, Ordering::Relaxed);
        let number = self.number();
        let body = "All mail that was acknowledged is there. ".repeat(usize::try_from(number % 50)? + 1);
        let message =
            format!("From: <storm@example.net>\r\nSubject: storm {number}\r\n{FIELD}: {number}\r\n\r\n{body}\r\n");
        let mail = smtp.mail("storm@example.net", recipients, message.as_bytes()).await?;
        let accepted: Vec<&&str> = recipients
            .iter()
            .zip(&mail.recipients)
            .filter(|(_, reply)| reply.is_ok())
            .map(|(recipient, _)| recipient)
            .collect();
        // SMTP: one reply for all. LMTP: one for each.
        let replies = mail.data.iter().cycle();
        let acknowledged = accepted.iter().zip(replies).filter(|(_, reply)| reply.is_ok());
        let count = acknowledged.map(|(account, _)| self.note(account, number)).count();
        if count == recipients.len() {
            self.failed.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads every account and compares. Waits for queued mail until `deadline` has passed.
    ///
    /// # Errors
    /// If an acknowledged message is missing, or any message is there twice.
    pub async fn check(&self, up: &Up, deadline: Duration) -> Result<()> {
        self.check_at(up.router()?.imap()?, &up.accounts(), up.password(), deadline).await
    }

    /// The same over IMAP at this address.
    ///
    /// # Errors
    /// As above.
    pub async fn check_at(
        &self,
        imap: SocketAddr,
        accounts: &[String],
        password: &str,
        deadline: Duration,
    ) -> Result<()> {
        let begin = Instant::now();
        loop {
            let mut missing = Vec::new();
            for account in accounts {
                let found = numbers(imap, account, password).await?;
                if let Some((number, count)) = found.iter().find(|(_, count)| **count > 1) {
                    bail!("message {number} is {count} times in {account}");
                }
                missing.extend(
                    self.of(account)
                        .into_iter()
                        .filter(|number| !found.contains_key(number))
                        .map(|number| (account.clone(), number)),
                );
            }
            if missing.is_empty() {
                println!("  {} acknowledged deliveries, all there, none twice", self.len());
                return Ok(());
            }
            ensure!(
                begin.elapsed() < deadline,
                "{} of {} acknowledged deliveries are missing after {:?}, such as {:?}",
                missing.len(),
                self.len(),
                begin.elapsed(),
                missing.first()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn numbers(imap: SocketAddr, account: &str, password: &str) -> Result<BTreeMap<u64, usize>> {
    let mut imap = Imap::login(imap, account, password).await?;
    let mut found = BTreeMap::new();
    for value in imap.header_fields("INBOX", FIELD).await? {
        *found.entry(value.parse()?).or_insert(0) += 1;
    }
    imap.command("LOGOUT").await?;
    Ok(found)
}

/// A storm that blows until it is told to stop.
pub struct Storm {
    /// What was acknowledged.
    pub ledger: Ledger,
    over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Storm {
    /// Begins: `connections` at once, over SMTP at this address, to all accounts in turn, sometimes to two at a time.
    #[must_use]
    pub fn begin(smtp: SocketAddr, accounts: &[String], connections: usize) -> Self {
        Self::go_on(Ledger::default(), smtp, accounts, connections)
    }

    /// Goes on with the ledger of an earlier storm.
    #[must_use]
    pub fn go_on(ledger: Ledger, smtp: SocketAddr, accounts: &[String], connections: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for offset in 0..connections {
            tasks.spawn(blow(smtp, accounts.to_vec(), offset, ledger.clone(), Arc::clone(&over)));
        }
        Self { ledger, over, tasks }
    }

    /// Waits until so many deliveries have been acknowledged in all.
    ///
    /// # Errors
    /// If that takes longer than a minute.
    pub async fn until(&self, count: usize) -> Result<()> {
        let begin = Instant::now();
        while self.ledger.len() < count {
            ensure!(
                begin.elapsed() < Duration::from_secs(60),
                "only {} of {count} deliveries acknowledged",
                self.ledger.len()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Ends the storm and returns its ledger.
    pub async fn end(mut self) -> Ledger {
        self.over.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        self.ledger
    }
}

/// A short rest after a failure, so that a dead router is not hammered.
const REST: Duration = Duration::from_millis(20);

async fn blow(smtp: SocketAddr, accounts: Vec<String>, offset: usize, ledger: Ledger, over: Arc<AtomicBool>) {
    let mut turn = offset;
    while !over.load(Ordering::Relaxed) {
        let Ok(mut connection) = Smtp::connect(smtp).await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        while !over.load(Ordering::Relaxed) {
            turn += 1;
            let pick = |index: usize| accounts.get(index % accounts.len().max(1)).map_or("", String::as_str);
            let two = [pick(turn), pick(turn + 1)];
            let recipients = if turn.is_multiple_of(5) && accounts.len() > 1 { &two[..] } else { &two[..1] };
            if ledger.deliver(&mut connection, recipients).await.is_err() {
                tokio::time::sleep(REST).await;
                break;
            }
        }
    }
}
