//! Laniakea's configuration: one YAML file into checked settings.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod settings;

pub use settings::*;
