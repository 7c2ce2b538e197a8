//! Accounts and clusters in LDAP: client with cache, embedded server, provisioning.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
