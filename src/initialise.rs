//! `laniakea store init`: make a folder the volume of a new cluster.

use std::path::PathBuf;

use anyhow::Context as _;
use laniakea_backend::drive::arbiter::{VolumeError, initialise_storage};
use laniakea_directory::ClusterName;

use crate::exit::{Failure, say};

/// Make an empty folder of a mounted filesystem the volume of a new cluster.
///
/// Members start only on a volume that was made so: an empty mount point is never taken for an empty cluster. Doing it again
/// changes nothing.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  laniakea store init --cluster blue /srv/mail/blue")]
pub struct Initialise {
    /// The cluster's name in the configuration.
    #[arg(long)]
    cluster: String,
    /// The folder.
    storage: PathBuf,
}

impl Initialise {
    pub fn run(self) -> Result<(), Failure> {
        let Self { cluster, storage } = self;
        initialise_storage(&storage, &ClusterName::new(&cluster)).map_err(|error| match error {
            VolumeError::Io { .. } => Failure::Temporary(error.into()),
            VolumeError::Missing(_)
            | VolumeError::Foreign { .. }
            | VolumeError::Newer { .. }
            | VolumeError::NotEmpty(_) => Failure::Configuration(error.into()),
        })?;
        let folder = storage.canonicalize().context("find the folder again")?;
        say(format_args!("{} is the volume of {cluster}", folder.display()));
        Ok(())
    }
}
