//! Which installation a command is about: finds and loads its configuration.

use std::path::PathBuf;

use laniakea_config::{Config, Role, load};
use tokio::runtime::Runtime;

use crate::exit::Failure;

/// Where the configuration is.
#[derive(clap::Args)]
pub struct Installation {
    /// The configuration file; without it $LANIAKEA_CONFIG, else ./laniakea-data/laniakea.yaml.
    #[arg(long, short = 'c', value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Installation {
    /// Which file that is.
    pub fn path(&self) -> PathBuf {
        load::find(self.config.as_deref())
    }

    /// Reads it for `role`.
    pub fn load(&self, role: Role<'_>) -> Result<Config, Failure> {
        Ok(Config::load_for(&self.path(), role)?)
    }
}

/// A runtime for a command that asks a few questions and ends.
pub fn command_runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Temporary(anyhow::Error::new(error).context("start the runtime")))
}
