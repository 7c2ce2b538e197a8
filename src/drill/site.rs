//! What the drill knows of its cluster, and asks it: who is controller, who owns what, whether all is well.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::Context as _;
use hyper::Method;
use laniakea_backend::cluster::OwnableId;
use laniakea_config::{ClusterSettings, Config, MemberSettings, Service};
use laniakea_directory::{Directory, LoginName};
use serde_json::Value;

use super::probe::Login;
use crate::{
    admin::Admin,
    cluster::{ClusterState, metrics},
    up::provision,
};

/// The installation, its accounts, and who may ask.
pub struct Site {
    pub config: Config,
    pub password: String,
    admin: Admin,
    /// Numbers of the accounts, by the names that the admin API has for them.
    accounts: BTreeMap<String, u32>,
}

impl Site {
    pub fn new(config: Config, password: String) -> anyhow::Result<Self> {
        Ok(Self { admin: Admin::new(&config.admin_token)?, config, password, accounts: BTreeMap::new() })
    }

    /// Learns the ids of accounts 1 to `count`, when the directory runs.
    pub async fn meet_accounts(&mut self, count: u32) -> anyhow::Result<()> {
        let directory = Directory::connect(&self.config.directory).context("reach the directory")?;
        for number in 1..=count {
            let login = LoginName::parse(self.address(number))?;
            let account = directory.account_by_login(&login).await.context("look an account up")?;
            let account = account.with_context(|| format!("{login} is not in the directory"))?;
            self.accounts.insert(OwnableId::Account(account.id).to_string(), number);
        }
        Ok(())
    }

    pub fn cluster(&self) -> anyhow::Result<&ClusterSettings> {
        self.config.clusters.first().context("there is no cluster")
    }

    pub fn member(&self, name: &str) -> Option<&MemberSettings> {
        self.config.member(name).map(|(_, member)| member)
    }

    pub fn address(&self, number: u32) -> String {
        provision::address(&self.config.domain, number)
    }

    /// An account as a client of the routers logs in to it.
    pub fn imap(&self, number: u32) -> Login {
        self.login(number, self.routers(Service::Imap))
    }

    /// An account as the routers take mail for it.
    pub fn lmtp(&self, number: u32) -> Login {
        self.login(number, self.routers(Service::Lmtp))
    }

    /// An account as a client of this member logs in to it.
    pub fn imap_at(&self, number: u32, member: &MemberSettings) -> Login {
        self.login(number, member.listen.get(&Service::Imap).copied().into_iter().collect())
    }

    fn login(&self, number: u32, addresses: Vec<SocketAddr>) -> Login {
        Login { addresses, login: self.address(number), password: self.password.clone() }
    }

    /// All of them, in the order in which they are tried: a balancer sends nobody to one that refuses.
    fn routers(&self, service: Service) -> Vec<SocketAddr> {
        self.config.routers.iter().filter_map(|router| router.listen.get(&service).copied()).collect()
    }

    /// Has a member drained, or lets it take accounts again; any member passes that on.
    pub async fn drain(&self, member: &str, on: bool) -> anyhow::Result<()> {
        let via = self.cluster()?.members.first().and_then(metrics).context("no member answers")?;
        let method = if on { Method::PUT } else { Method::DELETE };
        self.admin.send(method, via, &format!("drain/{member}")).await.map(drop)
    }

    /// The controller, if every member is there and names the same one, and no router doubts any.
    pub async fn whole(&self) -> anyhow::Result<String> {
        let state = ClusterState::ask(&self.admin, self.cluster()?).await;
        let (controller, term) = state.controller().context("there is no controller")?;
        for (member, answer) in &state.members {
            let status = answer.as_ref().map_err(|why| anyhow::anyhow!("{}: {why}", member.name))?;
            let agrees = status.get("controller").and_then(Value::as_str) == Some(controller)
                && status.get("term").and_then(Value::as_u64) == Some(term)
                && status.get("registered").and_then(Value::as_bool) == Some(true)
                && status.get("members").and_then(Value::as_array).map(Vec::len) == Some(state.members.len());
            anyhow::ensure!(agrees, "{} does not see the whole cluster", member.name);
        }
        for router in &self.config.routers {
            let address = router.listen.get(&Service::Metrics).context("a router has no metrics listener")?;
            let status = self.admin.get(*address, "status").await?;
            let doubted = status.get("doubted_members").and_then(Value::as_array).map_or(0, Vec::len);
            anyhow::ensure!(doubted == 0, "{} doubts members", router.name);
        }
        Ok(controller.to_owned())
    }

    /// Who owns what among the accounts, by their numbers, as the controller knows it.
    pub async fn owners(&self) -> anyhow::Result<BTreeMap<u32, String>> {
        let member = self.cluster()?.members.first().and_then(metrics).context("no member answers")?;
        let owners = self.admin.get(member, "owners").await?;
        let owners = owners.as_array().map_or(&[][..], Vec::as_slice).iter();
        Ok(owners
            .filter_map(|entry| {
                let number = self.accounts.get(entry.get("ownable")?.as_str()?)?;
                Some((*number, entry.get("owner")?.as_str()?.to_owned()))
            })
            .collect())
    }
}
