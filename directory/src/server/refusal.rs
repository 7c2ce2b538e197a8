//! Why an operation is not carried out: a result code and words for a person.

use ldap3_proto::{LdapResultCode, proto::LdapResult};

/// A result other than success (RFC 4511 §4.1.9).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: LdapResultCode,
    pub(super) text: String,
    /// The deepest existing entry above one that does not exist.
    pub(super) matched: String,
}

/// Makes a refusal the result.
pub(super) fn refuse<T>(code: LdapResultCode, text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, text: text.into(), matched: String::new() })
}

impl From<Refusal> for LdapResult {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code, matcheddn: refusal.matched, message: refusal.text, referral: Vec::new() }
    }
}

impl From<crate::dn::DnError> for Refusal {
    fn from(error: crate::dn::DnError) -> Self {
        Self { code: LdapResultCode::InvalidDNSyntax, text: error.to_string(), matched: String::new() }
    }
}

/// The storage failed: nothing the client can help.
impl From<redb::Error> for Refusal {
    fn from(error: redb::Error) -> Self {
        tracing::error!(%error, "the directory's database failed");
        Self { code: LdapResultCode::Unavailable, text: "the database failed".into(), matched: String::new() }
    }
}

impl From<redb::StorageError> for Refusal {
    fn from(error: redb::StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

/// A stored entry cannot be read.
impl From<postcard::Error> for Refusal {
    fn from(error: postcard::Error) -> Self {
        tracing::error!(%error, "a stored entry is damaged");
        Self { code: LdapResultCode::Other, text: "a stored entry is damaged".into(), matched: String::new() }
    }
}

/// Returns plain success.
pub(super) fn success() -> LdapResult {
    LdapResult { code: LdapResultCode::Success, matcheddn: String::new(), message: String::new(), referral: Vec::new() }
}
