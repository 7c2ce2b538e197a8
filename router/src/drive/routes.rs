//! Where accounts live: clusters from the directory, owners from `MOVED`, health from what happened.
//!
//! Everything here is a cache that may be empty: a router that has just started knows as much as it needs.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use dashmap::DashMap;
use laniakea_directory::{AccountId, AccountRecord, ClusterName, ClusterRecord, Directory, LookupError};
use parking_lot::Mutex;
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Dialler, login::probe};
use crate::route::{Attempts, Health, Member, Next, Owners, RouteKey, plan};

/// How long one member may take to accept a connection.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How long the address of a member named by host name is believed.
const NAME_AGE_MAX: Duration = Duration::from_secs(30);
/// Host names remembered.
const NAMES_MAX: usize = 4096;

/// Where accounts live, as far as a process knows.
pub struct Routes {
    directory: Directory,
    dialler: Dialler,
    health: Arc<Mutex<Health>>,
    owners: Mutex<Owners>,
    names: Mutex<HashMap<String, (SocketAddr, Instant)>>,
    lifelines: Arc<Lifelines>,
}

/// For each member with forwarded connections, what is cancelled when it is lost.
type Lifelines = DashMap<SocketAddr, CancellationToken>;

/// Where an account is at home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// A cluster of ours, with the members the directory lists.
    Cluster(ClusterName, Vec<Member>),
    /// A server of another kind, which is spoken to in the plain protocol.
    Foreign(String),
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The directory has no answer.
    #[error("{0}")]
    Directory(#[from] LookupError),
    /// The account's entry names no home.
    #[error("the account has no home")]
    Homeless,
    /// The directory lists no cluster, or none of its members has an address.
    #[error("no member has an address")]
    NoMember,
    /// No member accepted a connection in time.
    #[error("no member can be reached")]
    Unreachable,
}

impl Routes {
    /// Begins with nothing but the directory, and a way to dial.
    #[must_use]
    pub fn new(directory: Directory, dialler: Dialler) -> Self {
        let (health, owners, names, lifelines) = Default::default();
        Self { directory, dialler, health, owners, names, lifelines }
    }

    /// How members are dialled.
    #[must_use]
    pub fn dialler(&self) -> Dialler {
        self.dialler
    }

    /// Finds an account's home.
    ///
    /// # Errors
    ///
    /// If the directory has no answer, or no usable one.
    pub async fn home(&self, account: &AccountRecord) -> Result<Home, RouteError> {
        if account.mail_host.is_empty() {
            return Err(RouteError::Homeless);
        }
        let name = ClusterName::new(&account.mail_host);
        match self.directory.cluster(&name).await? {
            Some(cluster) => Ok(Home::Cluster(name, self.members_of(&cluster).await?)),
            None => Ok(Home::Foreign(account.mail_host.clone())),
        }
    }

    /// Finds a cluster for a name that has no account, always the same one.
    ///
    /// # Errors
    ///
    /// If the directory has no answer or lists no cluster.
    pub async fn any_home(&self, key: RouteKey) -> Result<Home, RouteError> {
        let clusters = self.directory.clusters().await?;
        let cluster = clusters.iter().max_by_key(|cluster| key.weight(cluster.name.as_str()));
        let cluster = cluster.ok_or(RouteError::NoMember)?;
        Ok(Home::Cluster(cluster.name.clone(), self.members_of(cluster).await?))
    }

    /// Lists a cluster's members.
    ///
    /// # Errors
    ///
    /// If the directory has no answer, or lists no member with an address.
    pub async fn members(&self, cluster: &ClusterName) -> Result<Vec<Member>, RouteError> {
        let cluster = self.directory.cluster(cluster).await?.ok_or(RouteError::NoMember)?;
        self.members_of(&cluster).await
    }

    /// Orders the members to try for an account: the remembered owner first.
    #[must_use]
    pub fn plan(&self, key: RouteKey, members: &[Member], account: Option<AccountId>) -> Vec<SocketAddr> {
        let owner = account.and_then(|account| self.owners.lock().owner(account));
        let health = self.health.lock();
        plan(key, members, owner, |address| health.is_up(address))
    }

    /// Connects to some live member of a cluster, for mail, which every member takes.
    ///
    /// # Errors
    ///
    /// If the directory has no answer, or no member accepts before the deadline of a login.
    pub async fn dial_any(&self, cluster: &ClusterName, key: RouteKey) -> Result<(SocketAddr, TcpStream), RouteError> {
        let mut attempts = Attempts::new(Instant::now());
        loop {
            match attempts.next(Instant::now()) {
                Next::Plan => attempts.on_plan(self.plan(key, &self.members(cluster).await?, None)),
                Next::Wait(until) => tokio::time::sleep_until(until.into()).await,
                Next::GiveUp => return Err(RouteError::Unreachable),
                Next::Dial(target) => {
                    if let Ok(tcp) = self.dialler.dial(target.member, CONNECT_DEADLINE).await {
                        self.on_reached(target.member);
                        return Ok((target.member, tcp));
                    }
                    self.on_unreachable(target.member);
                }
            }
        }
    }

