//! The LDAP client: questions in, records out. Remembers nothing; the cache stands in front of it.
//!
//! Architecture invariant: a filter is built by [`filter::Filter`] alone, a bind with a password never uses a connection
//! that anybody else uses, and no bind is ever made with an empty password.

mod bind;
mod connect;
pub(crate) mod entry;
pub(crate) mod filter;
pub(crate) mod flight;
mod health;
mod pool;
mod write;

use std::sync::Arc;

use laniakea_config::{DirectorySettings, Profile};
use ldap3::{Scope, SearchEntry};
use metrics::{counter, histogram};
use tokio::time::Instant;

use self::{
    filter::Filter,
    pool::{Pool, Query},
};
use crate::{
    error::{Inconsistency, LookupError, Outage, SetupError},
    id::AccountId,
    name::{Address, Secret},
    record::{AccountRecord, ClusterRecord},
};

/// Attribute of the root entry that names the server's program.
const VENDOR: &str = "vendorVersion";
/// Result code noSuchObject.
const NO_SUCH_OBJECT: u32 = 32;
/// Result code sizeLimitExceeded: more entries match than we asked for.
const SIZE_LIMIT_EXCEEDED: u32 = 4;

/// Asks the directory.
pub(crate) struct Client {
    pool: Arc<Pool>,
    base: String,
    profile: Profile,
    account_attributes: Arc<[String]>,
}

/// What identifies the account that is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    /// A login name in lower case.
    Login(String),
    /// An address.
    Address(Address),
    /// A domain, in lower case: who gets the mail for its addresses that nobody else has.
    CatchAll(String),
    /// The id for life.
    Id(AccountId),
}

impl Client {
    /// Prepares the client; connects to nobody yet.
    pub(crate) fn new(settings: &DirectorySettings) -> Result<Self, SetupError> {
        Ok(Self {
            pool: Pool::new(settings)?,
            base: settings.base.clone(),
            account_attributes: entry::account_attributes(&settings.profile).into(),
            profile: settings.profile.clone(),
        })
    }

    pub(crate) fn is_degraded(&self) -> bool {
        self.pool.is_degraded()
    }

    /// Finds the one account that the question means.
    pub(crate) async fn account(&self, question: &Question) -> Result<Option<AccountRecord>, LookupError> {
        let query = Query {
            base: self.base.clone(),
            scope: Scope::Subtree,
            filter: self.filter(question),
            attributes: Arc::clone(&self.account_attributes),
            // Two are enough to know that it is not one.
            max: 2,
        };
        let entries = self.ask("account", &query).await?;
        match entries.as_slice() {
            [] => Ok(None),
            [entry] => Ok(Some(entry::account(&self.profile, entry)?)),
            several => {
                let names: Vec<String> = several.iter().map(|entry| entry.dn.clone()).collect();
                tracing::warn!(filter = %query.filter, ?names, "several entries match");
                Err(Inconsistency::SeveralEntries(names.into()).into())
            }
        }
    }

    /// Reads the stored password hashes of an entry; `None` if there is no such entry.
    pub(crate) async fn passwords(&self, dn: &str) -> Result<Option<Vec<String>>, LookupError> {
        let query = Query {
            base: dn.to_owned(),
            scope: Scope::Base,
            filter: Filter::present("objectClass"),
            attributes: Arc::new([self.profile.password.clone()]),
            max: 1,
        };
        let entries = match self.ask("password", &query).await {
            Err(LookupError::Unavailable(Outage::Refused(NO_SUCH_OBJECT))) => return Ok(None),
            other => other?,
        };
        let Some(entry) = entries.first() else { return Ok(None) };
        let values = entry.attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(&self.profile.password));
        Ok(Some(values.map(|(_, values)| values.clone()).unwrap_or_default()))
    }

    /// Lists every cluster.
    pub(crate) async fn clusters(&self) -> Result<Vec<ClusterRecord>, LookupError> {
        let query = Query {
            base: self.base.clone(),
            scope: Scope::Subtree,
            filter: Filter::equal("objectClass", entry::CLUSTER_CLASS),
            attributes: Arc::new([entry::CLUSTER_NAME.to_owned(), entry::CLUSTER_MEMBER.to_owned()]),
            max: 0,
        };
        self.ask("clusters", &query).await?.iter().map(entry::cluster).collect()
    }

    /// Lets the server check a password, by a bind on a connection of its own.
    pub(crate) async fn bind(&self, dn: &str, password: &Secret) -> Result<bool, LookupError> {
        bind::check(&self.pool, dn, password).await
    }

    /// Asks for as little as possible, to find out whether somebody answers.
    pub(crate) async fn probe(&self) -> Result<(), LookupError> {
        Ok(self.pool.probe().await?)
    }

    /// Reads from the root entry who made the server (RFC 3045), if it says so.
    pub(crate) async fn vendor(&self) -> Result<Option<String>, LookupError> {
        let query = Query {
            base: String::new(),
            scope: Scope::Base,
            filter: Filter::present("objectClass"),
            attributes: Arc::new([VENDOR.to_owned()]),
            max: 1,
        };
        let entries = self.ask("root", &query).await?;
        let values =
            entries.first().and_then(|entry| entry.attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(VENDOR)));
        Ok(values.and_then(|(_, values)| values.first().cloned()))
    }

    async fn ask(&self, what: &'static str, query: &Query) -> Result<Vec<SearchEntry>, LookupError> {
        let start = Instant::now();
        let outcome = self.pool.search(query).await;
        histogram!("laniakea_directory_lookup_seconds", "what" => what).record(start.elapsed());
        let result = if outcome.is_ok() { "answered" } else { "failed" };
        counter!("laniakea_directory_lookups_total", "what" => what, "result" => result).increment(1);
        let (entries, result) = outcome?;
        // Referrals in between are not entries.
        let entries = entries.into_iter().filter(|entry| !entry.is_ref());
        let entries: Vec<SearchEntry> = entries.map(entry::read).collect::<Option<_>>().ok_or(Outage::Garbled)?;
        match result.rc {
            0 => Ok(entries),
            SIZE_LIMIT_EXCEEDED if entries.len() > 1 => Ok(entries),
            // A base that is absent, a limit, a missing right: none of them says "unknown".
            code => Err(Outage::Refused(code).into()),
        }
    }

    fn filter(&self, question: &Question) -> Filter {
        let one_of = |names: &[String], values: &[&str]| {
            Filter::any(names.iter().flat_map(|name| values.iter().map(move |value| Filter::equal(name, value))))
        };
        let who = match question {
            Question::Login(login) => one_of(&self.profile.login, &[login]),
            Question::Address(address) => {
                let (plain, quoted) = (address.as_unquoted(), address.to_string());
                // Directories hold either form of a local part that needs quotes.
                if plain == quoted {
                    one_of(&self.profile.address, &[plain])
                } else {
                    one_of(&self.profile.address, &[plain, &quoted])
                }
            }
            // As draft-lachman-laser-ldap-mail-routing-02 §3 writes it: the address without its local part.
            Question::CatchAll(domain) => one_of(&self.profile.address, &[&format!("@{domain}")]),
            Question::Id(id) => entry::id_filter(&self.profile.id, *id),
        };
        Filter::all([Filter::equal("objectClass", &self.profile.object_class), who])
    }
}
