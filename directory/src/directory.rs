//! The directory as everybody else sees it.

use std::{io, path::Path, sync::Arc};

use laniakea_config::DirectorySettings;

use crate::{
    error::{LookupError, SetupError},
    id::{AccountId, ClusterName},
    ldap::Question,
    lookup::Lookups,
    memory::Table,
    name::{Address, LoginName, Secret},
    password::{ScramKeys, ScramShape},
    record::{AccountRecord, ClusterRecord},
    resolve::{Resolution, Resolver, Step},
};

/// Looks accounts and clusters up and checks passwords; cheap to clone.
///
/// `Ok(None)` always means *positively unknown*: the directory was asked and has no such entry.
#[derive(Clone)]
pub struct Directory {
    source: Arc<Source>,
}

/// Where the answers come from.
enum Source {
    Memory(Table),
    Ldap(Lookups),
}

impl Directory {
    /// Prepares the LDAP client; succeeds while every server is down. Call it inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// Only if the settings cannot be used at all: a bad URL, an unreadable file.
    pub fn connect(settings: &DirectorySettings) -> Result<Self, SetupError> {
        Ok(Self { source: Arc::new(Source::Ldap(Lookups::new(settings)?)) })
    }

    /// Makes a directory of a table, for tests.
    #[must_use]
    pub fn in_memory(accounts: Vec<(AccountRecord, Secret)>, clusters: Vec<ClusterRecord>) -> Self {
        Self { source: Arc::new(Source::Memory(Table::new(accounts, clusters))) }
    }

    /// Finds the account a client means that logs in as `login`.
    ///
    /// # Errors
    ///
    /// If the directory is unavailable and nothing is remembered, or if several entries match.
    pub async fn account_by_login(&self, login: &LoginName) -> Result<Option<Arc<AccountRecord>>, LookupError> {
        match &*self.source {
            Source::Memory(table) => table.by_login(login),
            Source::Ldap(lookups) => lookups.account(Question::Login(login.folded())).await,
        }
    }

    /// Finds the account mail for `address` belongs to: the exact address first, then without its `+detail`, then whoever
    /// has `@domain`, the catch-all of its domain.
    ///
    /// # Errors
    ///
    /// As [`Self::account_by_login`].
    pub async fn account_by_address(&self, address: &Address) -> Result<Option<Arc<AccountRecord>>, LookupError> {
        let exact = self.account_by_exact_address(address).await?;
        if exact.is_some() {
            return Ok(exact);
        }
        if address.detail().is_some()
            && let Some(base) = self.account_by_exact_address(&address.base()).await?
        {
            return Ok(Some(base));
        }
        match &*self.source {
            Source::Memory(_) => Ok(None),
            Source::Ldap(lookups) => lookups.account(Question::CatchAll(address.domain().to_lowercase())).await,
        }
    }

    /// Finds out what becomes of mail for `address`, following forwards.
    ///
    /// # Errors
    ///
    /// As [`Self::account_by_login`].
    pub async fn resolve(&self, address: &Address) -> Result<Resolution, LookupError> {
        let mut resolver = Resolver::new(address.clone());
        let mut next = resolver.first().clone();
        loop {
            match resolver.found(self.account_by_address(&next).await?) {
                Step::LookUp(address) => next = address,
                Step::Done(resolution) => return Ok(resolution),
            }
        }
    }

    /// Finds an account by its lifelong id.
    ///
    /// # Errors
    ///
    /// As [`Self::account_by_login`].
    pub async fn account_by_id(&self, id: AccountId) -> Result<Option<Arc<AccountRecord>>, LookupError> {
        match &*self.source {
            Source::Memory(table) => Ok(table.by_id(id)),
            Source::Ldap(lookups) => lookups.account(Question::Id(id)).await,
        }
    }