    /// Notes that a member answered.
    pub fn on_reached(&self, member: SocketAddr) {
        let mut health = self.health.lock();
        // Nearly always there is nothing to note.
        if !health.is_all_well() {
            health.on_success(member);
        }
    }

    /// Notes that a member could not be reached: neither it nor what it owned is believed in any more.
    pub fn on_unreachable(&self, member: SocketAddr) {
        metrics::counter!("laniakea_router_dial_failures_total").increment(1);
        let is_news = self.health.lock().on_failure(member);
        // Walks the whole table: once per outage, not once per connection.
        if is_news {
            tracing::info!(%member, "member cannot be reached");
            self.owners.lock().forget_member(member);
            let lifelines = Arc::downgrade(&self.lifelines);
            tokio::spawn(probe_until_up(Arc::downgrade(&self.health), lifelines, self.dialler, member));
        }
    }

    /// Notes who owns an account.
    pub fn on_moved(&self, account: AccountId, owner: SocketAddr) {
        metrics::counter!("laniakea_router_moved_total").increment(1);
        self.owners.lock().remember(account, owner);
    }

    /// Forgets who owns an account.
    pub fn forget(&self, account: AccountId) {
        self.owners.lock().forget(account);
    }

    /// Returns what ends the connections forwarded to a member: the process drains, or the member is silent for good.
    ///
    /// A process that dies ends its connections itself. One that is frozen, or whose machine is gone, does not: its cluster
    /// fences it within two seconds, so nothing it still holds can be served by it again.
    #[must_use]
    pub fn lifeline(&self, member: SocketAddr, drained: &CancellationToken) -> CancellationToken {
        self.lifelines.entry(member).or_insert_with(|| drained.child_token()).clone()
    }

    /// Looks whether the members that connections are forwarded to still answer, so that clients which only listen are
    /// not left with a member that is frozen or gone.
    pub async fn watch(&self) {
        let members: Vec<SocketAddr> = self.lifelines.iter().map(|line| *line.key()).collect();
        let mut probes = JoinSet::new();
        for member in members.into_iter().filter(|member| self.is_up(*member)) {
            let dialler = self.dialler;
            probes.spawn(async move { (member, probe(dialler, member).await) });
        }
        while let Some(Ok((member, answer))) = probes.join_next().await {
            let Err(error) = answer else { continue };
            if !error.is_silence() {
                // It stops, or is gone: its connections end by themselves, and nothing is left to be watched.
                self.lifelines.remove(&member);
            }
            if error.is_unreachable() {
                self.on_unreachable(member);
            }
        }
    }

    /// Whether a member should be tried now.
    #[must_use]
    pub fn is_up(&self, member: SocketAddr) -> bool {
        self.health.lock().is_up(member)
    }

    /// Lists the members that are not tried at the moment.
    #[must_use]
    pub fn doubted(&self) -> Vec<SocketAddr> {
        self.health.lock().doubted()
    }

    async fn members_of(&self, cluster: &ClusterRecord) -> Result<Vec<Member>, RouteError> {
        let mut members = Vec::with_capacity(cluster.members.len());
        for name in &cluster.members {
            match self.address_of(name).await {
                Some(address) => members.push(Member { name: name.clone(), address }),
                None => tracing::warn!(cluster = %cluster.name, member = %name, "member has no address"),
            }
        }
        if members.is_empty() { Err(RouteError::NoMember) } else { Ok(members) }
    }

    /// Reads `address:port`, or asks the resolver for `host:port`.
    async fn address_of(&self, name: &str) -> Option<SocketAddr> {
        if let Ok(address) = name.parse() {
            return Some(address);
        }
        let known = self.names.lock().get(name).copied();
        if let Some((address, _)) = known.filter(|(_, asked)| asked.elapsed() < NAME_AGE_MAX) {
            return Some(address);
        }
        let found = tokio::time::timeout(CONNECT_DEADLINE, lookup_host(name)).await;
        let found = found.ok().and_then(Result::ok).and_then(|mut addresses| addresses.next());
        // An old address is better than none while the resolver is down.
        let Some(address) = found else { return known.map(|(address, _)| address) };
        let mut names = self.names.lock();
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(name.to_owned(), (address, Instant::now()));
        Some(address)
    }
}

/// Probes a doubted member until it answers; ends with the process's routes.
async fn probe_until_up(health: Weak<Mutex<Health>>, lifelines: Weak<Lifelines>, dialler: Dialler, member: SocketAddr) {
    loop {
        let Some(pause) = health.upgrade().and_then(|health| health.lock().next_probe(member)) else { return };
        tokio::time::sleep(pause).await;
        match probe(dialler, member).await {
            Ok(()) => {
                let Some(health) = health.upgrade() else { return };
                health.lock().on_success(member);
                tracing::info!(%member, "member answers again");
            }
            // Silent to a client, and now to us: what is forwarded to it would wait for nothing.
            Err(error) if error.is_silence() => {
                let lost = lifelines.upgrade().and_then(|lifelines| lifelines.remove(&member));
                if let Some((_, lifeline)) = lost {
                    tracing::warn!(%member, "member is silent; its connections are ended");
                    lifeline.cancel();
                }
            }
            Err(_) => {}
        }
    }
}
