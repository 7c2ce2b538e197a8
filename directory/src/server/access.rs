//! Who may do what.
//!
//! The administrator may do everything. An entry that has bound may read itself, without its password, and change its own
//! password. Anybody may read the root DSE and the subschema, and bind.

use super::{
    entry::Entry,
    refusal::{Refusal, refuse},
};
use crate::dn::Dn;
use ldap3_proto::LdapResultCode as Code;

/// The key of the one attribute that only the administrator sees.
pub(super) const PASSWORD_KEY: &str = "userpassword";

/// What a connection has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rights {
    Anonymous,
    /// The entry with this path.
    Own(String),
    Admin,
}

impl Rights {
    /// Whether the entry's existence may be told.
    pub(super) fn may_see(&self, entry: &Entry) -> bool {
        match self {
            Self::Admin => true,
            Self::Anonymous => false,
            Self::Own(path) => Dn::parse(&entry.dn).is_ok_and(|dn| dn.path() == *path),
        }
    }

    /// Whether values of the attribute with this key may be told, or tried by a filter.
    pub(super) fn may_read(&self, entry: &Entry, key: &str) -> bool {
        match self {
            Self::Admin => true,
            Self::Own(_) | Self::Anonymous => key != PASSWORD_KEY && self.may_see(entry),
        }
    }

    /// Whether any search below the root DSE may be begun.
    pub(super) fn check_search(&self) -> Result<(), Refusal> {
        match self {
            Self::Admin | Self::Own(_) => Ok(()),
            Self::Anonymous => refuse(Code::InsufficentAccessRights, "bind first"),
        }
    }

    pub(super) fn check_write(&self) -> Result<(), Refusal> {
        match self {
            Self::Admin => Ok(()),
            Self::Own(_) | Self::Anonymous => refuse(Code::InsufficentAccessRights, "only the administrator may write"),
        }
    }

    /// Whether the password of the entry with this path may be set.
    pub(super) fn check_password(&self, path: &str) -> Result<(), Refusal> {
        match self {
            Self::Admin => Ok(()),
            Self::Own(own) if own == path => Ok(()),
            Self::Own(_) | Self::Anonymous => refuse(Code::InsufficentAccessRights, "not your password"),
        }
    }
}
