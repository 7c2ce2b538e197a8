//! Growth: what one operation costs as the members of a cluster become more, under the same load.
//!
//! Whole installations from `laniakea up`, one after the other: one cluster of so many members, each a process, and a router
//! through which everything goes. What counts is the processor time of all members together for each operation; on a
//! machine with few cores, the clock says nothing.
//!
//! Many processes on few cores push one another out of the caches, cluster or not. So beside each cluster there are as many
//! members that know nothing of each other, each a cluster of its own: the difference between the two is what it costs to
//! be a cluster.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::time::Instant;

use super::{ProcessCpu, progress};
use crate::{
    client::{Imap, Reply, Smtp},
    up::{Shape, Up},
};

/// What a client does in one turn: one delivery and five IMAP commands.
const OPERATIONS: u64 = 6;

/// Turns of each client before anything is counted: by then every account is open and every password proven.
const WARM_UP: u64 = 3;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Growth {
    /// Members of the cluster; may be repeated.
    #[arg(long, default_values_t = [1, 2, 4, 8])]
    pub members: Vec<u16>,
    /// Accounts, each with a client that delivers to it and reads it.
    #[arg(long, default_value_t = 32)]
    pub accounts: u32,
    /// Turns per second over all clients; a turn is six operations.
    #[arg(long, default_value_t = 150.0)]
    pub rate: f64,
    /// Seconds for each size.
    #[arg(long, default_value_t = 20.0)]
    pub seconds: f64,
    /// Every size is measured so often, in turn.
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
}

/// What one size costs.
#[derive(Debug, Clone, Serialize)]
pub struct Size {
    /// Members of the cluster.
    pub members: u16,
    /// Operations that were done per second.
    pub per_second: f64,
    /// Processor time of all members for one operation, in microseconds.
    pub cpu_us: f64,
    /// The same for as many members that are no cluster.
    pub alone_us: f64,
    /// What a member of the cluster needs in what a member alone needs.
    pub ratio: f64,
    /// What an operation costs in what it costs at the first size of the same round, the machine's part included.
    pub ratio_to_first: f64,
    /// Share of the controller's desk in the processor time of all members: granting, and all else that members tell it.
    pub controller_share: f64,
    /// Share of all desks in it.
    pub desks_share: f64,
    /// Share of all ticks in it: what it costs to prove commits.
    pub ticks_share: f64,
}

/// Measures one size after the other.
///
/// # Errors
/// If an installation does not start, or an operation fails.
pub async fn measure(growth: &Growth) -> Result<Vec<Size>> {
    let mut sizes: Vec<Size> = Vec::new();
    let bar = progress((growth.rounds * growth.members.len()) as u64, "sizes of a cluster");
    for _ in 0..growth.rounds {
        let first = sizes.len();
        for members in &growth.members {
            let together = measure_shape(growth, 1, *members).await?;
            let alone = if *members == 1 { together } else { measure_shape(growth, *members, 1).await? };
            let cpu_us = together.cpu_us();
            sizes.push(Size {
                members: *members,
                per_second: together.operations / together.seconds,
                cpu_us,
                alone_us: alone.cpu_us(),
                ratio: cpu_us / alone.cpu_us(),
                ratio_to_first: sizes.get(first).map_or(1.0, |first| cpu_us / first.cpu_us),
                controller_share: together.share(together.controller),
                desks_share: together.share(together.all.desk),
                ticks_share: together.share(together.all.tick),
            });
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(sizes)
}

/// What one installation used.
#[derive(Debug, Clone, Copy)]
struct Used {
    seconds: f64,
    operations: f64,
    all: ProcessCpu,
    /// The desk of the first cluster's controller.
    controller: Duration,
}

impl Used {
    fn cpu_us(&self) -> f64 {
        self.all.whole.as_secs_f64() * 1e6 / self.operations
    }

    fn share(&self, part: Duration) -> f64 {
        part.as_secs_f64() / self.all.whole.as_secs_f64()
    }
}

async fn measure_shape(growth: &Growth, clusters: u16, members: u16) -> Result<Used> {
    let shape = Shape { clusters, members, routers: 1, accounts: growth.accounts, restart_after: "never" };
    let mut up = Up::start_as(shape).await?;
    let turns = Arc::new(AtomicU64::new(0));
    let pause = Duration::from_secs_f64(f64::from(growth.accounts) / growth.rate);
    let over = Arc::new(std::sync::OnceLock::new());
    let mut clients = tokio::task::JoinSet::new();
    for (number, account) in up.accounts().into_iter().enumerate() {
        let mut client = Client::open(&up, &account).await?;
        for _ in 0..WARM_UP {
            client.turn().await?;
        }
        let (turns, over) = (Arc::clone(&turns), Arc::clone(&over));
        // Spread over the pause, so that the load is even.
        let delay = pause.mul_f64(number as f64 / f64::from(growth.accounts));
        clients.spawn(async move {
            let mut due = Instant::now() + delay;
            while over.get().is_none() {
                tokio::time::sleep_until(due).await;
                due += pause;
                client.turn().await?;
                turns.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    let members = up.endpoints.clusters.iter().flat_map(|cluster| &cluster.members);
    let pids: Vec<i32> = members.map(|member| member.pid).collect();
    let controller = up.process(&up.controller(1)?)?.pid;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let look = || anyhow::Ok((turns.load(Ordering::Relaxed), ProcessCpu::of_all(&pids)?, ProcessCpu::of(controller)?));
    let (begun, before) = (Instant::now(), look()?);
    tokio::time::sleep(Duration::from_secs_f64(growth.seconds)).await;
    let (elapsed, after) = (begun.elapsed(), look()?);
    let _ = over.set(());
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    up.stop()?;
    let done = after.0 - before.0;
    ensure!(done > 0, "nothing was done");
    Ok(Used {
        seconds: elapsed.as_secs_f64(),
        operations: (done * OPERATIONS) as f64,
        all: after.1.since(before.1),
        controller: after.2.since(before.2).desk,
    })
}

/// One account's correspondent and reader.
struct Client {
    account: String,
    lmtp: Smtp,
    imap: Imap,
}

impl Client {
    async fn open(up: &Up, account: &str) -> Result<Self> {
        let router = up.router()?;
        let lmtp = Smtp::connect_lmtp(router.lmtp()?).await?;
        let mut imap = Imap::login(router.imap()?, account, up.password()).await?;
        imap.ok("SELECT INBOX").await?;
        Ok(Self { account: account.to_owned(), lmtp, imap })
    }

    /// A message comes in, is seen, read, marked and removed.
    async fn turn(&mut self) -> Result<()> {
        let mail = self.lmtp.mail("bench@example.net", &[&self.account], MESSAGE.as_bytes()).await?;
        ensure!(mail.data.iter().all(Reply::is_ok), "{mail:?}");
        self.imap.ok("NOOP").await?;
        self.imap.ok("UID FETCH * (FLAGS BODY.PEEK[])").await?;
        self.imap.ok("UID STORE * +FLAGS.SILENT (\\Seen)").await?;
        self.imap.ok("UID STORE * +FLAGS.SILENT (\\Deleted)").await?;
        self.imap.ok("EXPUNGE").await?;
        self.lmtp.connection.transcript.clear();
        self.imap.connection.transcript.clear();
        Ok(())
    }
}

/// Four kilobytes, as mail without attachments is.
static MESSAGE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    let head = "From: <bench@example.net>\r\nSubject: growth\r\n\r\n";
    let line = "All that a cluster has to agree on is who owns what.\r\n";
    format!("{head}{}", line.repeat(4096 / line.len()))
});
