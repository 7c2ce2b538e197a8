//! Names that stay the same for life: of accounts, clusters and members.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identifies one account for the whole of its life, whatever its addresses become.
///
/// It is the entry's `entryUUID` (RFC 4530), so a renamed account keeps its mail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(pub Uuid);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountId({})", self.0)
    }
}

impl FromStr for AccountId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// Defines a cheaply cloned name that is compared as it is written.
macro_rules! shared_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the name as it stands in the configuration or the directory.
            #[must_use]
            pub fn new(name: &str) -> Self {
                Self(Arc::from(name))
            }

            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }
    };
}

shared_name! {
    /// Names a cluster: the value of `mailHost` in its accounts.
    ClusterName
}

shared_name! {
    /// Names one member, unique in the installation.
    MemberName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_survives_text() {
        let id = AccountId(Uuid::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788));
        assert_eq!(id.to_string().parse::<AccountId>().unwrap(), id);
        assert_eq!(id.to_string(), "12345678-9abc-def0-1122-334455667788");
    }

    #[test]
    fn names_print_as_they_were_given() {
        assert_eq!(ClusterName::new("cluster-1").to_string(), "cluster-1");
        assert_eq!(MemberName::new("cluster-1-a").as_str(), "cluster-1-a");
    }
}
