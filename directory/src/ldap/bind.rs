//! Checking a password by bind (RFC 4513 §5.1.3), where the directory does not show the hash.

use tokio::time::timeout;

use super::{
    connect::outage,
    pool::{Pool, guarded},
};
use crate::{
    error::{LookupError, Outage},
    name::Secret,
};

/// Result codes by which a server says "not with this password": inappropriateAuthentication, invalidCredentials,
/// unwillingToPerform.
const WRONG: [u32; 3] = [48, 49, 53];

/// Binds as `dn`. A bind must be alone on its connection, so it gets a new one.
pub(super) async fn check(pool: &Pool, dn: &str, password: &Secret) -> Result<bool, LookupError> {
    // RFC 4513 §5.1.2: an empty password would succeed and prove nothing; so would an empty name.
    if password.is_empty() || dn.is_empty() {
        return Ok(false);
    }
    let Ok(text) = std::str::from_utf8(password.expose()) else { return Ok(false) };
    let live = pool.open_unbound().await?;
    let mut ldap = live.handle();
    let binding = guarded(async { ldap.simple_bind(dn, text).await.map_err(|error| outage(&error)) });
    let bound = timeout(pool.timeout(), binding).await.map_err(|_| Outage::TimedOut)?;
    match bound?.rc {
        0 => Ok(true),
        code if WRONG.contains(&code) => Ok(false),
        code => Err(Outage::Refused(code).into()),
    }
}
