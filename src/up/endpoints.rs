//! `endpoints.json`: where everything is and which process is which, for scripts and tests.
//!
//! The shape is a promise: names stay, a listener that does not exist is left out, and `pid` is the process itself, so
//! that `kill -9` hits that role and nothing else. The file is replaced whole whenever a process has another pid.

use std::{collections::BTreeMap, net::SocketAddr};

use laniakea_config::{ClusterSettings, Config, DirectorySettings, MemberSettings, RouterSettings, Service};
use serde_json::{Map, Value, json};

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

impl Endpoints<'_> {
    /// Writes the file.
    pub fn write(&self, processes: &[Process]) -> anyhow::Result<()> {
        let mut text = format!("{:#}", self.to_json(processes));
        text.push('\n');
        replace(&self.home.endpoints(), text.as_bytes())
    }

    fn to_json(&self, processes: &[Process]) -> Value {
        let pid = |name: &str| processes.iter().find(|process| process.name == name).and_then(|process| process.pid);
        let routers: Vec<Value> =
            self.config.routers.iter().map(|router| of_router(router, pid(&router.name))).collect();
        let clusters: Vec<Value> = self.config.clusters.iter().map(|cluster| of_cluster(cluster, &pid)).collect();
        json!({
            "domain": self.config.domain,
            "password": self.password,
            "directory": self.of_directory(pid("directory")),
            "routers": routers,
            "clusters": clusters,
            "ca_certificate": self.home.ca(),
        })
    }

    fn of_directory(&self, pid: Option<u32>) -> Value {
        let DirectorySettings { urls, base, bind_dn, embedded, .. } = &self.config.directory;
        let elsewhere = || urls.first().map(|url| url.split("://").last().unwrap_or(url).to_owned());
        let ldap = embedded.as_ref().map(|own| own.listen.to_string()).or_else(elsewhere);
        let mut map = Map::new();
        map.extend(pid.map(|pid| ("pid".to_owned(), json!(pid))));
        map.extend(ldap.map(|ldap| ("ldap".to_owned(), json!(ldap))));
        map.insert("base".into(), json!(base));
        map.insert("admin_dn".into(), json!(bind_dn));
        map.insert("admin_password".into(), json!(self.admin_password));
        Value::Object(map)
    }
}

fn of_router(router: &RouterSettings, pid: Option<u32>) -> Value {
    with_listeners(json!({ "name": router.name, "pid": pid }), &router.listen)
}

fn of_cluster(cluster: &ClusterSettings, pid: &impl Fn(&str) -> Option<u32>) -> Value {
    let member = |member: &MemberSettings| {
        with_listeners(json!({ "name": member.name, "pid": pid(&member.name) }), &member.listen)
    };
    let members: Vec<Value> = cluster.members.iter().map(member).collect();
    json!({ "name": cluster.name, "storage": cluster.storage, "members": members })
}

fn with_listeners(mut value: Value, listen: &BTreeMap<Service, SocketAddr>) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.extend(listen.iter().map(|(service, address)| (service.name().to_owned(), json!(address))));
    }
    value
}

#[cfg(test)]
mod tests {
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
        let value = endpoints.to_json(&processes);
        assert_eq!(
            value["directory"],
            json!({ "pid": 7, "ldap": "127.0.0.1:10389", "base": "dc=example,dc=org", "admin_dn": "cn=admin,dc=example,dc=org", "admin_password": "apw" })
        );
        assert_eq!(value["routers"][0]["imaps"], "127.0.0.1:10993");
        assert_eq!(value["routers"][0]["pid"], 12);
        assert_eq!(value["clusters"][1]["members"][0]["name"], "cluster-2-a");
        assert_eq!(value["clusters"][1]["members"][0]["lmtp"], "127.0.0.1:22124");
        assert!(value["clusters"][0]["members"][0].get("http").is_none());
        assert_eq!(value["ca_certificate"], json!(home.path().join("ca.pem")));
    }
}
