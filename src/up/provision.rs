//! Makes the clusters' and the accounts' entries in the directory; what is there already stays as it is.

use anyhow::Context as _;
use indicatif::ProgressBar;
use laniakea_config::Config;
use laniakea_directory::{
    Address, Admin, ClusterName, ClusterRecord, LoginName, NewAccount, Secret,
    provision::{AccountChange, NewPassword},
};

use super::plan::Plan;

/// Accounts are added in portions of this size, so that progress can be seen.
const PORTION: u32 = 500;

/// The password all accounts made here have.
pub struct Password {
    pub text: String,
    /// Whether this is the first start in this folder.
    pub is_first: bool,
    /// Whether it differs from that of the last start.
    pub is_new: bool,
}

/// Sees to it that every cluster and every account of the plan has its entry. Returns how many accounts were new.
pub async fn provision(
    config: &Config,
    plan: &Plan,
    password: &Password,
    progress: &ProgressBar,
) -> anyhow::Result<usize> {
    let admin = Admin::connect(&config.directory).await.context("log in to the directory as its administrator")?;
    admin.prepare().await.context("prepare the directory")?;
    for cluster in &config.clusters {
        let members = cluster.members.iter().map(|member| member.advertise.handoff.to_string()).collect();
        let record = ClusterRecord { name: ClusterName::new(&cluster.name), members };
        admin.put_cluster(&record).await.with_context(|| format!("enter {} in the directory", cluster.name))?;
    }
    // One hash serves all: whoever reads one entry knows the password of all of them anyway.
    let shared = admin.shared_password(Secret::new(password.text.clone().into_bytes())).await;
    let clusters: Vec<String> = plan.cluster_names().collect();
    let mut new = 0;
    let mut first = 1;
    while first <= plan.accounts {
        let last = plan.accounts.min(first + PORTION - 1);
        let accounts = (first..=last).map(|number| account(&plan.domain, number, &clusters, &shared));
        let accounts = accounts.collect::<anyhow::Result<Vec<_>>>()?;
        new += admin
            .add_many(accounts)
            .await
            .with_context(|| format!("enter accounts {first} to {last} in the directory"))?;
        progress.set_message(format!("accounts: {last} of {}", plan.accounts));
        first = last + 1;
    }
    if password.is_new {
        for number in 1..=plan.accounts {
            let change = AccountChange::Password(shared.clone());
            let name = address(&plan.domain, number);
            admin.set(&name, vec![change]).await.with_context(|| format!("set the password of {name}"))?;
        }
    }
    Ok(new)
}

/// `user1@DOMAIN` and so on.
pub fn address(domain: &str, number: u32) -> String {
    format!("user{number}@{domain}")
}

fn account(domain: &str, number: u32, clusters: &[String], password: &NewPassword) -> anyhow::Result<NewAccount> {
    let text = address(domain, number);
    let index = usize::try_from(number - 1)? % clusters.len().max(1);
    Ok(NewAccount {
        login: LoginName::parse(&text)?,
        addresses: vec![Address::parse(&text)?],
        name: format!("User {number}"),
        mail_host: clusters.get(index).cloned().unwrap_or_default(),
        password: password.clone(),
        forward: None,
        quota: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_spread_evenly_over_the_clusters() {
        let clusters = ["cluster-1".to_owned(), "cluster-2".to_owned()];
        let hosts: Vec<String> =
            (1..=4).map(|n| account("example.org", n, &clusters, &NewPassword::Absent).unwrap().mail_host).collect();
        assert_eq!(hosts, ["cluster-1", "cluster-2", "cluster-1", "cluster-2"]);
    }
}
