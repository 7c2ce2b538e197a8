//! `laniakea backend`: one member of a cluster.

use laniakea_config::Role;

use crate::{exit::Failure, installation::Installation, role, router::unknown};

/// Run one member of a dynamic cluster.
///
/// A member that its fellows have fenced ends with code 75; let the service manager start it again. One whose storage is
/// not mounted, or must not be used as it is mounted, ends with code 78.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  laniakea backend --config /etc/laniakea/laniakea.yaml --name cluster-1-a")]
pub struct Backend {
    #[command(flatten)]
    installation: Installation,
    /// Its name in the configuration.
    #[arg(long)]
    name: String,
}

impl Backend {
    pub fn run(self) -> Result<(), Failure> {
        role::raise_limits();
        let config = self.installation.load(Role::Member(&self.name))?;
        if config.member(&self.name).is_none() {
            let members = config.clusters.iter().flat_map(|cluster| &cluster.members);
            return Err(unknown("member", &self.name, members.map(|member| member.name.as_str())));
        }
        let Self { installation, name } = &self;
        let process = role::Process { kind: "backend", name, installation, role: Role::Member(name) };
        let done =
            process.run(config, async |config, orders| Ok(laniakea_backend::drive::run(&config, name, orders).await?));
        done.map_err(|failure| match failure {
            Failure::Temporary(error)
                if error.downcast_ref().is_some_and(laniakea_backend::drive::RunError::is_configuration) =>
            {
                Failure::Configuration(error)
            }
            failure => failure,
        })
    }
}
