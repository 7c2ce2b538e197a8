//! One process that keeps mail, and the clients in it.

use std::{
    io::BufRead as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Scheme, files::Files, lock::Locking, maildir::Maildir, mbox::Mbox, owned::Owner};

/// What a client does with one message: deliver, read, mark, remove.
const OPERATIONS: u64 = 4;

/// A process that keeps mail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Keeper {
    /// How.
    pub scheme: Scheme,
    /// Where, as this process sees it.
    pub folder: PathBuf,
    /// File with the key of the cluster.
    pub key: PathBuf,
    /// Its number among the processes.
    pub process: usize,
    /// The account of each of its clients.
    pub accounts: Vec<u64>,
    /// How long.
    pub seconds: f64,
}

/// What a process did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) operations: u64,
    pub(super) deliveries_us: Vec<u64>,
}

impl Done {
    fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.deliveries_us.extend(other.deliveries_us);
    }

    fn turn(&mut self, delivery: Duration) {
        self.operations += OPERATIONS;
        self.deliveries_us.push(u64::try_from(delivery.as_micros()).unwrap_or(u64::MAX));
    }
}

/// Keeps mail: says when it is ready, waits for a line, works, says what it did, waits for the end of its input.
///
/// # Errors
/// If an operation fails.
pub async fn keep(keeper: Keeper) -> Result<()> {
    let message = message();
    let done = match keeper.scheme {
        Scheme::Owner => keep_as_owner(&keeper, &message).await?,
        Scheme::MboxUnlocked => keep_in_files::<Mbox>(&keeper, Locking::None, &message)?,
        Scheme::MboxFcntl => keep_in_files::<Mbox>(&keeper, Locking::Fcntl, &message)?,
        Scheme::MboxFlock => keep_in_files::<Mbox>(&keeper, Locking::Flock, &message)?,
        Scheme::MboxDotlock => keep_in_files::<Mbox>(&keeper, Locking::Dotlock, &message)?,
        Scheme::MboxBoth => keep_in_files::<Mbox>(&keeper, Locking::Both, &message)?,
        Scheme::Maildir => keep_in_files::<Maildir>(&keeper, Locking::None, &message)?,
    };
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}

async fn keep_as_owner(keeper: &Keeper, message: &[u8]) -> Result<Done> {
    let owner = Arc::new(Owner::start(keeper).await?);
    for account in &keeper.accounts {
        owner.open(*account).await?;
    }
    tokio::task::block_in_place(ready)?;
    let over = Instant::now() + Duration::from_secs_f64(keeper.seconds);
    let message: Arc<[u8]> = message.into();
    let clients: Vec<_> = keeper
        .accounts
        .iter()
        .map(|account| {
            let (owner, message, account) = (Arc::clone(&owner), Arc::clone(&message), *account);
            tokio::spawn(async move {
                let mut done = Done::default();
                while Instant::now() < over {
                    let begun = Instant::now();
                    let uid = owner.deliver(account, &message).await?;
                    let delivery = begun.elapsed();
                    let read = owner.read(account, uid).await?;
                    anyhow::ensure!(read == *message, "another message was read");
                    owner.mark_seen(account, uid).await?;
                    owner.remove(account, uid).await?;
                    done.turn(delivery);
                }
                anyhow::Ok(done)
            })
        })
        .collect();
    let mut done = Done::default();
    for client in clients {
        done.add(client.await??);
    }
    Arc::into_inner(owner).context("a client still has the owner")?.leave().await;
    Ok(done)
}

fn keep_in_files<F: Files>(keeper: &Keeper, locking: Locking, message: &[u8]) -> Result<Done> {
    let mut accounts = std::collections::BTreeMap::new();
    for account in &keeper.accounts {
        if !accounts.contains_key(account) {
            let folder = keeper.folder.join(account.to_string());
            accounts.insert(*account, F::open(&folder, keeper.process, locking).context("open an account")?);
        }
    }
    ready()?;
    let over = Instant::now() + Duration::from_secs_f64(keeper.seconds);
    std::thread::scope(|scope| {
        let clients: Vec<_> = keeper
            .accounts
            .iter()
            .filter_map(|account| accounts.get(account))
            .map(|files| {
                scope.spawn(move || {
                    let mut done = Done::default();
                    while Instant::now() < over {
                        let begun = Instant::now();
                        let name = files.deliver(message)?;
                        let delivery = begun.elapsed();
                        let read = files.read(&name)?;
                        anyhow::ensure!(read == message, "another message was read");
                        let name = files.mark_seen(name)?;
                        files.remove(name)?;
                        done.turn(delivery);
                    }
                    anyhow::Ok(done)
                })
            })
            .collect();
        let mut done = Done::default();
        for client in clients {
            done.add(client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
        }
        Ok(done)
    })
}

/// Says that all is open, and waits for the sign to begin.
fn ready() -> Result<()> {
    println!("ready");
    std::io::stdin().lock().lines().next().context("nobody gave the sign")??;
    Ok(())
}

fn message() -> Vec<u8> {
    let mut message = b"From: <bench@example.net>\r\nSubject: locks\r\n\r\n".to_vec();
    while message.len() < 4096 {
        message.extend_from_slice(b"A lock asks permission every time. An owner has it.\r\n");
    }
    message
}
