//! `laniakea explain`: from an address to the process that owns the account now.

use laniakea_config::{Config, MemberSettings, Role};
use laniakea_directory::{AccountRecord, Address, Delivery, Directory, LookupError, SetupError};
use serde_json::{Value, json};

use crate::{
    account,
    admin::Admin,
    cluster::{ClusterState, metrics},
    exit::{Failure, say, say_json},
    installation::{Installation, command_runtime},
};

/// Follow an address: entry, cluster, controller, owner, and what would happen if the owner died.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  laniakea explain user1@example.org")]
pub struct Explain {
    /// An address or login name.
    address: String,
    #[command(flatten)]
    installation: Installation,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub fn run(self) -> Result<(), Failure> {
        let config = self.installation.load(Role::Command)?;
        let admin = Admin::new(&config.admin_token).map_err(Failure::Configuration)?;
        command_runtime()?.block_on(async {
            let record = find(&config, &self.address).await?;
            let story = Story::of(&config, &admin, record).await;
            if self.json {
                say_json(&story.to_json())
            } else {
                say(story.tell())
            }
            Ok(())
        })
    }
}

/// What the cluster knows of the account. Any member knows the owner; only the owner knows its sessions.
async fn ask(admin: &Admin, cluster: &ClusterState<'_>, record: &AccountRecord) -> Result<Value, String> {
    let path = format!("ownable/{}", record.id);
    let mut known = Err("no member of the cluster answers".to_owned());
    for member in cluster.alive() {
        known = ask_member(admin, member, &path).await;
        if known.is_ok() {
            break;
        }
    }
    let owner = known.as_ref().ok().and_then(|value| value.get("owner")?.as_str());
    match cluster.alive().find(|member| Some(member.name.as_str()) == owner) {
        Some(owner) => ask_member(admin, owner, &path).await.or(known),
        None => known,
    }
}

async fn ask_member(admin: &Admin, member: &MemberSettings, path: &str) -> Result<Value, String> {
    let address = metrics(member).ok_or("it has no metrics listener in the configuration")?;
    admin.get(address, path).await.map_err(|error| format!("{error:#}"))
}

/// The entry of an address or a login name.
pub async fn find(config: &Config, name: &str) -> Result<AccountRecord, Failure> {
    let setup = |error: SetupError| Failure::Configuration(error.into());
    let lookup = |error: LookupError| Failure::Temporary(error.into());
    let directory = Directory::connect(&config.directory).map_err(setup)?;
    let login = laniakea_directory::LoginName::parse(name)
        .map_err(|error| Failure::usage(format_args!("`{name}` is neither an address nor a login name: {error}")))?;
    let by_address = match Address::parse(name) {
        Ok(address) => directory.account_by_address(&address).await.map_err(lookup)?,
        Err(_) => None,
    };
    let found = match by_address {
        Some(record) => Some(record),
        None => directory.account_by_login(&login).await.map_err(lookup)?,
    };
    let record = found.ok_or_else(|| {
        Failure::usage(format_args!(
            "the directory has no account for `{name}`: mail for it is refused with 550 5.1.1, a login fails like one with a wrong password"
        ))
    })?;
    Ok(AccountRecord::clone(&record))
}

/// Everything there is to say about where an account is.
struct Story<'a> {
    record: AccountRecord,
    cluster: Option<ClusterState<'a>>,
    /// Whether the home is a server of another kind that the settings allow.
    is_foreign: bool,
    /// The owner as the cluster tells it, or why nobody could say.
    ownable: Result<Value, String>,
}

impl<'a> Story<'a> {
    async fn of(config: &'a Config, admin: &Admin, record: AccountRecord) -> Self {
        let Some(settings) = config.cluster(&record.mail_host) else {
            let is_foreign = config.foreign(&record.mail_host).is_some();
            let ownable = Err("its cluster is not one of this installation".into());
            return Self { record, cluster: None, is_foreign, ownable };
        };
        let cluster = ClusterState::ask(admin, settings).await;
        let ownable = ask(admin, &cluster, &record).await;
        Self { record, cluster: Some(cluster), is_foreign: false, ownable }
    }

