//! `laniakea router`: one stateless front end.

use laniakea_config::Role;

use crate::{exit::Failure, installation::Installation, role};

/// Run one router: stateless, any number, behind any balancer.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  laniakea router --config /etc/laniakea/laniakea.yaml --name router-1")]
pub struct Router {
    #[command(flatten)]
    installation: Installation,
    /// Its name in the configuration.
    #[arg(long)]
    name: String,
}

impl Router {
    pub fn run(self) -> Result<(), Failure> {
        role::raise_limits();
        let config = self.installation.load(Role::Router)?;
        if config.router(&self.name).is_none() {
            return Err(unknown("router", &self.name, config.routers.iter().map(|router| router.name.as_str())));
        }
        let Self { installation, name } = &self;
        let process = role::Process { kind: "router", name, installation, role: Role::Router };
        process.run(config, async |config, orders| Ok(laniakea_router::drive::run(&config, name, orders).await?))
    }
}

/// The configuration knows no process of this name.
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Failure {
    let meant = laniakea_config::fault::nearest(name, known.clone());
    let names: Vec<&str> = known.collect();
    let mut text = format!("the configuration has no {what} named `{name}`");
    if names.is_empty() {
        text.push_str(&format!("; it has no {what} at all"));
    } else {
        text.push_str(&format!("; it has {}", names.join(", ")));
    }
    if let Some(meant) = meant {
        text.push_str(&format!(". Did you mean `{meant}`?"));
    }
    Failure::configuration(text)
}
