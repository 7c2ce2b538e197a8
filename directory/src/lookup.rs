//! Look-ups through the cache: what is fresh is used, what is stale only while nobody answers.
//!
//! | remembered | directory answers | directory silent |
//! |---|---|---|
//! | fresh | not asked | not asked |
//! | aging | asked in the background | remembered answer |
//! | stale | its answer | remembered answer, however old |
//! | stale "unknown", or nothing | its answer | temporary failure |
//!
//! An old "unknown" is never used: the account may have been made since, and mail for it would bounce.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use laniakea_config::DirectorySettings;
use metrics::{counter, gauge};

use crate::{
    cache::Ages,
    error::{LookupError, Outage, SetupError},
    id::{AccountId, ClusterName},
    ldap::{Client, Question, flight::Flights},
    name::Secret,
    password::{Checker, ScramKeys, ScramShape},
    record::{AccountRecord, ClusterRecord},
    remembered::{Found, Remembered},
};

/// Accounts whose stored hashes are remembered.
const HASHES_MAX: usize = 100_000;
/// The question to which every cluster is the answer; no other begins with this letter.
const CLUSTERS: &str = "c";

type AccountAnswer = Result<Option<AccountRecord>, LookupError>;
type ClustersAnswer = Result<Option<Vec<ClusterRecord>>, LookupError>;
type HashesAnswer = Result<Option<Vec<String>>, LookupError>;
type ClusterList = Arc<[Arc<ClusterRecord>]>;

/// The LDAP client with everything it remembers.
pub(crate) struct Lookups {
    client: Arc<Client>,
    /// Accounts and clusters; saved to a file.
    routes: Arc<Remembered>,
    /// Password hashes; never saved.
    hashes: Arc<Remembered>,
    accounts_under_way: Arc<Flights<Question, AccountAnswer>>,
    clusters_under_way: Arc<Flights<(), ClustersAnswer>>,
    hashes_under_way: Arc<Flights<String, HashesAnswer>>,
    /// Members ask for accounts by id as well, routers never do: half of their memory would be for nothing.
    ids_are_asked_for: Arc<AtomicBool>,
    checker: Checker,
    scram_shape: ArcSwap<ScramShape>,
    base: String,
    /// The list of clusters as it was read last: every login needs it, and it seldom changes.
    clusters: ArcSwapOption<(Box<[u8]>, ClusterList)>,
}

impl Lookups {
    pub(crate) fn new(settings: &DirectorySettings) -> Result<Self, SetupError> {
        let ages = Ages { fresh: settings.fresh, unknown: settings.unknown };
        Ok(Self {
            client: Arc::new(Client::new(settings)?),
            routes: Arc::new(Remembered::new(ages, settings.entries_max)),
            hashes: Arc::new(Remembered::new(ages, HASHES_MAX.min(settings.entries_max))),
            accounts_under_way: Flights::new(),
            clusters_under_way: Flights::new(),
            hashes_under_way: Flights::new(),
            ids_are_asked_for: Arc::default(),
            checker: Checker::new(),
            scram_shape: ArcSwap::default(),
            base: settings.base.clone(),
            clusters: ArcSwapOption::empty(),
        })
    }

    pub(crate) fn is_degraded(&self) -> bool {
        self.client.is_degraded()
    }

    /// Finds the account a question means.
    pub(crate) async fn account(&self, question: Question) -> Result<Option<Arc<AccountRecord>>, LookupError> {
        let name = name_of(&question);
        let found = self.routes.find::<AccountRecord>(&name);
        let answer = self.answer("account", found, || self.ask_account(question)).await?;
        Ok(answer.map(Arc::new))
    }

    /// Finds a cluster by its name.
    pub(crate) async fn cluster(&self, name: &ClusterName) -> Result<Option<Arc<ClusterRecord>>, LookupError> {
        let is_it = |cluster: &Arc<ClusterRecord>| cluster.name == *name;
        if let Some(cluster) = self.clusters().await?.iter().find(|cluster| is_it(cluster)) {
            return Ok(Some(Arc::clone(cluster)));
        }
        // It may be new: then the list is asked for again, unless that was done a moment ago.
        if self.routes.find::<()>(&missing(name)) == Found::Fresh(None) {
            return Ok(None);
        }
        let found = match self.ask_clusters().await {
            // The name of a foreign host is in no list, and must go on working while the directory is silent.
            Err(LookupError::Unavailable(_)) => return Ok(None),
            other => other?.unwrap_or_default().into_iter().map(Arc::new).find(is_it),
        };
        if found.is_none() {
            self.routes.put::<()>(&missing(name), None);
        }
        Ok(found)
    }

    /// Lists every cluster.
    pub(crate) async fn clusters(&self) -> Result<ClusterList, LookupError> {
        let found = self.routes.find_with(CLUSTERS, |bytes| self.read_clusters(bytes));
        let ask = || {
            let asked = self.ask_clusters();
            async { Ok(asked.await?.map(listed)) }
        };
        Ok(self.answer("clusters", found, ask).await?.unwrap_or_default())
    }

