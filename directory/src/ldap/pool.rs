//! Persistent connections to the first server that works.
//!
//! Every connection carries many operations at once. An operation that fails because its connection broke, or because
//! the server fell silent, is tried again elsewhere as long as its deadline allows. A server that fails is left alone for
//! a growing while; when all are left alone, an operation fails at once, so that nobody waits for nothing.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use laniakea_config::DirectorySettings;
use ldap3::{Ldap, LdapError, LdapResult, ResultEntry, Scope, SearchOptions, SearchResult};
use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{
    connect::{Connector, Live, outage},
    filter::Filter,
    health::Health,
};
use crate::error::{Outage, SetupError};

/// Between two looks of the keeper.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Looks between two probes of connections that seem to work.
const PROBE_EVERY: u32 = 10;
/// The share of the deadline one attempt gets when there are other servers to try.
const ATTEMPT_SHARE: u32 = 3;

/// The connections, and what is known of the servers.
pub(super) struct Pool {
    connector: Connector,
    health: Vec<Mutex<Health>>,
    slots: Vec<tokio::sync::Mutex<Option<Arc<Live>>>>,
    next: AtomicUsize,
    timeout: Duration,
    base: String,
    degraded: AtomicBool,
}

/// A search as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) base: String,
    pub(super) scope: Scope,
    pub(super) filter: Filter,
    pub(super) attributes: Arc<[String]>,
    /// Entries wanted at most; zero for all.
    pub(super) max: i32,
}

impl Pool {
    /// Prepares the pool and starts its keeper; connects to nobody yet.
    pub(super) fn new(settings: &DirectorySettings) -> Result<Arc<Self>, SetupError> {
        let connector = Connector::new(settings)?;
        let pool = Arc::new(Self {
            health: (0..connector.servers()).map(|_| Mutex::default()).collect(),
            slots: (0..settings.connections.max(1)).map(|_| tokio::sync::Mutex::default()).collect(),
            connector,
            next: AtomicUsize::new(0),
            timeout: settings.timeout,
            base: settings.base.clone(),
            degraded: AtomicBool::new(false),
        });
        gauge!("laniakea_directory_degraded").set(0.0);
        tokio::spawn(keep(Arc::downgrade(&pool)));
        Ok(pool)
    }

