//! What every role does around its work: limits, logs, signals, and the end.
//!
//! SIGTERM and SIGINT ask the role to drain and end; SIGHUP checks the configuration again and says what it found.

use std::{future::Future, path::Path, time::Duration};

use anyhow::Context as _;
use laniakea_config::{Config, Role};
use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// Set by `up` for its children: the process id they must not outlive.
pub const PARENT: &str = "LANIAKEA_PARENT";

/// After the role has ended, threads that still wait for the disk get this long.
const LINGER: Duration = Duration::from_secs(2);

/// Runs `work` as the process `name` until it ends or a signal asks it to.
pub fn run<Work, Done>(kind: &str, name: &str, path: &Path, work: Work) -> Result<(), Failure>
where
    Work: FnOnce(CancellationToken) -> Done,
    Done: Future<Output = anyhow::Result<()>>,
{
    die_with_parent()?;
    laniakea_router::observe::install_logging(kind, name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let done = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let signals = tokio::spawn(heed_signals(shutdown.clone(), path.to_owned()));
        let done = work(shutdown).await;
        signals.abort();
        done
    });
    runtime.shutdown_timeout(LINGER);
    tracing::info!(name, "process ends");
    Ok(done.with_context(|| format!("{kind} {name}"))?)
}

/// Lets this process open as many files as it may: each connection is one.
///
/// To be called before the configuration is read, whose defaults depend on it.
pub fn raise_limits() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // A refusal leaves the limit as it is; the configuration's defaults follow what is there.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A process started with its parent named in the environment must not outlive it, even if the parent is killed.
pub fn die_with_parent() -> Result<(), Failure> {
    let Some(parent) = std::env::var(PARENT).ok().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw) else {
        return Ok(());
    };
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to die with the parent process")?;
    // It may have died before the request.
    if getppid() == Some(parent) {
        Ok(())
    } else {
        Err(anyhow::anyhow!("the process that started this one has ended").into())
    }
}

async fn heed_signals(shutdown: CancellationToken, path: std::path::PathBuf) {
    let streams = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = streams else {
        tracing::error!("signals cannot be received; this process can only be killed");
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => check_again(&path),
        }
    }
    tracing::info!("asked to end");
    shutdown.cancel();
}

fn check_again(path: &Path) {
    match Config::load_for(path, Role::Command) {
        Ok(_) => {
            tracing::info!(path = %path.display(), "the configuration is valid; listeners and members change at the next start")
        }
        Err(faults) => {
            tracing::error!(path = %path.display(), "the configuration is not valid and is not used:\n{faults}")
        }
    }
}
