//! `laniakea cluster`: what the members say of their cluster, and which of them are to serve.

mod drain;
mod upgrade;

use std::{collections::BTreeSet, net::SocketAddr};

use laniakea_config::{ClusterSettings, Config, MemberSettings, Role, Service};
use serde_json::{Value, json};

use crate::{
    admin::{self, Admin},
    exit::{Failure, say, say_json},
    installation::{Installation, command_runtime},
    table::table,
};

/// See the clusters, drain members, upgrade volumes.
#[derive(clap::Subcommand)]
pub enum Cluster {
    /// Ask every member of every cluster how it is.
    #[command(
        after_help = "Example:\n  laniakea cluster status\n\nExit code 75 if a cluster has no controller, a router is not ready, or something waits for a person: a full storage,\na damaged account."
    )]
    Status {
        /// Only this cluster.
        cluster: Option<String>,
        #[command(flatten)]
        installation: Installation,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Move everything a member owns to the others and give it nothing new, until it is undrained. A drained member stays
    /// drained when it starts again; as long as no other member can serve, it serves.
    #[command(
        after_help = "Example:\n  laniakea cluster drain cluster-1-a --wait && systemctl restart laniakea-backend@cluster-1-a\n  laniakea cluster undrain cluster-1-a\n\nExit code 75 if nobody in the cluster can record it, or, with --wait, if somebody undrains the member meanwhile or\nno other member can serve."
    )]
    Drain {
        /// The member.
        member: String,
        /// Wait until it owns nothing, with its progress.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        installation: Installation,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let a member take accounts again.
    #[command(
        after_help = "Example:\n  laniakea cluster undrain cluster-1-a\n\nExit code 75 if nobody in the cluster can record it."
    )]
    Undrain {
        /// The member.
        member: String,
        #[command(flatten)]
        installation: Installation,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let the members of a cluster write what only newer programs can read, when all of them run the newer one.
    ///
    /// Members go on writing what the oldest of them can read until this is done; from then on older programs are not let
    /// in. Doing it again changes nothing.
    #[command(
        after_help = "Example:\n  laniakea cluster upgrade cluster-1\n\nExit code 75 if a member that runs does not answer, or nobody can record it."
    )]
    Upgrade {
        /// The cluster.
        cluster: String,
        #[command(flatten)]
        installation: Installation,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Cluster {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Status { cluster, installation, json } => {
                let config = installation.load(Role::Command)?;
                let admin = Admin::new(&config.admin_token).map_err(Failure::Configuration)?;
                command_runtime()?.block_on(status(&config, &admin, cluster.as_deref(), json))
            }
            Self::Drain { member, wait, installation, json } => {
                let config = installation.load(Role::Command)?;
                let admin = Admin::new(&config.admin_token).map_err(Failure::Configuration)?;
                command_runtime()?.block_on(drain::drain(&config, &admin, &member, wait, json))
            }
            Self::Undrain { member, installation, json } => {
                let config = installation.load(Role::Command)?;
                let admin = Admin::new(&config.admin_token).map_err(Failure::Configuration)?;
                command_runtime()?.block_on(drain::undrain(&config, &admin, &member, json))
            }
            Self::Upgrade { cluster, installation, json } => {
                let config = installation.load(Role::Command)?;
                let admin = Admin::new(&config.admin_token).map_err(Failure::Configuration)?;
                command_runtime()?.block_on(upgrade::upgrade(&config, &admin, &cluster, json))
            }
        }
    }
}

