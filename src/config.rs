//! `laniakea config`: check, show and describe the configuration.

use std::path::Path;

use laniakea_config::{Config as Settings, Role, schema};

use crate::{
    exit::{Failure, say, say_json},
    installation::Installation,
};

/// Check, show and describe the configuration.
#[derive(clap::Subcommand)]
pub enum Config {
    /// Check the file and every file it names; explain each fault by line.
    #[command(
        after_help = "Example:\n  laniakea config check --config /etc/laniakea/laniakea.yaml\n\nExit code 78 if anything is wrong."
    )]
    Check {
        #[command(flatten)]
        installation: Installation,
        /// Print the faults as a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON schema of the file, for editors.
    #[command(after_help = "Example:\n  laniakea config schema > laniakea.schema.json")]
    Schema,
    /// Print the configuration as it is understood, without comments and defaults.
    #[command(after_help = "Example:\n  laniakea config show")]
    Show {
        #[command(flatten)]
        installation: Installation,
        /// Print a summary as JSON: who runs, and where each listens.
        #[arg(long)]
        json: bool,
    },
}

impl Config {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Check { installation, json } => check(&installation, json),
            Self::Schema => {
                say_json(&schema::schema());
                Ok(())
            }
            Self::Show { installation, json } => show(&installation, json),
        }
    }
}

fn check(installation: &Installation, json: bool) -> Result<(), Failure> {
    let path = installation.path();
    match Settings::load_for(&path, Role::All) {
        Ok(config) => {
            let members: usize = config.clusters.iter().map(|cluster| cluster.members.len()).sum();
            if json {
                say("[]");
            } else {
                let (routers, clusters) = (config.routers.len(), config.clusters.len());
                say(format_args!(
                    "{} is good: {}, {} of {} in all{}",
                    path.display(),
                    count(routers, "router"),
                    count(clusters, "cluster"),
                    count(members, "member"),
                    if config.directory.embedded.is_some() { ", embedded directory" } else { "" },
                ));
            }
            Ok(())
        }
        Err(faults) => {
            if json {
                say_json(&faults.to_json());
            }
            Err(faults.into())
        }
    }
}

fn show(installation: &Installation, json: bool) -> Result<(), Failure> {
    let config = installation.load(Role::Command)?;
    if json {
        say_json(&summary(&config));
    } else {
        // Absolute paths: what is shown may be read from anywhere.
        say(config.render(Path::new("")).trim_end());
    }
    Ok(())
}

fn summary(config: &Settings) -> serde_json::Value {
    use serde_json::json;
    let directory = &config.directory;
    let cluster = |cluster: &laniakea_config::ClusterSettings| {
        let member = |member: &laniakea_config::MemberSettings| json!({ "name": member.name, "control": member.control, "handoff": member.handoff, "advertise": { "control": member.advertise.control, "handoff": member.advertise.handoff }, "listen": member.listen });
        json!({ "name": cluster.name, "storage": cluster.storage, "members": cluster.members.iter().map(member).collect::<Vec<_>>() })
    };
    json!({
        "domain": config.domain,
        "directory": { "urls": directory.urls, "base": directory.base, "embedded": directory.embedded.as_ref().map(|own| own.listen) },
        "routers": config.routers.iter().map(|router| json!({ "name": router.name, "listen": router.listen })).collect::<Vec<_>>(),
        "clusters": config.clusters.iter().map(cluster).collect::<Vec<_>>(),
    })
}

/// `1 router`, `2 routers`.
pub fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
