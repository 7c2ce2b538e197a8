//! What a router does beside serving clients: metrics of its state, certificates anew, routes across restarts.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use laniakea_config::Config;
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{RouterContext, vigil::WATCH_EVERY};

/// How often the state of the directory and of members is put into the metrics.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Rounds over the members under way: one that finds a silent member takes several times as long as their distance.
const ROUNDS_MAX: usize = 16;
/// How often the remembered routes are saved.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Puts what has no event of its own into the metrics.
pub(super) async fn report(context: Arc<RouterContext>) {
    let degraded = metrics::gauge!("laniakea_router_directory_degraded");
    let doubted = metrics::gauge!("laniakea_router_doubted_members");
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                degraded.set(f64::from(u8::from(context.directory.is_degraded())));
                doubted.set(context.routes.doubted().len() as f64);
            }
            () = context.shutdown.cancelled() => return,
        }
    }
}

/// Looks after the members that somebody is connected to.
pub async fn watch(context: Arc<RouterContext>) {
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watching = async {
        let mut rounds = JoinSet::new();
        loop {
            ticks.tick().await;
            while rounds.try_join_next().is_some() {}
            if rounds.len() < ROUNDS_MAX {
                let context = Arc::clone(&context);
                // The next round does not wait for this one: a silent member must not hide another.
                rounds.spawn(async move { context.routes.watch().await });
            }
        }
    };
    let _: Option<()> = context.shutdown.run_until_cancelled(watching).await;
}

/// Begins with what the last process knew, so that a router may restart while the directory is down.
pub(super) async fn load_cache(context: &RouterContext, file: &Path) {
    match context.directory.load_cache(file).await {
        Ok(entries) => tracing::info!(entries, "remembered routes loaded"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, file = %file.display(), "load the remembered routes"),
    }
}

/// Saves what is known now and then, and once more when no more is accepted: from then on the file is a successor's. It may
/// be lost without harm.
pub(super) async fn keep_cache(context: Arc<RouterContext>, file: PathBuf, accepting: CancellationToken) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + SAVE_EVERY, SAVE_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = accepting.cancelled() => {}
        }
        if let Err(error) = context.directory.save_cache(&file).await {
            tracing::warn!(%error, file = %file.display(), "save the remembered routes");
        }
        if accepting.is_cancelled() {
            return;
        }
    }
}

/// Takes from every newer configuration what can change while the process runs, if all of it can be used.
pub async fn reload(context: Arc<RouterContext>, mut configs: watch::Receiver<Arc<Config>>) {
    while configs.changed().await.is_ok() {
        let config = configs.borrow_and_update().clone();
        match context.reload(&config) {
            Ok(()) => tracing::info!("certificates, `foreign` and `smarthost` reloaded"),
            Err(error) => {
                let cause = error.source().map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, cause, "reload certificates, `foreign` and `smarthost`; the old ones stay");
            }
        }
    }
}
