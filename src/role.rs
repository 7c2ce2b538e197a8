//! What every role does around its work: limits, logs, signals, and the end.
//!
//! SIGTERM and SIGINT ask the role to drain and end; SIGHUP reads the configuration again and, if all of it is valid, hands
//! it to the role, which takes from it what can change while it runs.

use std::{
    convert::Infallible,
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use laniakea_config::{Config, Role};
use laniakea_router::drive::Orders;
use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::{exit::Failure, installation::Installation};

/// Set by `up` for its children: the process id they must not outlive.
pub const PARENT: &str = "LANIAKEA_PARENT";

/// After the role has ended, threads that still wait for the disk get this long.
const LINGER: Duration = Duration::from_secs(2);

/// A process with a role, as its signals need to know it.
pub struct Process<'a> {
    /// `router`, `backend` or `directory`.
    pub kind: &'a str,
    /// Its name in the configuration.
    pub name: &'a str,
    /// Where its configuration is.
    pub installation: &'a Installation,
    /// What it needs of it.
    pub role: Role<'a>,
}

impl Process<'_> {
    /// Runs `work` until it ends or a signal asks it to.
    pub fn run<Work, Done>(&self, config: Config, work: Work) -> Result<(), Failure>
    where
        Work: FnOnce(Arc<Config>, Orders) -> Done,
        Done: Future<Output = anyhow::Result<()>>,
    {
        let Self { kind, name, .. } = *self;
        die_with_parent()?;
        laniakea_router::observe::install_logging(kind, name);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
        let config = Arc::new(config);
        let (newer, configs) = watch::channel(config.clone());
        let shutdown = CancellationToken::new();
        let orders = Orders { shutdown: shutdown.clone(), configs };
        let done = runtime.block_on(async {
            tokio::select! {
                done = work(config, orders) => done,
                never = self.heed_signals(&shutdown, &newer) => match never {},
            }
        });
        runtime.shutdown_timeout(LINGER);
        tracing::info!(name, "process ends");
        Ok(done.with_context(|| format!("{kind} {name}"))?)
    }

    async fn heed_signals(&self, shutdown: &CancellationToken, newer: &watch::Sender<Arc<Config>>) -> Infallible {
        let streams = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = streams else {
            tracing::error!("signals cannot be received; this process can only be killed");
            return pending().await;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => self.reload(newer),
            }
        }
        tracing::info!("asked to end");
        shutdown.cancel();
        pending().await
    }

    fn reload(&self, newer: &watch::Sender<Arc<Config>>) {
        let path = self.installation.path();
        match Config::load_for(&path, self.role) {
            Ok(config) => {
                tracing::info!(path = %path.display(), "configuration read again; listeners and members change at the next start");
                newer.send_replace(Arc::new(config));
            }
            Err(faults) => {
                tracing::error!(path = %path.display(), "the configuration is not valid and is not used:\n{faults}");
            }
        }
    }
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
