//! Accounts and clusters in LDAP: client with cache, embedded server, provisioning.
//!
//! The map, from the reader's side:
//!
//! - [`id`], [`name`], [`record`]: the words everybody else uses for accounts, clusters and addresses.
//! - [`Directory`]: looks accounts and clusters up and checks passwords; the cached LDAP client, or a table in memory.
//! - [`resolve`]: what becomes of mail for an address; pure.
//! - [`password`]: the stored forms of passwords; pure, and the bounded threads that compute them.
//! - [`provision`]: accounts and clusters made, changed and removed, for the command line.
//! - [`ldif`]: entries as text, for bulk loads.
//! - [`schema`]: what entries look like, and the files that teach it to other servers.
//! - [`server`]: the LDAP server of installations that run none of their own.
//! - `ldap`, `cache`, `remembered`, `lookup`: private; how the client talks, what it remembers, which of both counts.
//!
//! # Architecture invariants
//!
//! - This crate knows no mail protocol: identity outlives protocols.
//! - A look-up answers *known*, *positively unknown*, or a temporary failure. Nothing here turns a failure into "unknown",
//!   because a caller would turn that into a bounce.
//! - Filters and distinguished names are built only through types that escape.
//! - A password hash never leaves the process, and a password never reaches a log.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod cache;
mod directory;
pub mod dn;
pub mod error;
pub mod id;
mod ldap;
pub mod ldif;
mod lookup;
mod memory;
pub mod name;
pub mod password;
pub mod provision;
pub mod record;
mod remembered;
pub mod resolve;
#[doc = include_str!("../schema/README.md")]
pub mod schema {}
pub mod server;

pub use directory::Directory;
pub use error::{Inconsistency, LookupError, NameError, Outage, SetupError};
pub use id::{AccountId, ClusterName, MemberName};
pub use ldap::entry::fuzz_answer;
pub use name::{Address, LoginName, Secret};
pub use password::{ScramKeys, ScramShape};
pub use provision::{Admin, NewAccount};
pub use record::{AccountRecord, ClusterRecord, Delivery, Status};
pub use resolve::{Deferral, Resolution};
