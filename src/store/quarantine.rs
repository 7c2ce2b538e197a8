//! `laniakea store quarantine`: what the members found damaged, and trying it again when somebody has mended it.

use std::time::{Duration, UNIX_EPOCH};

use hyper::Method;
use laniakea_config::{ClusterSettings, Config, Role};
use serde_json::{Value, json};

use crate::{
    admin::Admin,
    cluster::{ClusterState, metrics},
    exit::{Failure, say, say_json},
    explain,
    installation::{Installation, command_runtime},
    table::table,
};

/// See what is damaged, and have it tried again.
#[derive(clap::Subcommand)]
pub enum Quarantine {
    /// List accounts and queue shards that no member can open, as the members found them.
    #[command(after_help = "Example:\n  laniakea store quarantine list\n\nExit code 78 if there are any.")]
    List {
        #[command(flatten)]
        installation: Installation,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Have an account opened again that was mended: restored, or whole after all. It is read first, and stays in quarantine
    /// if it is damaged still.
    #[command(after_help = "\
Example:
  laniakea store check /srv/mail/blue/accounts/1f/a0/0190c0de-0000-7000-8000-000000001fa0
  laniakea store quarantine release user1@example.org

Exit code 78 if it is damaged still.")]
    Release {
        /// An address, a login name, or what `list` shows.
        what: String,
        #[command(flatten)]
        installation: Installation,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// One thing in quarantine, and the member that found it so.
struct Found<'a> {
    cluster: &'a ClusterSettings,
    member: &'a str,
    about: Value,
}

impl Found<'_> {
    fn text(&self, key: &str) -> &str {
        self.about.get(key).and_then(Value::as_str).unwrap_or("?")
    }

    /// Its id, as members are asked for it.
    fn id(&self) -> &str {
        self.text("ownable").rsplit('/').next().unwrap_or_default()
    }

    fn row(&self) -> Vec<String> {
        let since = Duration::from_secs(self.about.get("since").and_then(Value::as_u64).unwrap_or(0));
        let ago = UNIX_EPOCH.checked_add(since).and_then(|since| since.elapsed().ok()).unwrap_or_default();
        let folder = self.cluster.storage.join(self.text("path"));
        vec![
            self.text("ownable").to_owned(),
            self.member.to_owned(),
            format!("{} min ago", ago.as_secs() / 60),
            self.text("damage").to_owned(),
            folder.display().to_string(),
        ]
    }

    fn to_json(&self) -> Value {
        json!({
            "cluster": self.cluster.name,
            "member": self.member,
            "ownable": self.about.get("ownable"),
            "directory": self.cluster.storage.join(self.text("path")),
            "damage": self.about.get("damage"),
            "since": self.about.get("since"),
        })
    }
}

impl Quarantine {
    pub fn run(self) -> Result<(), Failure> {
        let (Self::List { installation, .. } | Self::Release { installation, .. }) = &self;
        let config = installation.load(Role::Command)?;
        let admin = Admin::new(&config.admin_token).map_err(Failure::Configuration)?;
        command_runtime()?.block_on(async {
            match &self {
                Self::List { json, .. } => list(&config, &admin, *json).await,
                Self::Release { what, json, .. } => release(&config, &admin, what, *json).await,
            }
        })
    }
}

async fn look<'a>(config: &'a Config, admin: &Admin) -> Vec<Found<'a>> {
    let mut all = Vec::new();
    for cluster in &config.clusters {
        for (member, answer) in ClusterState::ask(admin, cluster).await.members {
            let listed = answer.ok().and_then(|status| status.get("quarantine")?.as_array().cloned());
            let found = |about| Found { cluster, member: &member.name, about };
            all.extend(listed.into_iter().flatten().map(found));
        }
    }
    all
}

async fn list(config: &Config, admin: &Admin, as_json: bool) -> Result<(), Failure> {
    let all = look(config, admin).await;
    if as_json {
        say_json(&all.iter().map(Found::to_json).collect::<Value>());
    } else if all.is_empty() {
        say("nothing is in quarantine");
    } else {
        let rows: Vec<Vec<String>> = all.iter().map(Found::row).collect();
        say(table("", &["WHAT", "FOUND BY", "SINCE", "DAMAGE", "DIRECTORY"], &rows));
    }
    match all.len() {
        0 => Ok(()),
        count => Err(Failure::configuration(format_args!("{count} in quarantine; see `laniakea store check`"))),
    }
}

async fn release(config: &Config, admin: &Admin, what: &str, as_json: bool) -> Result<(), Failure> {
    let all = look(config, admin).await;
    let is_listed = |found: &&Found<'_>| found.text("ownable") == what || found.id() == what;
    let id = match all.iter().find(is_listed) {
        Some(found) => found.id().to_owned(),
        None => explain::find(config, what).await?.id.to_string(),
    };
    let mut tried = 0;
    for found in all.iter().filter(|found| found.id() == id) {
        let member = found.cluster.members.iter().find(|member| member.name == found.member);
        let Some(address) = member.and_then(metrics) else { continue };
        let answer = admin.send(Method::DELETE, address, &format!("quarantine/{id}")).await?;
        if let Some(damage) = answer.get("damage").and_then(Value::as_str) {
            return Err(Failure::configuration(format_args!("{what} is damaged still: {damage}")));
        }
        tried += 1;
    }
    if as_json {
        say_json(&json!({ "id": id, "released": tried > 0 }));
    } else if tried == 0 {
        say(format_args!("{what} is in no quarantine"));
    } else {
        say(format_args!("{what} is whole, and may be used again"));
    }
    Ok(())
}