    /// Whether the last operation found no server.
    pub(super) fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::Relaxed)
    }

    /// Searches; a result code other than success is an answer, not an outage.
    pub(super) async fn search(&self, query: &Query) -> Result<(Vec<ResultEntry>, LdapResult), Outage> {
        let SearchResult(entries, result) = self
            .operate(|mut ldap: Ldap| {
                let query = query.clone();
                async move {
                    ldap.with_search_options(SearchOptions::new().sizelimit(query.max))
                        .search(&query.base, query.scope, query.filter.as_str(), &query.attributes)
                        .await
                }
            })
            .await?;
        Ok((entries, result))
    }

    /// Runs one operation, on another connection or server if one fails, until the deadline.
    pub(super) async fn operate<T, F, Fut>(&self, operation: F) -> Result<T, Outage>
    where
        T: Coded,
        F: Fn(Ldap) -> Fut,
        Fut: Future<Output = Result<T, LdapError>>,
    {
        let outcome = self.try_until(Instant::now() + self.timeout, operation).await;
        self.set_degraded(outcome.is_err());
        outcome
    }

    async fn try_until<T, F, Fut>(&self, deadline: Instant, operation: F) -> Result<T, Outage>
    where
        T: Coded,
        F: Fn(Ldap) -> Fut,
        Fut: Future<Output = Result<T, LdapError>>,
    {
        let slot = self.next.fetch_add(1, Ordering::Relaxed);
        let (mut last, mut broken) = (Outage::NoServer, None);
        // Each server may fail twice: once on an old connection, once on a new one.
        for _ in 0..=2 * self.connector.servers() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Outage::TimedOut);
            }
            let live = match timeout(left, self.live(slot)).await {
                Ok(Ok(live)) => live,
                Ok(Err(Outage::NoServer)) => return Err(last),
                Ok(Err(outage)) => return Err(outage),
                Err(_) => return Err(Outage::TimedOut),
            };
            let limit = self.attempt_limit().min(deadline.saturating_duration_since(Instant::now()));
            let answered = guarded(operation(live.handle()).map(|answer| answer.map_err(|error| outage(&error))));
            match timeout(limit, answered).await {
                Ok(Ok(answer)) if !is_server_trouble(answer.code()) => {
                    self.health(live.server, Health::on_answer);
                    return Ok(answer);
                }
                Ok(Ok(answer)) => last = self.on_failed(slot, &live, Outage::Refused(answer.code())).await,
                // It was a new connection this time, and broke as well.
                Ok(Err(Outage::Broken)) if broken == Some(live.server) => {
                    last = self.on_failed(slot, &live, Outage::Garbled).await;
                }
                Ok(Err(outage)) => {
                    broken = (outage == Outage::Broken).then_some(live.server);
                    last = self.on_failed(slot, &live, outage).await;
                }
                Err(_) => last = self.on_failed(slot, &live, Outage::TimedOut).await,
            }
        }
        Err(last)
    }

    /// Opens a connection of its own for one bind, which would change who an ordinary one is.
    pub(super) async fn open_unbound(&self) -> Result<Live, Outage> {
        let mut last = Outage::NoServer;
        for server in self.candidates() {
            match guarded(self.connector.open_unbound(server, self.attempt_limit())).await {
                Ok(live) => return Ok(live),
                Err(outage) => {
                    last = outage;
                    self.health(server, |health| health.on_failure(std::time::Instant::now(), rand::random()));
                }
            }
        }
        Err(last)
    }

    /// Returns a connection for a search that takes longer than a deadline allows.
    pub(super) async fn any_live(&self) -> Result<Arc<Live>, Outage> {
        let slot = self.next.fetch_add(1, Ordering::Relaxed);
        timeout(self.timeout, self.live(slot)).await.map_err(|_| Outage::TimedOut)?
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the slot's connection, opening one if need be. Others who want the same slot wait for that.
    async fn live(&self, slot: usize) -> Result<Arc<Live>, Outage> {
        let Some(slot) = self.slots.get(slot % self.slots.len()) else { return Err(Outage::NoServer) };
        let mut slot = slot.lock().await;
        if let Some(live) = slot.as_ref().filter(|live| !live.is_closed()) {
            return Ok(Arc::clone(live));
        }
        *slot = None;
        let live = Arc::new(self.open_any().await?);
        *slot = Some(Arc::clone(&live));
        Ok(live)
    }

    /// Opens a connection to the first server that lets us.
    async fn open_any(&self) -> Result<Live, Outage> {
        let mut last = Outage::NoServer;
        for server in self.candidates() {
            match self.open(server).await {
                Ok(live) => return Ok(live),
                Err(outage) => last = outage,
            }
        }
        Err(last)
    }

    async fn open(&self, server: usize) -> Result<Live, Outage> {
        let name = self.connector.name(server);
        match guarded(self.connector.open(server, self.attempt_limit())).await {
            Ok(live) => {
                counter!("laniakea_directory_connections_total", "result" => "opened").increment(1);
                tracing::debug!(server = name, "connected to the directory");
                Ok(live)
            }
            Err(outage) => {
                counter!("laniakea_directory_connections_total", "result" => "failed").increment(1);
                self.health(server, |health| health.on_failure(std::time::Instant::now(), rand::random()));
                tracing::debug!(server = name, %outage, "connect to the directory");
                Err(outage)
            }
        }
    }

    /// Lets go of a connection that failed and remembers it against the server.
    async fn on_failed(&self, slot: usize, live: &Arc<Live>, outage: Outage) -> Outage {
        counter!("laniakea_directory_failed_operations_total").increment(1);
        let (now, chance) = (std::time::Instant::now(), rand::random());
        self.health(live.server, |health| match outage {
            // The connection may have been closed for being idle: a new one will tell.
            Outage::Broken => {}
            Outage::TimedOut => health.on_silence(now, chance),
            Outage::Refused(_) | Outage::Garbled | Outage::NoServer | Outage::Overloaded => {
                health.on_failure(now, chance)
            }
        });
        self.forget(slot, live).await;
        outage
    }

    async fn forget(&self, slot: usize, live: &Arc<Live>) {
        if let Some(slot) = self.slots.get(slot % self.slots.len()) {
            let mut slot = slot.lock().await;
            if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, live)) {
                *slot = None;
            }
        }
    }

    fn candidates(&self) -> Vec<usize> {
        let now = std::time::Instant::now();
        let servers = self.health.iter().enumerate();
        servers.filter(|(_, health)| health.lock().may_try(now)).map(|(server, _)| server).collect()
    }

    fn attempt_limit(&self) -> Duration {
        if self.connector.servers() > 1 { self.timeout / ATTEMPT_SHARE } else { self.timeout }
    }

    fn health(&self, server: usize, change: impl FnOnce(&mut Health)) {
        if let Some(health) = self.health.get(server) {
            change(&mut health.lock());
        }
    }

    fn set_degraded(&self, degraded: bool) {
        if self.degraded.swap(degraded, Ordering::Relaxed) == degraded {
            return;
        }
        gauge!("laniakea_directory_degraded").set(if degraded { 1.0 } else { 0.0 });
        if degraded {
            tracing::warn!("the directory cannot be reached; answers may be stale");
        } else {
            tracing::info!("the directory can be reached again");
        }
    }

    /// Asks for as little as possible.
    pub(super) async fn probe(&self) -> Result<(), Outage> {
        let query = Query {
            base: self.base.clone(),
            scope: Scope::Base,
            filter: Filter::present("objectClass"),
            attributes: Arc::new(["1.1".to_owned()]),
            max: 1,
        };
        self.search(&query).await.map(|_| ())
    }

    /// Goes back to a server that stands earlier in the settings, when it works again.
    async fn return_to_preferred(&self) {
        for slot in &self.slots {
            let current = slot.lock().await.as_ref().map(|live| live.server);
            let Some(current) = current.filter(|server| *server > 0) else { continue };
            let better = self.candidates().into_iter().take_while(|server| *server < current);
            for server in better {
                if let Ok(live) = self.open(server).await {
                    tracing::info!(server = self.connector.name(server), "back to the preferred directory server");
                    *slot.lock().await = Some(Arc::new(live));
                    break;
                }
            }
        }
    }
}

