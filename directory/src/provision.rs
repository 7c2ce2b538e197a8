//! Accounts and clusters made, changed and removed, for the command line.
//!
//! Works against any LDAP server that lets the settings' name write: accounts stand under `ou=accounts`, clusters under
//! `ou=clusters`. Nothing is cached.

mod account;
mod request;

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use laniakea_config::{DirectorySettings, PasswordScheme};
use ldap3::{LdapResult, Mod};
use tokio::task::spawn_blocking;

use crate::{
    dn::Dn,
    error::{LookupError, Outage, SetupError},
    id::ClusterName,
    ldap::{Client, Question, entry},
    ldif::LdifEntry,
    name::{Address, LoginName, Secret},
    password::hash_password,
    record::{AccountRecord, ClusterRecord},
};

pub use request::{AccountChange, NewAccount, NewPassword, ProvisionError};

/// Additions under way at a time: enough to fill the server's batches.
const UNDER_WAY_MAX: usize = 256;
/// The shortest deadline of a change: a server may sync its disk for each of the changes under way.
const TIMEOUT_MIN: Duration = Duration::from_secs(60);
/// Entries of one page of a list.
const PAGE: i32 = 1000;
/// The entry above all accounts, and the one above all clusters.
const ACCOUNTS: &str = "accounts";
const CLUSTERS: &str = "clusters";
/// Both, below the base.
pub(crate) const UNITS: [&str; 2] = [ACCOUNTS, CLUSTERS];
/// How 389 Directory Server begins its `vendorVersion`.
const VENDOR_389: &str = "389-Directory/";
/// Result codes (RFC 4511 appendix A).
const SUCCESS: u32 = 0;
const NO_SUCH_OBJECT: u32 = 32;
const ENTRY_ALREADY_EXISTS: u32 = 68;

/// A connection that may change the directory, bound as the settings say.
pub struct Admin {
    client: Client,
    base: Dn,
    hashing: Hashing,
    scheme: PasswordScheme,
}

/// Who makes the stored form of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hashing {
    /// We do: the server keeps what it is given.
    Ours,
    /// The server does, as 389 Directory Server: it takes whatever has a scheme it does not know for a plain password,
    /// and lets only its root bring a hash.
    Servers,
}

impl Admin {
    /// Connects and binds.
    ///
    /// # Errors
    ///
    /// If no server can be reached or the bind is refused.
    pub async fn connect(settings: &DirectorySettings) -> Result<Self, ProvisionError> {
        let settings = &DirectorySettings { timeout: settings.timeout.max(TIMEOUT_MIN), ..settings.clone() };
        let client = Client::new(settings)?;
        client.probe().await?;
        let vendor = client.vendor().await?.unwrap_or_default();
        let hashing = if vendor.starts_with(VENDOR_389) { Hashing::Servers } else { Hashing::Ours };
        let base = Dn::parse(&settings.base).map_err(SetupError::Base)?;
        Ok(Self { client, base, hashing, scheme: settings.new_passwords })
    }

