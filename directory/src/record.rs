//! What the directory says about one account or one cluster.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AccountId, ClusterName},
    name::Address,
};

/// One account: who it is, where it lives, what may be done with it. Never its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Identifies the account for life.
    pub id: AccountId,
    /// The entry's distinguished name, for reading its password hash and for people.
    pub dn: String,
    /// The login name the directory lists first.
    pub login: String,
    /// Every address that is delivered here.
    pub addresses: Vec<Address>,
    /// The home cluster's name, or a foreign host; empty if the entry names none.
    pub mail_host: String,
    /// Where mail goes instead, if anywhere.
    pub forward: Option<Address>,
    /// What may be done with the account.
    pub status: Status,
    /// Bytes the account may hold, if limited.
    pub quota: Option<u64>,
}

/// One cluster: its name, and members to start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// The value of `mailHost` in its accounts.
    pub name: ClusterName,
    /// Handoff addresses, `host:port`; the cluster itself tells who is alive.
    pub members: Vec<String>,
}

/// Whether an account may log in and get mail.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Everything is allowed; also the meaning of an absent value.
    Active,
    /// Mail is delivered, nobody logs in.
    NoLogin,
    /// For the moment neither: mail waits, nobody logs in.
    Maintenance,
    /// Neither, for good: mail is refused.
    Disabled,
    /// A value we do not know: treated like maintenance, since a guess could lose mail.
    Unrecognised(String),
}

/// What a [`Status`] means for mail that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// Take it.
    Deliver,
    /// Ask the sender to try later (4xx).
    Defer,
    /// Refuse it for good (5xx).
    Refuse,
}

impl Status {
    /// Reads a status value; other systems' words for the same states are understood.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        match value.trim().to_ascii_lowercase().as_str() {
            "active" | "enabled" => Self::Active,
            // `nopop` is qmail-ldap's word, `locked` and `lockout` are Zimbra's.
            "nologin" | "nopop" | "locked" | "lockout" => Self::NoLogin,
            // `inactive` is a transient failure in the iPlanet schema.
            "maintenance" | "inactive" => Self::Maintenance,
            "disabled" | "closed" | "pending" | "deleted" => Self::Disabled,
            _ => Self::Unrecognised(value.to_owned()),
        }
    }

    /// Returns the value as it stands in the directory.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Active => "active",
            Self::NoLogin => "nologin",
            Self::Maintenance => "maintenance",
            Self::Disabled => "disabled",
            Self::Unrecognised(value) => value,
        }
    }

    /// Whether the account's owner may log in.
    #[must_use]
    pub fn may_log_in(&self) -> bool {
        match self {
            Self::Active => true,
            Self::NoLogin | Self::Maintenance | Self::Disabled | Self::Unrecognised(_) => false,
        }
    }

    /// What is to be done with mail for the account.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Active | Self::NoLogin => Delivery::Deliver,
            Self::Maintenance | Self::Unrecognised(_) => Delivery::Defer,
            Self::Disabled => Delivery::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_status_defers_and_never_bounces() {
        let status = Status::parse("on-holiday");
        assert_eq!(status.delivery(), Delivery::Defer);
        assert!(!status.may_log_in());
        assert_eq!(status.as_str(), "on-holiday");
    }

    #[test]
    fn words_of_other_systems_are_understood() {
        assert_eq!(Status::parse("NoPop"), Status::NoLogin);
        assert_eq!(Status::parse("closed"), Status::Disabled);
        assert_eq!(Status::parse("inactive").delivery(), Delivery::Defer);
        assert_eq!(Status::parse("locked").delivery(), Delivery::Deliver);
    }
}