    fn of_foreign(&self) -> &'static str {
        if self.is_foreign {
            "a server of another kind: routers log in there, and mail goes there"
        } else {
            "which is neither a cluster nor a host that `foreign` in the configuration allows: logins and mail wait"
        }
    }

    fn owner(&self) -> Option<&str> {
        self.ownable.as_ref().ok()?.get("owner")?.as_str()
    }

    fn tell(&self) -> String {
        let mut lines = vec![account::describe(&self.record)];
        if self.record.forward.is_some() {
            lines.push("           mail is forwarded and not kept here".into());
        }
        lines.push(format!("mail       {}", delivery(&self.record)));
        match &self.cluster {
            None if self.record.mail_host.is_empty() => {}
            None => lines.push(format!("served by  {}, {}", self.record.mail_host, self.of_foreign())),
            Some(cluster) => self.tell_cluster(cluster, &mut lines),
        }
        lines.join("\n")
    }

    fn tell_cluster(&self, cluster: &ClusterState<'_>, lines: &mut Vec<String>) {
        match cluster.controller() {
            Some((name, term)) => lines.push(format!("controller {name}, term {term}")),
            None => lines.push("controller none: new logins wait until a member becomes controller".into()),
        }
        let members: Vec<String> = cluster
            .members
            .iter()
            .map(|(member, answer)| match answer {
                Ok(_) => format!("{} (alive)", member.name),
                Err(_) => format!("{} (does not answer)", member.name),
            })
            .collect();
        lines.push(format!("members    {}", members.join(", ")));
        match (&self.ownable, self.owner()) {
            (Ok(value), Some(owner)) => {
                let epoch = value.get("epoch").map_or_else(|| "unknown".into(), plain);
                let sessions =
                    value.get("sessions").and_then(Value::as_u64).map_or(String::new(), |n| format!(", sessions {n}"));
                lines.push(format!("owner      {owner}, epoch {epoch}{sessions}"));
            }
            (Ok(_), None) => lines.push("owner      none: nobody has the account open".into()),
            (Err(why), _) => lines.push(format!("owner      unknown: {why}")),
        }
        let label = if self.owner().is_some() { "if it dies" } else { "next use  " };
        lines.push(format!("{label} {}", self.fate(cluster)));
    }

    /// What would happen if the owner died now.
    fn fate(&self, cluster: &ClusterState<'_>) -> String {
        let others: Vec<&str> =
            cluster.alive().map(|member| member.name.as_str()).filter(|name| self.owner() != Some(name)).collect();
        let heir = match others.as_slice() {
            [] => return "no other member is alive: the account waits until one is; acknowledged mail is safe in the storage".into(),
            [only] => (*only).to_owned(),
            many => format!("one of {}", many.join(", ")),
        };
        match (self.owner(), cluster.controller()) {
            (None, _) => format!("a login or delivery opens it at {heir}"),
            (Some(owner), Some((controller, _))) if owner == controller => format!(
                "its open sessions end; {heir} becomes controller, fences {owner}, and opens the account for the next login or delivery"
            ),
            (Some(owner), _) => format!(
                "its open sessions end; the controller fences {owner}, and {heir} opens the account for the next login or delivery"
            ),
        }
    }

    fn to_json(&self) -> Value {
        let controller = self.cluster.as_ref().and_then(ClusterState::controller);
        json!({
            "account": account::to_json(&self.record),
            "mail": delivery(&self.record),
            "cluster": self.cluster.as_ref().map(|_| &self.record.mail_host),
            "controller": controller.map(|(name, _)| name),
            "term": controller.map(|(_, term)| term),
            "owner": self.owner(),
            "epoch": self.ownable.as_ref().ok().and_then(|value| value.get("epoch")),
            "sessions": self.ownable.as_ref().ok().and_then(|value| value.get("sessions")),
            "error": self.ownable.as_ref().err(),
            "if_owner_dies": self.cluster.as_ref().map(|cluster| self.fate(cluster)),
        })
    }
}

fn delivery(record: &AccountRecord) -> &'static str {
    match record.status.delivery() {
        Delivery::Deliver => "is delivered",
        Delivery::Defer => "waits at the sender (451): the account's status says so",
        Delivery::Refuse => "is refused (550): the account is disabled",
    }
}

/// A value without the quotes of JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