    /// Makes the entries under which accounts and clusters stand, if they are absent.
    ///
    /// # Errors
    ///
    /// If the directory refuses or cannot be reached.
    pub async fn prepare(&self) -> Result<(), ProvisionError> {
        for name in UNITS {
            let attributes = [("objectClass", "organizationalUnit"), ("ou", name)];
            let attributes = attributes.map(|(name, value)| (name.to_owned(), HashSet::from([value.to_owned()])));
            match self.add_entry(&self.base.child("ou", name), attributes.into()).await {
                Ok(()) | Err(ProvisionError::Exists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes an account.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Exists`] if its name or one of its addresses is taken; else as [`Self::prepare`].
    pub async fn add(&self, account: NewAccount) -> Result<(), ProvisionError> {
        // Servers do not keep addresses unique by themselves.
        let login = Question::Login(account.login.folded());
        let addresses = account.addresses.iter().cloned().map(Question::Address);
        for question in std::iter::once(login).chain(addresses) {
            if let Some(holder) = self.client.account(&question).await? {
                return Err(ProvisionError::Exists(holder.dn));
            }
        }
        self.add_unchecked(account).await
    }

    /// Makes many accounts at once and returns how many were new; those that exist are left as they are. Unlike
    /// [`Self::add`] it relies on the server to refuse an address that is taken.
    ///
    /// # Errors
    ///
    /// The first refusal that is not "exists already"; the others are still tried.
    pub async fn add_many(&self, accounts: Vec<NewAccount>) -> Result<usize, ProvisionError> {
        self.add_many_with(accounts, |_| {}).await
    }

    /// Does what [`Self::add_many`] does and tells after each account how many are done.
    ///
    /// # Errors
    ///
    /// As [`Self::add_many`].
    pub async fn add_many_with(
        &self,
        accounts: Vec<NewAccount>,
        mut progress: impl FnMut(usize),
    ) -> Result<usize, ProvisionError> {
        let additions = stream::iter(accounts).map(|account| self.add_unchecked(account));
        let mut outcomes = additions.buffer_unordered(UNDER_WAY_MAX);
        let (mut done, mut new, mut refused) = (0, 0, None);
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(()) => new += 1,
                Err(ProvisionError::Exists(_)) => {}
                Err(error) => refused = refused.or(Some(error)),
            }
            done += 1;
            progress(done);
        }
        refused.map_or(Ok(new), Err)
    }

    /// Makes an account without asking first whether its addresses are free, which is the server's business then; for bulk
    /// loads.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Exists`] if there is an entry of its name; else as [`Self::prepare`].
    pub async fn import(&self, account: NewAccount) -> Result<(), ProvisionError> {
        self.add_unchecked(account).await
    }

    /// Makes an entry as it stands in an LDIF file.
    ///
    /// # Errors
    ///
    /// As [`Self::import`].
    pub async fn import_entry(&self, entry: LdifEntry) -> Result<(), ProvisionError> {
        let attributes = entry.attributes.into_iter();
        let attributes = attributes.map(|(name, values)| (name.into_bytes(), values.into_iter().collect())).collect();
        let added = self.client.add::<Vec<u8>>(&entry.dn, attributes).await;
        outcome(&entry.dn, added)
    }

    /// Whether an entry of a file is an account; others may be what accounts stand under.
    #[must_use]
    pub fn is_account(&self, entry: &LdifEntry) -> bool {
        let class = self.client.profile().object_class.as_bytes();
        entry.values("objectClass").iter().any(|value| value.eq_ignore_ascii_case(class))
    }

    /// Makes of one password what many new accounts can be given: its hash, made once, unless the server hashes itself.
    pub async fn shared_password(&self, password: Secret) -> NewPassword {
        let scheme = self.scheme;
        match self.hashing {
            Hashing::Servers => NewPassword::Plain(password),
            Hashing::Ours => match spawn_blocking(move || hash_password(&password, scheme)).await {
                Ok(stored) => NewPassword::Hashed(stored),
                Err(_) => NewPassword::Absent,
            },
        }
    }

    /// Finds an account by login name or address.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Absent`] if there is none.
    pub async fn show(&self, name: &str) -> Result<AccountRecord, ProvisionError> {
        let absent = || ProvisionError::Absent(name.to_owned());
        let login = LoginName::parse(name).map_err(|_| absent())?;
        if let Some(account) = self.client.account(&Question::Login(login.folded())).await? {
            return Ok(account);
        }
        let address = Address::parse(name).map_err(|_| absent())?;
        self.client.account(&Question::Address(address)).await?.ok_or_else(absent)
    }

    /// Lists every account; entries that cannot be understood are left out and logged.
    ///
    /// # Errors
    ///
    /// If the directory cannot be asked.
    pub async fn list(&self) -> Result<Vec<AccountRecord>, ProvisionError> {
        Ok(self.client.accounts(PAGE).await?)
    }

    /// Changes an account, all changes at once or none.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Absent`] if there is none; else as [`Self::prepare`].
    pub async fn set(&self, name: &str, changes: Vec<AccountChange>) -> Result<(), ProvisionError> {
        let dn = self.show(name).await?.dn;
        let entry = self.client.entry(&dn).await?.ok_or_else(|| ProvisionError::Absent(dn.clone()))?;
        let mut stored = Vec::new();
        for change in &changes {
            if let AccountChange::Password(password) = change {
                stored.push(self.hashed(password.clone()).await?);
            }
        }
        let mods = account::modifications(self.client.profile(), &entry, &changes, stored.into_iter());
        if mods.is_empty() {
            return Ok(());
        }
        self.modify_entry(&dn, mods).await
    }

    /// Deletes an account's entry; its mail stays where it is.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Absent`] if there is none; else as [`Self::prepare`].
    pub async fn delete(&self, name: &str) -> Result<(), ProvisionError> {
        let dn = self.show(name).await?.dn;
        self.delete_entry(&dn).await
    }

    /// Makes a cluster's entry, or replaces its members.
    ///
    /// # Errors
    ///
    /// As [`Self::prepare`].
    pub async fn put_cluster(&self, cluster: &ClusterRecord) -> Result<(), ProvisionError> {
        let dn = self.cluster_dn(&cluster.name);
        let members: HashSet<String> = cluster.members.iter().cloned().collect();
        let one = |value: &str| HashSet::from([value.to_owned()]);
        let mut attributes = vec![
            ("objectClass".to_owned(), one(entry::CLUSTER_CLASS)),
            (entry::CLUSTER_NAME.to_owned(), one(cluster.name.as_str())),
        ];
        if !members.is_empty() {
            attributes.push((entry::CLUSTER_MEMBER.to_owned(), members.clone()));
        }
        match self.add_entry(&dn, attributes).await {
            Err(ProvisionError::Exists(_)) => {
                let members = Mod::Replace(entry::CLUSTER_MEMBER.to_owned(), members);
                self.modify_entry(&dn.to_string(), vec![members]).await
            }
            other => other,
        }
    }

    /// Lists every cluster.
    ///
    /// # Errors
    ///
    /// If the directory cannot be asked.
    pub async fn clusters(&self) -> Result<Vec<ClusterRecord>, ProvisionError> {
        Ok(self.client.clusters().await?)
    }

    /// Deletes a cluster's entry.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Absent`] if there is none; else as [`Self::prepare`].
    pub async fn delete_cluster(&self, name: &ClusterName) -> Result<(), ProvisionError> {
        self.delete_entry(&self.cluster_dn(name).to_string()).await
    }

    fn cluster_dn(&self, name: &ClusterName) -> Dn {
        self.base.child("ou", CLUSTERS).child(entry::CLUSTER_NAME, name.as_str())
    }

    async fn add_unchecked(&self, account: NewAccount) -> Result<(), ProvisionError> {
        let profile = self.client.profile();
        let stored = self.hashed(account.password.clone()).await?;
        let dn = account::dn(profile, &self.base.child("ou", ACCOUNTS), &account);
        self.add_entry(&dn, account::attributes(profile, &account, stored.as_deref())).await
    }

    /// Makes what the server is given as the password, on a thread that may block.
    async fn hashed(&self, password: NewPassword) -> Result<Option<String>, ProvisionError> {
        let scheme = self.scheme;
        Ok(match password {
            NewPassword::Plain(secret) if self.hashing == Hashing::Servers => {
                let text = String::from_utf8(secret.expose().to_vec()).map_err(|_| ProvisionError::PasswordNotText)?;
                Some(text)
            }
            NewPassword::Plain(secret) => spawn_blocking(move || hash_password(&secret, scheme)).await.ok(),
            // It would be taken for a plain password, and open the account to whoever knows the hash.
            NewPassword::Hashed(stored) if self.hashing == Hashing::Servers && !is_known_to_389(&stored) => {
                return Err(ProvisionError::SchemeUnknown);
            }
            NewPassword::Hashed(stored) => Some(stored),
            NewPassword::Absent => None,
        })
    }

    async fn add_entry(&self, dn: &Dn, attributes: account::Attributes) -> Result<(), ProvisionError> {
        let dn = Arc::<str>::from(dn.to_string());
        let added = self.client.add(&dn, attributes).await;
        outcome(&dn, added)
    }

    async fn modify_entry(&self, dn: &str, mods: Vec<Mod<String>>) -> Result<(), ProvisionError> {
        outcome(dn, self.client.modify(dn, mods).await)
    }

    async fn delete_entry(&self, dn: &str) -> Result<(), ProvisionError> {
        outcome(dn, self.client.delete(dn).await)
    }
}

/// Describes the entry of a new account, its password hashed, for a directory that is filled while it does not run.
///
/// # Errors
///
/// If the settings' base is malformed.
pub fn describe(settings: &DirectorySettings, account: &NewAccount) -> Result<LdifEntry, SetupError> {
    let base = Dn::parse(&settings.base).map_err(SetupError::Base)?;
    let stored = match &account.password {
        NewPassword::Plain(secret) => Some(hash_password(secret, settings.new_passwords)),
        NewPassword::Hashed(stored) => Some(stored.clone()),
        NewPassword::Absent => None,
    };
    let attributes = account::attributes(&settings.profile, account, stored.as_deref()).into_iter();
    let bytes = |values: HashSet<String>| values.into_iter().map(String::into_bytes).collect();
    Ok(LdifEntry {
        line: 0,
        dn: account::dn(&settings.profile, &base.child("ou", ACCOUNTS), account).to_string(),
        attributes: attributes.map(|(name, values)| (name, bytes(values))).collect(),
    })
}

/// Whether 389 Directory Server knows the scheme of a stored password.
fn is_known_to_389(stored: &str) -> bool {
    let scheme = stored.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(scheme, _)| scheme);
    let scheme = scheme.to_ascii_uppercase();
    ["SSHA", "SHA", "SMD5", "MD5", "CRYPT", "PBKDF2"].iter().any(|known| scheme.starts_with(known))
}

fn outcome(dn: &str, result: Result<LdapResult, Outage>) -> Result<(), ProvisionError> {
    let result = result.map_err(LookupError::from)?;
    match result.rc {
        SUCCESS => Ok(()),
        ENTRY_ALREADY_EXISTS => Err(ProvisionError::Exists(dn.to_owned())),
        NO_SUCH_OBJECT => Err(ProvisionError::Absent(dn.to_owned())),
        code => Err(ProvisionError::Refused { dn: dn.to_owned(), code, text: result.text }),
    }
}
