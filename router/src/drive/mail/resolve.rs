//! RCPT TO: what the directory says of a recipient, as a reply.
//!
//! A permanent refusal is given only on positive knowledge; whatever the directory cannot say is a temporary failure.

use std::sync::Arc;

use laniakea_directory::{
    AccountRecord, Address, Directory,
    resolve::{Deferral, Resolution},
};

use crate::wire::smtp::{Mailbox, Reply};

/// The account a recipient leads to, or why it is refused.
pub type Verdict = Result<Arc<AccountRecord>, Reply>;

/// Where mail for a recipient belongs.
#[derive(Debug, Clone)]
pub enum Destination {
    /// To this account.
    Account(Arc<AccountRecord>),
    /// To another site.
    Outside,
}

/// Looks up whom a recipient means. `domain` is the installation's own.
///
/// # Errors
///
/// With why the recipient is refused, here and everywhere.
pub async fn destination(directory: &Directory, recipient: &Mailbox, domain: &str) -> Result<Destination, Reply> {
    // An address that breaks the directory's rules belongs to no account.
    let Ok(address) = Address::parse(recipient.as_str()) else { return unknown(recipient.domain(), domain) };
    match directory.resolve(&address).await {
        Ok(resolution) => judge(resolution, &address, domain),
        Err(error) => {
            tracing::info!(%error, recipient = %recipient, "recipient could not be looked up");
            Err(Reply::new(451, (4, 3, 0), "directory temporarily unavailable"))
        }
    }
}

/// Looks up whom a recipient means, among our own.
pub async fn resolve(directory: &Directory, recipient: &Mailbox, domain: &str) -> Verdict {
    match destination(directory, recipient, domain).await? {
        Destination::Account(account) => Ok(account),
        Destination::Outside => Err(relaying_denied()),
    }
}

/// The answer to whoever may not send mail to other sites.
#[must_use]
pub fn relaying_denied() -> Reply {
    Reply::new(550, (5, 7, 1), "no such account here, relaying denied")
}

fn judge(resolution: Resolution, address: &Address, domain: &str) -> Result<Destination, Reply> {
    match resolution {
        Resolution::Account(account) => Ok(Destination::Account(account)),
        Resolution::Unknown => unknown(address.domain(), domain),
        // The account's mail goes to another site: that would be relaying, which nothing here does yet.
        Resolution::Forward(_) => Err(Reply::new(550, (5, 7, 1), "forwarded to another site: relaying denied")),
        Resolution::Refused(_) => Err(Reply::new(550, (5, 2, 1), "account disabled")),
        Resolution::Deferred(Deferral::Maintenance(_) | Deferral::UnrecognisedStatus(_)) => {
            Err(Reply::new(451, (4, 2, 1), "account under maintenance"))
        }
        Resolution::Deferred(deferral @ (Deferral::NoHome(_) | Deferral::ForwardLoop(_))) => {
            tracing::warn!(?deferral, "the directory is inconsistent about a recipient");
            Err(Reply::new(451, (4, 3, 0), "directory inconsistent"))
        }
    }
}

/// Nobody here has the address: in our own domain that is all there is to say, elsewhere others may know.
fn unknown(recipient_domain: &str, domain: &str) -> Result<Destination, Reply> {
    if recipient_domain.eq_ignore_ascii_case(domain) {
        Err(Reply::new(550, (5, 1, 1), "no such account"))
    } else {
        Ok(Destination::Outside)
    }
}

#[cfg(test)]
mod tests {
    use laniakea_directory::{AccountId, Secret, Status};

    use super::*;

    fn account(address: &str, status: Status, forward: Option<&str>) -> (AccountRecord, Secret) {
        let address = Address::parse(address).unwrap();
        let record = AccountRecord {
            id: AccountId(uuid::Uuid::from_u128(address.local().len() as u128)),
            dn: String::new(),
            login: address.local().into(),
            addresses: vec![address],
            mail_host: "one".into(),
            forward: forward.map(|address| Address::parse(address).unwrap()),
            status,
            quota: None,
        };
        (record, Secret::default())
    }

    async fn code(recipient: &str) -> String {
        let directory = Directory::in_memory(
            vec![
                account("a@x.example", Status::Active, None),
                account("bb@x.example", Status::Disabled, None),
                account("ccc@x.example", Status::Maintenance, None),
                account("dddd@x.example", Status::Unrecognised("odd".into()), None),
                account("eeeee@x.example", Status::Active, Some("a@x.example")),
                account("ffffff@x.example", Status::Active, Some("out@elsewhere.example")),
            ],
            vec![],
        );
        match resolve(&directory, &Mailbox::parse(recipient).unwrap(), "x.example").await {
            Ok(account) => account.login.clone(),
            Err(reply) => format!("{} {}", reply.code, reply.enhanced.unwrap()),
        }
    }

    #[tokio::test]
    async fn only_positive_knowledge_refuses_for_good() {
        for (recipient, expected) in [
            ("A@X.example", "a"),
            ("a+detail@x.example", "a"),
            ("eeeee@x.example", "a"),
            ("nobody@x.example", "550 5.1.1"),
            ("someone@elsewhere.example", "550 5.7.1"),
            ("bb@x.example", "550 5.2.1"),
            ("ccc@x.example", "451 4.2.1"),
            ("dddd@x.example", "451 4.2.1"),
            ("ffffff@x.example", "550 5.7.1"),
        ] {
            assert_eq!(code(recipient).await, expected, "{recipient}");
        }
    }
}
