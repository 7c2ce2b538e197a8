//! `laniakea cluster drain` and `undrain`: any member of the cluster passes them on to the controller.

use std::{io::IsTerminal as _, time::Duration};

use hyper::Method;
use laniakea_config::{ClusterSettings, Config};
use serde_json::{Value, json};

use super::{ClusterState, metrics};
use crate::{
    admin::Admin,
    exit::{Failure, say, say_json},
};

/// Between two looks at how far a drain has come.
const PAUSE: Duration = Duration::from_millis(250);

/// Drains a member, and waits for it to own nothing if asked to.
pub async fn drain(config: &Config, admin: &Admin, member: &str, wait: bool, json: bool) -> Result<(), Failure> {
    let cluster = cluster_of(config, member)?;
    let mut drained = command(admin, cluster, Method::PUT, member).await?.iter().any(|one| one == member);
    let mut progress = Progress::look(admin, cluster, member).await;
    // The members hear of it a moment later than we do.
    while std::mem::take(&mut drained) && !progress.drained {
        tokio::time::sleep(PAUSE).await;
        progress = Progress::look(admin, cluster, member).await;
    }
    while wait && progress.check()? && progress.left != Some(0) {
        if std::io::stderr().is_terminal() {
            eprint!("\r{}\x1b[K", progress.describe(member));
        }
        tokio::time::sleep(PAUSE).await;
        progress = Progress::look(admin, cluster, member).await;
    }
    if wait && std::io::stderr().is_terminal() {
        eprintln!();
    }
    if json {
        say_json(&progress.to_json(member));
    } else {
        say(progress.describe(member));
    }
    Ok(())
}

/// Lets a member take accounts again.
pub async fn undrain(config: &Config, admin: &Admin, member: &str, json: bool) -> Result<(), Failure> {
    let cluster = cluster_of(config, member)?;
    let drained = command(admin, cluster, Method::DELETE, member).await?;
    if json {
        say_json(&json!({ "member": member, "drained": drained.iter().any(|one| one == member) }));
    } else {
        say(format!("{member} takes accounts again"));
    }
    Ok(())
}

fn cluster_of<'a>(config: &'a Config, member: &str) -> Result<&'a ClusterSettings, Failure> {
    let names = config.clusters.iter().flat_map(|cluster| cluster.members.iter().map(|one| one.name.as_str()));
    config.member(member).map(|(cluster, _)| cluster).ok_or_else(|| crate::router::unknown("member", member, names))
}

/// Gives the command to the first member that can have it recorded. Returns who is drained then.
async fn command(
    admin: &Admin,
    cluster: &ClusterSettings,
    method: Method,
    member: &str,
) -> Result<Vec<String>, Failure> {
    let mut faults = Vec::new();
    for via in cluster.members.iter().filter_map(metrics) {
        match admin.send(method.clone(), via, &format!("drain/{member}")).await {
            Ok(answer) => {
                let drained = answer.get("drained").and_then(Value::as_array).into_iter().flatten();
                return Ok(drained.filter_map(Value::as_str).map(str::to_owned).collect());
            }
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    let all = faults.join("; ");
    Err(anyhow::anyhow!("no member of {} could have it recorded: {all}", cluster.name).into())
}

/// How far a drain has come.
struct Progress {
    /// It is still to be drained: nobody has ended that.
    drained: bool,
    /// It serves nevertheless, for nobody else can.
    serves: bool,
    /// Accounts and shards of the queue that it still owns; unknown if it does not answer.
    left: Option<u64>,
    alive: bool,
}

impl Progress {
    async fn look(admin: &Admin, cluster: &ClusterSettings, member: &str) -> Self {
        let state = ClusterState::ask(admin, cluster).await;
        let answer =
            state.members.iter().find(|(one, _)| one.name == member).and_then(|(_, answer)| answer.as_ref().ok());
        let number = |key: &str| answer.and_then(|answer| answer.get(key)?.as_u64());
        Self {
            drained: state.drained().contains(&member),
            serves: answer.is_some_and(|answer| {
                let knows = answer
                    .get("drained")
                    .and_then(Value::as_array)
                    .is_some_and(|all| all.iter().any(|one| one == member));
                knows && answer.get("takes").and_then(Value::as_bool) == Some(true)
            }),
            left: if answer.is_some() {
                number("owned").zip(number("shards")).map(|(one, two)| one + two)
            } else {
                Some(0)
            },
            alive: answer.is_some(),
        }
    }

    /// Whether it makes sense to wait.
    fn check(&self) -> Result<bool, Failure> {
        if !self.drained {
            return Err(anyhow::anyhow!("somebody has undrained it meanwhile").into());
        }
        if self.serves {
            return Err(
                anyhow::anyhow!("it is drained and serves nevertheless: no other member of its cluster can").into()
            );
        }
        Ok(true)
    }

    fn describe(&self, member: &str) -> String {
        match self {
            Self { drained: false, .. } => format!("{member} is not drained: somebody has undrained it meanwhile"),
            Self { alive: false, .. } => format!("{member} is drained; it does not run"),
            Self { serves: true, .. } => format!("{member} is drained and serves nevertheless: nobody else can"),
            Self { left: Some(0), .. } => format!("{member} is drained and owns nothing"),
            Self { left: Some(left), .. } => format!("{member} is being drained, {left} to go"),
            Self { left: None, .. } => format!("{member} is being drained"),
        }
    }

    fn to_json(&self, member: &str) -> Value {
        json!({ "member": member, "drained": self.drained, "alive": self.alive, "serves": self.serves, "left": self.left })
    }
}