async fn status(config: &Config, admin: &Admin, only: Option<&str>, json: bool) -> Result<(), Failure> {
    if let Some(name) = only.filter(|name| config.cluster(name).is_none()) {
        return Err(crate::router::unknown(
            "cluster",
            name,
            config.clusters.iter().map(|cluster| cluster.name.as_str()),
        ));
    }
    let mut faults = Vec::new();
    let mut clusters = Vec::new();
    for cluster in config.clusters.iter().filter(|cluster| only.is_none_or(|name| cluster.name == name)) {
        let state = ClusterState::ask(admin, cluster).await;
        if state.controller().is_none() {
            faults.push(format!("{} has no controller", cluster.name));
        }
        faults.extend(state.alerts());
        clusters.push(state);
    }
    let mut routers = Vec::new();
    for router in config.routers.iter().filter(|_| only.is_none()) {
        let is_ready = match router.listen.get(&Service::Metrics) {
            Some(address) => admin::is_ready(*address).await,
            None => false,
        };
        if !is_ready {
            faults.push(format!("{} is not ready", router.name));
        }
        routers.push((router.name.as_str(), is_ready));
    }
    if json {
        let routers: Vec<Value> = routers.iter().map(|(name, ready)| json!({ "name": name, "ready": ready })).collect();
        let clusters: Vec<Value> = clusters.iter().map(ClusterState::to_json).collect();
        say_json(&json!({ "clusters": clusters, "routers": routers }));
    } else {
        clusters.iter().for_each(|state| say(state.describe()));
        let rows: Vec<Vec<String>> = routers
            .iter()
            .map(|(name, ready)| vec![(*name).to_owned(), if *ready { "ready" } else { "not ready" }.into()])
            .collect();
        if !rows.is_empty() {
            say(table("", &["ROUTER", "STATE"], &rows));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{}", faults.join("; ")).into()) }
}

/// What the members of one cluster answered.
pub struct ClusterState<'a> {
    settings: &'a ClusterSettings,
    /// Each member, with its answer or why there is none.
    pub members: Vec<(&'a MemberSettings, Result<Value, String>)>,
}

impl<'a> ClusterState<'a> {
    /// Asks every member, one after the other: a cluster has few.
    pub async fn ask(admin: &Admin, settings: &'a ClusterSettings) -> Self {
        let mut members = Vec::new();
        for member in &settings.members {
            let answer = match metrics(member) {
                Some(address) => admin.get(address, "status").await.map_err(|error| format!("{error:#}")),
                None => Err("it has no metrics listener in the configuration".into()),
            };
            members.push((member, answer));
        }
        Self { settings, members }
    }

    /// The controller that the members with the highest term name.
    pub fn controller(&self) -> Option<(&str, u64)> {
        let answers = self.members.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        let named =
            answers.filter_map(|answer| Some((answer.get("controller")?.as_str()?, answer.get("term")?.as_u64()?)));
        named.max_by_key(|(_, term)| *term)
    }

    /// Who is drained, as the members with the highest term say.
    pub fn drained(&self) -> Vec<&str> {
        let answers = self.members.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        let newest = answers.max_by_key(|answer| answer.get("term").and_then(Value::as_u64));
        let drained = newest.and_then(|answer| answer.get("drained")?.as_array());
        drained.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The members that answer.
    pub fn alive(&self) -> impl Iterator<Item = &'a MemberSettings> {
        self.members.iter().filter(|(_, answer)| answer.is_ok()).map(|(member, _)| *member)
    }

    /// What waits for a person: a storage without room, what cannot be opened because it is damaged.
    fn alerts(&self) -> Vec<String> {
        let answers: Vec<&Value> = self.members.iter().filter_map(|(_, answer)| answer.as_ref().ok()).collect();
        let name = &self.settings.name;
        let mut alerts = Vec::new();
        if answers.iter().any(|answer| answer["storage"]["full"] == true) {
            let free = answers.iter().filter_map(|answer| answer["storage"]["free"].as_u64()).min().unwrap_or(0);
            alerts.push(format!(
                "the storage of {name} is nearly full, and new mail is refused: {} MiB free",
                free >> 20
            ));
        }
        let damaged: BTreeSet<String> = answers
            .iter()
            .filter_map(|answer| answer["quarantine"].as_array())
            .flatten()
            .map(|one| {
                let text = |key: &str| one[key].as_str().unwrap_or("?").to_owned();
                format!("{} is damaged: {}", text("ownable"), text("damage"))
            })
            .collect();
        alerts.extend(damaged);
        alerts
    }

    fn describe(&self) -> String {
        let head = match self.controller() {
            Some((name, term)) => format!(
                "{}: controller {name}, term {term}, storage {}",
                self.settings.name,
                self.settings.storage.display()
            ),
            None => format!("{}: no controller, storage {}", self.settings.name, self.settings.storage.display()),
        };
        let rows: Vec<Vec<String>> = self.members.iter().map(|(member, answer)| self.row(member, answer)).collect();
        format!("{head}\n{}\n", table("  ", &["MEMBER", "STATE", "ACCOUNTS", "SESSIONS", "QUEUE", "HANDOFF"], &rows))
    }

    fn row(&self, member: &MemberSettings, answer: &Result<Value, String>) -> Vec<String> {
        let name = member.name.clone();
        match answer {
            Ok(value) => {
                let number =
                    |key: &str| value.get(key).and_then(Value::as_u64).map_or_else(|| "?".into(), |n| n.to_string());
                let is_controller = self.controller().is_some_and(|(controller, _)| controller == name);
                let role = if is_controller { "controller" } else { "member" };
                let takes = value.get("takes").and_then(Value::as_bool) == Some(true);
                let state = match self.drained().contains(&name.as_str()) {
                    false => role.to_owned(),
                    true if takes => format!("{role}, drained, serves: nobody else can"),
                    true => format!("{role}, drained"),
                };
                vec![
                    name,
                    state,
                    number("owned"),
                    number("sessions"),
                    number("queue"),
                    member.advertise.handoff.to_string(),
                ]
            }
            Err(why) => {
                let drained = if self.drained().contains(&name.as_str()) { "drained, " } else { "" };
                vec![name, format!("{drained}down: {why}")]
            }
        }
    }

    fn to_json(&self) -> Value {
        let member = |(member, answer): &(&MemberSettings, Result<Value, String>)| match answer {
            Ok(status) => {
                json!({ "name": member.name, "alive": true, "handoff": member.advertise.handoff, "status": status })
            }
            Err(why) => {
                json!({ "name": member.name, "alive": false, "handoff": member.advertise.handoff, "error": why })
            }
        };
        let (controller, term) = self.controller().unzip();
        json!({
            "name": self.settings.name,
            "storage": self.settings.storage,
            "controller": controller,
            "term": term,
            "drained": self.drained(),
            "alerts": self.alerts(),
            "members": self.members.iter().map(member).collect::<Vec<_>>(),
        })
    }
}

/// Where a member answers the admin API.
pub fn metrics(member: &MemberSettings) -> Option<SocketAddr> {
    member.listen.get(&Service::Metrics).copied()
}
