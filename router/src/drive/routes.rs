//! Where accounts live: clusters from the directory, owners from `MOVED`, health from what happened.
//!
//! Everything here is a cache that may be empty: a router that has just started knows as much as it needs.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use laniakea_directory::{AccountId, AccountRecord, ClusterName, ClusterRecord, Directory, LookupError};
use parking_lot::Mutex;
use tokio::net::lookup_host;
use tokio_util::sync::CancellationToken;

use super::{Handoffs, login::DialError, vigil::Vigil};
use crate::route::{Member, Owners, RouteKey, plan};

/// How long one member may take to accept a connection.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How long the address of a member named by host name is believed.
const NAME_AGE_MAX: Duration = Duration::from_secs(30);
/// Host names remembered.
const NAMES_MAX: usize = 4096;

/// Where accounts live, as far as a process knows.
pub struct Routes {
    directory: Directory,
    vigil: Arc<Vigil>,
    owners: Mutex<Owners>,
    names: Mutex<HashMap<String, (SocketAddr, Instant)>>,
}

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
}

impl Routes {
    /// Begins with nothing but the directory, and a way to dial.
    #[must_use]
    pub fn new(directory: Directory, handoffs: Handoffs) -> Self {
        let (owners, names) = Default::default();
        Self { directory, vigil: Vigil::new(handoffs), owners, names }
    }

    /// How members are dialled, and let in.
    #[must_use]
    pub fn handoffs(&self) -> &Handoffs {
        &self.vigil.handoffs
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

    /// Lists the members of all clusters, in the order in which `key` wants them: for what any member can do. Those that are
    /// doubted come last.
    ///
    /// # Errors
    ///
    /// If the directory has no answer, or lists no member with an address.
    pub async fn everywhere(&self, key: RouteKey) -> Result<Vec<SocketAddr>, RouteError> {
        let mut clusters = self.directory.clusters().await?.to_vec();
        clusters.sort_by_cached_key(|cluster| Reverse(key.weight(cluster.name.as_str())));
        let mut all = Vec::new();
        for cluster in &clusters {
            all.extend(self.plan(key, &self.members_of(cluster).await.unwrap_or_default(), None));
        }
        all.sort_by_key(|member| !self.is_up(*member));
        if all.is_empty() { Err(RouteError::NoMember) } else { Ok(all) }
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
        plan(key, members, owner, |address| self.vigil.standing(address))
    }

    /// Notes that a member answered.
    pub fn on_reached(&self, member: SocketAddr) {
        self.vigil.on_reached(member);
    }

    /// Notes that an attempt to reach a member that began at `began` has failed. If the member is doubted for it, neither it
    /// nor what it owned is believed in any more.
    pub fn on_no_answer(&self, member: SocketAddr, began: Instant, error: &DialError) {
        if error.is_unreachable() {
            metrics::counter!("laniakea_router_dial_failures_total").increment(1);
        }
        if self.vigil.on_no_answer(member, began, error) {
            // Walks the whole table: once per outage, not once per connection.
            self.owners.lock().forget_member(member);
        }
    }

    /// Does `work` with a member unless somebody finds out meanwhile that it cannot be reached.
    pub async fn unless_doubted<T>(&self, member: SocketAddr, work: impl Future<Output = T>) -> Option<T> {
        self.vigil.unless_doubted(member, work).await
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

    /// Returns what ends the connections forwarded to a member: it is silent for good, or all are let go.
    ///
    /// A process that dies ends its connections itself. One that is frozen, or whose machine is gone, does not: its cluster
    /// fences it within two seconds, so nothing it still holds can be served by it again.
    #[must_use]
    pub fn lifeline(&self, member: SocketAddr) -> CancellationToken {
        self.vigil.lifeline(member)
    }

    /// Ends whatever waits for a member: the process has drained for long enough.
    pub fn let_go(&self) {
        self.vigil.let_go();
    }

    /// Does `work` that may take long with a member; `None` as soon as the member is known to be silent for good, or all
    /// are let go.
    ///
    /// For this [`Routes::watch`] must run.
    pub async fn unless_lost<T>(&self, member: SocketAddr, work: impl Future<Output = T>) -> Option<T> {
        let lifeline = self.lifeline(member);
        tokio::select! {
            biased;
            done = work => Some(done),
            () = lifeline.cancelled() => None,
        }
    }

    /// Looks whether the members that somebody is connected to still answer, so that clients which only listen are not
    /// left with a member that is frozen or gone.
    pub async fn watch(&self) {
        for member in self.vigil.watch().await {
            self.owners.lock().forget_member(member);
        }
    }

    /// Whether a member should be tried now.
    #[must_use]
    pub fn is_up(&self, member: SocketAddr) -> bool {
        self.vigil.is_up(member)
    }

    /// Lists the members that are not tried at the moment.
    #[must_use]
    pub fn doubted(&self) -> Vec<SocketAddr> {
        self.vigil.doubted()
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
