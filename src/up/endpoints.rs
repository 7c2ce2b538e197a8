//! `endpoints.json`: where everything is and which process is which, for scripts and tests.
//!
//! The shape is a promise: names stay, a listener that does not exist is left out, and `pid` is the process itself, so
//! that `kill -9` hits that role and nothing else. The file is replaced whole whenever a process has another pid.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use laniakea_config::{ClusterSettings, Config, DirectorySettings, Service};
use serde::Serialize;

use super::{
    home::{Home, replace},
    process::Process,
};

/// Everything besides the processes that the file tells.
pub struct Endpoints<'a> {
    pub home: &'a Home,
    pub config: &'a Config,
    pub password: &'a str,
    /// The password of the directory's administrator.
    pub admin_password: String,
}

/// The file.
#[derive(Serialize)]
struct File<'a> {
    domain: &'a str,
    password: &'a str,
    directory: DirectoryEntry<'a>,
    routers: Vec<ProcessEntry<'a>>,
    clusters: Vec<ClusterEntry<'a>>,
    ca_certificate: &'a Path,
}

#[derive(Serialize)]
struct DirectoryEntry<'a> {
    /// Missing if the directory is not ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    ldap: String,
    base: &'a str,
    admin_dn: &'a str,
    admin_password: &'a str,
}

/// A router or a member.
#[derive(Serialize)]
struct ProcessEntry<'a> {
    name: &'a str,
    pid: Option<u32>,
    #[serde(flatten)]
    listen: &'a BTreeMap<Service, SocketAddr>,
}

#[derive(Serialize)]
struct ClusterEntry<'a> {
    name: &'a str,
    storage: &'a Path,
    members: Vec<ProcessEntry<'a>>,
}

impl Endpoints<'_> {
    /// Writes the file.
    pub fn write(&self, processes: &[Process]) -> anyhow::Result<()> {
        let ca = self.home.ca();
        let mut text = serde_json::to_string_pretty(&self.file(processes, &ca))?;
        text.push('\n');
        replace(&self.home.endpoints(), text.as_bytes())
    }

    fn file<'a>(&'a self, processes: &'a [Process], ca: &'a Path) -> File<'a> {
        let pid = |name: &str| processes.iter().find(|process| process.name == name).and_then(|process| process.pid);
        let entry =
            |name: &'a str, listen: &'a BTreeMap<Service, SocketAddr>| ProcessEntry { name, pid: pid(name), listen };
        let cluster = |cluster: &'a ClusterSettings| ClusterEntry {
            name: &cluster.name,
            storage: &cluster.storage,
            members: cluster.members.iter().map(|member| entry(&member.name, &member.listen)).collect(),
        };
        File {
            domain: &self.config.domain,
            password: self.password,
            directory: self.directory(pid("directory")),
            routers: self.config.routers.iter().map(|router| entry(&router.name, &router.listen)).collect(),
            clusters: self.config.clusters.iter().map(cluster).collect(),
            ca_certificate: ca,
        }
    }

    fn directory(&self, pid: Option<u32>) -> DirectoryEntry<'_> {
        let DirectorySettings { urls, base, bind_dn, embedded, .. } = &self.config.directory;
        let elsewhere = || urls.first().and_then(|url| url.split("://").last()).unwrap_or_default().to_owned();
        let ldap = embedded.as_ref().map_or_else(elsewhere, |own| own.listen.to_string());
        DirectoryEntry { pid, ldap, base, admin_dn: bind_dn, admin_password: &self.admin_password }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{generate::generate, plan::Plan, ports::Ports, process::processes},
        *,
    };

    #[test]
    fn the_shape_is_as_promised() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("data")).unwrap();
        let plan = Plan {
            domain: "example.org".into(),
            clusters: 2,
            members: 2,
            routers: 1,
            accounts: 4,
            base_port: 10_000,
            ldap: None,
            storage: BTreeMap::new(),
        };
        let config = generate(&home, &plan, &mut Ports::new(plan.base_port)).unwrap();
        let mut processes = processes(&home, &config);
        for (process, pid) in processes.iter_mut().zip(7..) {
            process.pid = Some(pid);
        }
        let endpoints = Endpoints { home: &home, config: &config, password: "pw", admin_password: "apw".into() };
        let ca = home.ca();
        let value = serde_json::to_value(endpoints.file(&processes, &ca)).unwrap();
        assert_eq!(
            value["directory"],
            json!({ "pid": 7, "ldap": "127.0.0.1:10389", "base": "dc=example,dc=org", "admin_dn": "cn=admin,dc=example,dc=org", "admin_password": "apw" })
        );
        assert_eq!(value["routers"][0]["imaps"], "127.0.0.1:10993");
        assert_eq!(value["routers"][0]["pid"], 12);
        assert_eq!(value["clusters"][1]["members"][0]["name"], "cluster-2-a");
        assert_eq!(value["clusters"][1]["members"][0]["lmtp"], "127.0.0.1:22124");
        assert_eq!(value["clusters"][0]["members"][0]["http"], "127.0.0.1:21180");
        assert!(value["clusters"][0]["members"][0].get("smtp").is_none());
        assert_eq!(value["ca_certificate"], json!(home.path().join("ca.pem")));
    }
}
