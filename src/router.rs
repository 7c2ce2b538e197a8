//! `laniakea router`: one stateless front end.

use laniakea_config::Role;
use laniakea_router::drive::Begin;

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
    /// Take the listeners over from the router of this name that runs on this machine, if one does. It serves the sessions
    /// it has until they end, and ends; nobody is refused.
    #[arg(long)]
    replace: bool,
}

impl Router {
    pub fn run(self) -> Result<(), Failure> {
        role::raise_limits();
        let config = self.installation.load(Role::Router)?;
        let Some(settings) = config.router(&self.name) else {
            return Err(unknown("router", &self.name, config.routers.iter().map(|router| router.name.as_str())));
        };
        if self.replace && settings.replace_socket.is_none() {
            let text = format!("--replace needs `replace_socket: PATH` in the settings of {}", self.name);
            return Err(Failure::configuration(text));
        }
        let Self { installation, name, replace } = &self;
        let begin = if *replace { Begin::Replacing } else { Begin::Anew };
        let process = role::Process { kind: "router", name, installation, role: Role::Router };
        process.run(config, async |config, orders| Ok(laniakea_router::drive::run(&config, name, begin, orders).await?))
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
