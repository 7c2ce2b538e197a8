//! Laniakea's configuration: one YAML file into checked settings.
//!
//! | module | |
//! |---|---|
//! | [`settings`] | what each role is told, after every check has passed |
//! | [`load`] | reads the file; the only IO of the crate |
//! | [`raw`] | the file as typed: values and their places |
//! | [`shape`] | every key there is, and what its value looks like |
//! | [`check`] | combinations that cannot work; builds the settings |
//! | [`profile`] | the attribute names of other systems' directories |
//! | [`fault`] | what is wrong, where, and what to try |
//! | [`schema`] | JSON schema for editors |
//! | [`render`] | settings back into a file |
//! | [`sasl`] | how clients may log in besides sending a password |
//! | [`units`] | durations and sizes |
//!
//! **Architecture invariant:** nothing but [`Config::load`] and its kin makes a [`Config`] from a file, and they report
//! every fault at once. No other crate of the workspace is known here.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod check;
pub mod fault;
pub mod foreign;
pub mod load;
pub mod profile;
pub mod raw;
pub mod render;
pub mod sasl;
pub mod schema;
pub mod settings;
pub mod shape;
pub mod units;

pub use fault::{Fault, Faults, Place};
pub use foreign::{ForeignPorts, ForeignSettings, ForeignTls, SmarthostSettings, split_port};
pub use load::Role;
pub use sasl::{Mechanism, PasswordScheme, SaslSettings, TokenSettings};
pub use settings::*;