    /// Finds a cluster by the name that accounts have in `mailHost`.
    ///
    /// # Errors
    ///
    /// As [`Self::account_by_login`].
    pub async fn cluster(&self, name: &ClusterName) -> Result<Option<Arc<ClusterRecord>>, LookupError> {
        match &*self.source {
            Source::Memory(table) => Ok(table.cluster(name)),
            Source::Ldap(lookups) => lookups.cluster(name).await,
        }
    }

    /// Lists every cluster.
    ///
    /// # Errors
    ///
    /// As [`Self::account_by_login`].
    pub async fn clusters(&self) -> Result<Vec<Arc<ClusterRecord>>, LookupError> {
        match &*self.source {
            Source::Memory(table) => Ok(table.clusters()),
            Source::Ldap(lookups) => Ok(lookups.clusters().await?.to_vec()),
        }
    }

    /// Whether `password` is the account's. An empty password never is (RFC 4513 §5.1.2).
    ///
    /// # Errors
    ///
    /// If the stored hash cannot be had, or too many checks are waiting.
    pub async fn verify(&self, account: &AccountRecord, password: &Secret) -> Result<bool, LookupError> {
        match &*self.source {
            Source::Memory(table) => Ok(!password.is_empty() && table.verify(account.id, password)),
            Source::Ldap(lookups) => lookups.verify(account, password).await,
        }
    }

    /// Takes as long as [`Self::verify`] does, for accounts that do not exist.
    pub async fn verify_nobody(&self, password: &Secret) {
        match &*self.source {
            Source::Memory(_) => {}
            Source::Ldap(lookups) => lookups.verify_nobody(password).await,
        }
    }

    /// Returns what SCRAM-SHA-256 knows of an account's password. Where there is nothing to know (no such account, or a
    /// password stored in another way) it makes keys up that look the same and open nothing, from `secret`.
    ///
    /// # Errors
    ///
    /// If what is stored cannot be had.
    pub async fn scram_keys(
        &self,
        account: Option<&AccountRecord>,
        login: &LoginName,
        secret: &[u8],
    ) -> Result<ScramKeys, LookupError> {
        let (keys, shape) = match &*self.source {
            Source::Memory(table) => (account.and_then(|account| table.scram_keys(account.id)), ScramShape::default()),
            Source::Ldap(lookups) => (lookups.scram_keys(account).await?, lookups.scram_shape()),
        };
        // One account has several names, and is to be asked for the same thing by each.
        let made_up = || match account {
            Some(account) => ScramKeys::made_up(secret, account.id.0.as_bytes(), shape),
            None => ScramKeys::made_up(secret, login.folded().as_bytes(), shape),
        };
        Ok(keys.unwrap_or_else(made_up))
    }

    /// Writes what is remembered to a file, for the next start. Never a password hash.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; nothing depends on it.
    pub async fn save_cache(&self, path: &Path) -> io::Result<()> {
        match &*self.source {
            Source::Memory(_) => Ok(()),
            Source::Ldap(lookups) => lookups.save(path.to_owned()).await,
        }
    }

    /// Reads what an earlier process remembered and returns how many answers that were. Its answers count as stale: they
    /// are used only while the directory cannot be reached.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is damaged; the cache is then empty, which does no harm.
    pub async fn load_cache(&self, path: &Path) -> io::Result<usize> {
        match &*self.source {
            Source::Memory(_) => Ok(0),
            Source::Ldap(lookups) => lookups.load(path.to_owned()).await,
        }
    }

    /// Whether answers may be stale because no server can be reached.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        match &*self.source {
            Source::Memory(_) => false,
            Source::Ldap(lookups) => lookups.is_degraded(),
        }
    }

    async fn account_by_exact_address(&self, address: &Address) -> Result<Option<Arc<AccountRecord>>, LookupError> {
        match &*self.source {
            Source::Memory(table) => table.by_address(address),
            Source::Ldap(lookups) => lookups.account(Question::Address(address.clone())).await,
        }
    }
}