    /// Whether `password` is the account's.
    pub(crate) async fn verify(&self, account: &AccountRecord, password: &Secret) -> Result<bool, LookupError> {
        if password.is_empty() {
            return Ok(false);
        }
        let found = self.hashes.find::<Vec<String>>(&account.dn);
        let was_remembered = !matches!(found, Found::Miss);
        let Some(stored) = self.answer("password", found, || self.ask_hashes(account.dn.clone())).await? else {
            return self.verify_renamed(account, password).await;
        };
        if stored.is_empty() {
            return self.client.bind(&account.dn, password).await;
        }
        if self.checker.check(account.id, password, &stored).await? {
            return Ok(true);
        }
        // It may have been changed since we asked.
        match was_remembered.then_some(self.ask_hashes(account.dn.clone())) {
            Some(asked) => match asked.await {
                Ok(Some(now)) if now != stored => self.checker.check(account.id, password, &now).await,
                _ => Ok(false),
            },
            None => Ok(false),
        }
    }

    /// Does what [`Self::verify`] does for an account with another password: compute, then ask whether it has changed.
    pub(crate) async fn verify_nobody(&self, password: &Secret) {
        self.checker.check_nobody(password).await;
        let _ = self.client.passwords(&self.base).await;
    }

    /// What SCRAM-SHA-256 knows of an account's password, if anything is stored for it. For nobody it asks as well, so that it
    /// takes as long.
    ///
    /// The directory is asked each time: a client is told the salt before it can prove anything, so nothing would show
    /// that what is remembered is old.
    pub(crate) async fn scram_keys(&self, account: Option<&AccountRecord>) -> Result<Option<ScramKeys>, LookupError> {
        let dn = account.map_or(&self.base, |account| &account.dn);
        let stored = match self.ask_hashes(dn.clone()).await {
            Err(LookupError::Unavailable(outage)) => match self.hashes.find::<Vec<String>>(dn) {
                Found::Fresh(Some(stored)) | Found::Aging(stored) | Found::Stale(stored) => Some(stored),
                Found::Fresh(None) | Found::Miss => return Err(outage.into()),
            },
            other => other?,
        };
        let Some(account) = account else { return Ok(None) };
        let stored = match stored {
            Some(stored) => stored,
            // The entry is not where the record says: it was renamed, or deleted.
            None => match self.ask_account(Question::Id(account.id)).await? {
                Some(now) => self.ask_hashes(now.dn).await?.unwrap_or_default(),
                None => Vec::new(),
            },
        };
        let keys = stored.iter().find_map(|stored| ScramKeys::of_stored(stored));
        if let Some(keys) = &keys {
            self.scram_shape.store(Arc::new(keys.shape));
        }
        Ok(keys)
    }

    /// How the keys that were seen last look: what is made up has to look the same.
    pub(crate) fn scram_shape(&self) -> ScramShape {
        **self.scram_shape.load()
    }

    /// Writes routes to a file; never a hash.
    pub(crate) async fn save(&self, path: PathBuf) -> io::Result<()> {
        let routes = Arc::clone(&self.routes);
        tokio::task::spawn_blocking(move || routes.save(&path)).await?
    }

    /// Reads routes from a file, as stale answers.
    pub(crate) async fn load(&self, path: PathBuf) -> io::Result<usize> {
        let routes = Arc::clone(&self.routes);
        tokio::task::spawn_blocking(move || routes.load(&path)).await?
    }

    /// The entry is not where the record says: it was renamed, or deleted.
    async fn verify_renamed(&self, account: &AccountRecord, password: &Secret) -> Result<bool, LookupError> {
        let Some(now) = self.ask_account(Question::Id(account.id)).await? else { return Ok(false) };
        match self.ask_hashes(now.dn.clone()).await? {
            Some(stored) if !stored.is_empty() => self.checker.check(account.id, password, &stored).await,
            Some(_) => self.client.bind(&now.dn, password).await,
            None => Ok(false),
        }
    }

    /// Reads a remembered list of clusters, unless it is the same as last time.
    fn read_clusters(&self, bytes: Box<[u8]>) -> Option<ClusterList> {
        if let Some(last) = self.clusters.load().as_ref().filter(|last| last.0 == bytes) {
            return Some(Arc::clone(&last.1));
        }
        let list = listed(postcard::from_bytes(&bytes).ok()?);
        self.clusters.store(Some(Arc::new((bytes, Arc::clone(&list)))));
        Some(list)
    }

