//! What may be asked of provisioning, and why it may fail.

use crate::{
    error::{LookupError, SetupError},
    name::{Address, LoginName, Secret},
    record::Status,
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
    /// The server hashes passwords itself and can be given only text.
    #[error("the password is not UTF-8, which this directory server cannot be given")]
    PasswordNotText,
    /// The server would take this stored form for a plain password.
    #[error(
        "the directory server does not know the scheme of this password hash; give {{SSHA512}} or {{PBKDF2-SHA512}}"
    )]
    SchemeUnknown,
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
