//! Front ends side by side: what nginx, HAProxy, Dovecot's proxy and our router cost in front of one back end.
//!
//! The back end accepts every login and has one message; it is a process of its own, and so is every front end. What counts is
//! the processor time of the front end's processes, and their memory, for the same work in the same minute; on a machine
//! with few cores the clock says little. HAProxy in TCP mode knows no mail: it is what copying bytes costs at least. Ours
//! alone looks accounts up in a directory and writes a line of log for each login; nginx asks a static answerer, which is not
//! counted, and Dovecot a static table. `laniakea` logs in as at a member of ours, behind a preamble; `elsewhere` is the same
//! router in front of accounts that live at a server of another kind, which it has to ask one thing more.

mod load;
mod null;
mod peers;
mod processes;

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

pub use null::serve as be_null;

use self::{load::Caller, peers::Fronts, processes::Tree};
use super::{Spread, progress};

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Front {
    /// Seconds for logins, and for bytes.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Connections that are left idle; may be repeated.
    #[arg(long, default_values_t = [1000])]
    pub idle: Vec<usize>,
    /// Clients that log in, and out again, at a time.
    #[arg(long, default_value_t = 20)]
    pub clients: u32,
    /// Every front end is measured so often, in turn.
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
    /// Only these front ends, by name.
    #[arg(long)]
    pub only: Vec<String>,
}

/// One front end in one round, plain or inside TLS.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Who.
    pub front: &'static str,
    /// Whether clients are inside TLS.
    pub tls: bool,
    /// Logins and logouts per second.
    pub logins: f64,
    /// Processor time of the front end for one of them, in microseconds.
    pub login_cpu_us: f64,
    /// One command and its answer on a quiet connection.
    pub noop: Spread,
    /// Megabytes per second to two clients.
    pub megabytes: f64,
    /// Processor time of the front end for one megabyte, in microseconds.
    pub megabyte_cpu_us: f64,
    /// For each number of idle connections, what one of them takes, in bytes.
    pub idle: Vec<(usize, f64)>,
}

/// One front end.
struct FrontEnd {
    name: &'static str,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
    /// The number of the first account that logs in there.
    first_account: u32,
    /// The process that has begun all others; none for the back end itself.
    processes: Tree,
}

/// Measures everything; `program` is this one.
///
/// # Errors
/// If a front end does not start or does not serve.
pub async fn measure(what: &Front, program: &Path) -> Result<Vec<Measured>> {
    let fronts = Fronts::start(program).await?;
    let chosen = |name: &str| what.only.is_empty() || what.only.iter().any(|only| only == name);
    let all: Vec<&FrontEnd> = fronts.all.iter().filter(|front| chosen(front.name)).collect();
    let bar = progress((what.rounds * all.len() * 2) as u64, "front ends");
    let mut measured = Vec::new();
    for _ in 0..what.rounds {
        for tls in [false, true] {
            for front in &all {
                if let Some(caller) = Caller::to(front, tls, &fronts.authority)? {
                    let one = measure_one(what, front, &caller, tls).await;
                    measured.push(one.with_context(|| format!("{}, tls: {tls}", front.name))?);
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(measured)
}

async fn measure_one(what: &Front, front: &FrontEnd, caller: &Caller, tls: bool) -> Result<Measured> {
    let seconds = Duration::from_secs_f64(what.seconds);
    // Caches, proofs, and pages that are touched once.
    caller.logins(what.clients, seconds / 4).await?;
    let before = front.processes.cpu()?;
    let logins = caller.logins(what.clients, seconds).await?;
    let login_cpu = front.processes.cpu()? - before;
    let noop = Spread::of(caller.noops(2000).await?);
    caller.bytes(2, seconds / 4).await?;
    let before = front.processes.cpu()?;
    let bytes = caller.bytes(2, seconds).await?;
    let bytes_cpu = front.processes.cpu()? - before;
    let megabytes = bytes as f64 / 1e6;
    let mut idle = Vec::new();
    for &count in &what.idle {
        let before = front.processes.memory()?;
        let open = caller.open(count).await?;
        let after = front.processes.memory()?;
        drop(open);
        idle.push((count, (after as f64 - before as f64) / count as f64));
        // Closed connections leave in their own time.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(Measured {
        front: front.name,
        tls,
        logins: logins as f64 / seconds.as_secs_f64(),
        login_cpu_us: login_cpu.as_secs_f64() * 1e6 / logins.max(1) as f64,
        noop,
        megabytes: megabytes / seconds.as_secs_f64(),
        megabyte_cpu_us: bytes_cpu.as_secs_f64() * 1e6 / megabytes.max(1e-9),
        idle,
    })
}
