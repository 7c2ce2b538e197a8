//! `laniakea cluster upgrade`: lets the members write what only newer programs can read, once all of them can.

use std::collections::BTreeSet;

use hyper::Method;
use laniakea_config::{ClusterSettings, Config};
use serde_json::{Value, json};

use super::{ClusterState, metrics};
use crate::{
    admin::Admin,
    exit::{Failure, say, say_json},
};

/// Raises the feature level of a cluster's volume to the newest that all its members know.
pub async fn upgrade(config: &Config, admin: &Admin, name: &str, json: bool) -> Result<(), Failure> {
    let names = config.clusters.iter().map(|cluster| cluster.name.as_str());
    let cluster = config.cluster(name).ok_or_else(|| crate::router::unknown("cluster", name, names))?;
    let levels = Levels::of(&ClusterState::ask(admin, cluster).await)?;
    if levels.to > levels.from {
        raise(admin, cluster, levels.to).await?;
    }
    if json {
        say_json(
            &json!({ "cluster": name, "from": levels.from, "to": levels.to, "known": levels.known, "down": levels.down }),
        );
    } else {
        say(levels.describe(name));
    }
    Ok(())
}

/// Gives the command to the first member that can carry it out.
async fn raise(admin: &Admin, cluster: &ClusterSettings, level: u16) -> Result<(), Failure> {
    let mut faults = Vec::new();
    for via in cluster.members.iter().filter_map(metrics) {
        match admin.send(Method::PUT, via, &format!("level/{level}")).await {
            Ok(_) => return Ok(()),
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    Err(anyhow::anyhow!("no member of {} could record it: {}", cluster.name, faults.join("; ")).into())
}

/// What the members know, and what they may write.
struct Levels {
    from: u16,
    /// What the one that knows least knows, but never less than what is written already.
    to: u16,
    /// What the one that knows most knows.
    known: u16,
    /// Members that do not run. They are not let in any more if they know less.
    down: Vec<String>,
}

impl Levels {
    /// A member that the others see and that does not answer us may be of any age.
    fn of(state: &ClusterState<'_>) -> Result<Self, Failure> {
        let mut seen = BTreeSet::new();
        let mut levels = Vec::new();
        let mut down = Vec::new();
        for (member, answer) in &state.members {
            let Ok(answer) = answer else {
                down.push(member.name.clone());
                continue;
            };
            let names = answer.get("members").and_then(Value::as_array).into_iter().flatten();
            seen.extend(names.filter_map(|one| one.get("name")?.as_str()));
            let level = |key: &str| answer.get("level")?.get(key)?.as_u64().and_then(|level| u16::try_from(level).ok());
            let both = level("volume").zip(level("known"));
            let why = || {
                anyhow::anyhow!("{} does not know of feature levels: start the new program there first", member.name)
            };
            levels.push(both.ok_or_else(why)?);
        }
        if let Some(name) = down.iter().find(|name| seen.contains(name.as_str())) {
            let why = anyhow::anyhow!("{name} runs and does not answer: nobody knows what it can read");
            return Err(why.into());
        }
        let volume = levels.iter().map(|(volume, _)| *volume).max();
        let (least, most) =
            (levels.iter().map(|(_, known)| *known).min(), levels.iter().map(|(_, known)| *known).max());
        match (volume, least, most) {
            (Some(from), Some(least), Some(known)) => Ok(Self { from, to: least.max(from), known, down }),
            _ => Err(anyhow::anyhow!("no member answers").into()),
        }
    }

    fn describe(&self, cluster: &str) -> String {
        let Self { from, to, known, down } = self;
        let mut told = if to > from {
            format!(
                "{cluster} is raised from feature level {from} to {to}: programs that know less are not let in any more"
            )
        } else if known > to {
            format!(
                "{cluster} stays at feature level {to}: that is all that one of its members knows; others know {known}"
            )
        } else {
            format!("{cluster} is at feature level {to}, the newest that its members know")
        };
        if !down.is_empty() {
            told.push_str(&format!("\nnot running, and to be of that level when they start: {}", down.join(", ")));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_and_what_holds_it_back_is_told() {
        let told = |from, to, known| Levels { from, to, known, down: Vec::new() }.describe("c");
        assert!(told(2, 3, 3).starts_with("c is raised from feature level 2 to 3"));
        assert!(told(2, 2, 3).ends_with("one of its members knows; others know 3"));
        assert!(told(3, 3, 3).ends_with("level 3, the newest that its members know"));
        let down = Levels { from: 3, to: 3, known: 3, down: vec!["a".into(), "b".into()] };
        assert!(down.describe("c").ends_with("when they start: a, b"));
    }
}