/// Looks after the pool until it is gone: finds silent peers, and the end of an outage.
async fn keep(pool: Weak<Pool>) {
    let mut looks = 0_u32;
    loop {
        {
            let Some(pool) = pool.upgrade() else { return };
            if pool.is_degraded() || looks.is_multiple_of(PROBE_EVERY) {
                // One for each connection: they take turns.
                for _ in 0..pool.slots.len() {
                    if pool.probe().await.is_err() {
                        break;
                    }
                }
                pool.return_to_preferred().await;
            }
        }
        looks = looks.wrapping_add(1);
        sleep(KEEP_EVERY).await;
    }
}

/// Makes an outage of a panic: the library takes the form of what a server sends on trust.
pub(super) async fn guarded<T>(work: impl Future<Output = Result<T, Outage>>) -> Result<T, Outage> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or(Err(Outage::Garbled))
}

/// An answer that carries a result code.
pub(super) trait Coded {
    fn code(&self) -> u32;
}

impl Coded for SearchResult {
    fn code(&self) -> u32 {
        self.1.rc
    }
}

impl Coded for LdapResult {
    fn code(&self) -> u32 {
        self.rc
    }
}

/// Result codes that say the server, not the request, is in trouble (RFC 4511 appendix A): operationsError, busy,
/// unavailable, other.
fn is_server_trouble(code: u32) -> bool {
    matches!(code, 1 | 51 | 52 | 80)
}