    /// Decides between what is remembered and what the directory says; see the table above.
    async fn answer<T, F>(
        &self,
        what: &'static str,
        found: Found<T>,
        ask: impl FnOnce() -> F,
    ) -> Result<Option<T>, LookupError>
    where
        F: Future<Output = Result<Option<T>, LookupError>> + Send + 'static,
        T: Send + 'static,
    {
        let count =
            |result| counter!("laniakea_directory_cache_total", "what" => what, "result" => result).increment(1);
        match found {
            Found::Fresh(answer) => {
                count("fresh");
                Ok(answer)
            }
            Found::Aging(answer) => {
                count("aging");
                if !self.is_degraded() {
                    tokio::spawn(ask());
                }
                Ok(Some(answer))
            }
            Found::Stale(answer) if self.is_degraded() => {
                // The pool's keeper finds out when the directory is back; nobody has to wait for that.
                count("stale");
                Ok(Some(answer))
            }
            Found::Stale(answer) => match ask().await {
                Err(LookupError::Unavailable(_)) => {
                    count("stale");
                    Ok(Some(answer))
                }
                other => {
                    count("expired");
                    other
                }
            },
            Found::Miss => {
                count("missed");
                ask().await
            }
        }
    }

    fn ask_account(&self, question: Question) -> impl Future<Output = AccountAnswer> + Send + use<> {
        let (client, routes) = (Arc::clone(&self.client), Arc::clone(&self.routes));
        let (flights, ids_are_asked_for) = (Arc::clone(&self.accounts_under_way), Arc::clone(&self.ids_are_asked_for));
        if matches!(question, Question::Id(_)) {
            ids_are_asked_for.store(true, Ordering::Relaxed);
        }
        async move {
            let flight = {
                let question = question.clone();
                async move || {
                    let answer = client.account(&question).await?;
                    routes.put(&name_of(&question), answer.as_ref());
                    if let Some(account) = answer.as_ref().filter(|_| ids_are_asked_for.load(Ordering::Relaxed)) {
                        routes.put(&name_of(&Question::Id(account.id)), Some(account));
                    }
                    gauge!("laniakea_directory_cached_answers").set(routes.len() as f64);
                    Ok(answer)
                }
            };
            flights.join(question, || async move { flight().await }).await.unwrap_or(Err(Outage::Broken.into()))
        }
    }

    fn ask_clusters(&self) -> impl Future<Output = ClustersAnswer> + Send + use<> {
        let (client, routes) = (Arc::clone(&self.client), Arc::clone(&self.routes));
        let flights = Arc::clone(&self.clusters_under_way);
        async move {
            let flight = async move || {
                let answer = client.clusters().await?;
                routes.put(CLUSTERS, Some(&answer));
                Ok(Some(answer))
            };
            flights.join((), || async move { flight().await }).await.unwrap_or(Err(Outage::Broken.into()))
        }
    }

    fn ask_hashes(&self, dn: String) -> impl Future<Output = HashesAnswer> + Send + use<> {
        let (client, hashes) = (Arc::clone(&self.client), Arc::clone(&self.hashes));
        let flights = Arc::clone(&self.hashes_under_way);
        async move {
            let flight = {
                let dn = dn.clone();
                async move || {
                    let answer = client.passwords(&dn).await?;
                    hashes.put(&dn, answer.as_ref());
                    Ok(answer)
                }
            };
            flights.join(dn, || async move { flight().await }).await.unwrap_or(Err(Outage::Broken.into()))
        }
    }
}

fn listed(clusters: Vec<ClusterRecord>) -> ClusterList {
    clusters.into_iter().map(Arc::new).collect()
}

/// Gives every question a text of its own.
fn name_of(question: &Question) -> String {
    match question {
        Question::Login(login) => format!("l{login}"),
        Question::Address(address) => format!("a{}", address.folded()),
        Question::CatchAll(domain) => format!("d{domain}"),
        Question::Id(AccountId(id)) => format!("i{id}"),
    }
}

/// The question whether a cluster is missing.
fn missing(name: &ClusterName) -> String {
    format!("m{name}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use laniakea_config::Profile;

    use super::*;

    fn lookups() -> Lookups {
        Lookups::new(&DirectorySettings {
            urls: vec!["ldap://127.0.0.1:1".into()],
            base: "dc=example,dc=org".into(),
            bind_dn: String::new(),
            bind_password: None,
            start_tls: false,
            ca: None,
            profile: Profile::inet_local_mail_recipient(),
            fresh: Duration::from_secs(600),
            unknown: Duration::from_secs(60),
            entries_max: 1000,
            timeout: Duration::from_secs(3),
            connections: 1,
            new_passwords: Default::default(),
            embedded: None,
        })
        .unwrap()
    }

    fn cluster(members: &[&str]) -> ClusterRecord {
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        ClusterRecord { name: ClusterName::new("cluster-1"), members }
    }

    #[tokio::test]
    async fn the_list_of_clusters_is_read_anew_when_it_has_changed() {
        let lookups = lookups();
        let name = ClusterName::new("cluster-1");
        for members in [&["a:1"][..], &["a:1", "b:1"]] {
            lookups.routes.put(CLUSTERS, Some(&vec![cluster(members)]));
            let found = lookups.cluster(&name).await.unwrap().unwrap();
            assert_eq!(*found, cluster(members));
            assert!(Arc::ptr_eq(&found, &lookups.cluster(&name).await.unwrap().unwrap()));
        }
    }
}
