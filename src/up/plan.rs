//! What `up` was asked for, and what it was asked for last time.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Up, home::Home, ports};
use crate::exit::Failure;

/// The shape of the installation in one data folder. Kept there, so that a second start needs no flags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub domain: String,
    pub clusters: u16,
    pub members: u16,
    pub routers: u16,
    pub accounts: u32,
    /// 0: free ports.
    pub base_port: u16,
    /// The directory to use instead of the embedded one.
    pub ldap: Option<Ldap>,
    /// Folders on mounted filesystems, by cluster.
    pub storage: BTreeMap<String, PathBuf>,
}

/// A directory that is there already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ldap {
    pub urls: Vec<String>,
    pub base: String,
    pub bind_dn: String,
    pub bind_password_file: PathBuf,
}

impl Plan {
    /// What the last start in `home` decided, if there was one.
    pub fn saved(home: &Home) -> Result<Option<Self>, Failure> {
        let path = home.plan();
        match fs::read(&path) {
            Ok(bytes) => {
                let plan = serde_json::from_slice(&bytes).with_context(|| {
                    format!("read {} (written by an earlier `up`; remove it to use the flags alone)", path.display())
                });
                Ok(Some(plan.map_err(Failure::Configuration)?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(Failure::Configuration(anyhow::Error::new(error).context(format!("read {}", path.display()))))
            }
        }
    }

    /// What the flags ask for; what they leave open stays as it was, or takes its default.
    pub fn new(flags: &Up, saved: Option<&Self>) -> Result<Self, Failure> {
        let plan = Self {
            domain: flags
                .domain
                .clone()
                .or_else(|| saved.map(|plan| plan.domain.clone()))
                .unwrap_or_else(|| "example.org".into()),
            clusters: flags.clusters.or(saved.map(|plan| plan.clusters)).unwrap_or(2),
            members: flags.members.or(saved.map(|plan| plan.members)).unwrap_or(2),
            routers: flags.routers.or(saved.map(|plan| plan.routers)).unwrap_or(1),
            accounts: flags.accounts.or(saved.map(|plan| plan.accounts)).unwrap_or(10),
            base_port: flags.base_port.or(saved.map(|plan| plan.base_port)).unwrap_or(10_000),
            ldap: ldap(flags)?.or_else(|| saved.and_then(|plan| plan.ldap.clone())),
            storage: storage(flags, saved)?,
        };
        plan.check()?;
        if let Some(saved) = saved {
            plan.check_against(saved)?;
        }
        Ok(plan)
    }

    /// Names of the clusters.
    pub fn cluster_names(&self) -> impl Iterator<Item = String> + use<> {
        (1..=self.clusters).map(|number| format!("cluster-{number}"))
    }

    fn check(&self) -> Result<(), Failure> {
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && !label.starts_with('-')
        };
        if !self.domain.split('.').all(is_label) || self.domain.len() > 253 {
            return Err(Failure::usage(format_args!(
                "--domain `{}` is not a domain name such as example.org",
                self.domain
            )));
        }
        if self.base_port > ports::BASE_MAX {
            return Err(Failure::usage(format_args!(
                "--base-port {} leaves too little room: the highest port in use is {} above it; at most {}, or 0 for free ports",
                self.base_port,
                ports::SPAN,
                ports::BASE_MAX
            )));
        }
        let names: Vec<String> = self.cluster_names().collect();
        if let Some(name) = self.storage.keys().find(|name| !names.contains(name)) {
            return Err(Failure::usage(format_args!(
                "--storage names `{name}`, but the clusters are {}",
                names.join(", ")
            )));
        }
        Ok(())
    }

    /// What cannot change in a folder that holds mail already.
    fn check_against(&self, saved: &Self) -> Result<(), Failure> {
        let refuse =
            |text: String| Err(Failure::Usage(anyhow::anyhow!("{text}; use another --data for another installation")));
        if self.domain != saved.domain {
            return refuse(format!("this folder holds the accounts of {}, not of {}", saved.domain, self.domain));
        }
        if self.clusters < saved.clusters {
            return refuse(format!(
                "this folder holds {} clusters, and accounts live in each: it cannot go on with {}",
                saved.clusters, self.clusters
            ));
        }
        if self.ldap.is_some() != saved.ldap.is_some() {
            return refuse(
                "this folder's accounts are known by the ids of the directory they were made in, embedded or not"
                    .into(),
            );
        }
        for (name, path) in saved.cluster_names().filter_map(|name| Some((name.clone(), saved.storage.get(&name)?))) {
            if self.storage.get(&name) != Some(path) {
                return refuse(format!("{name} stores its mail in {}", path.display()));
            }
        }
        let mut new_paths =
            saved.cluster_names().filter(|name| self.storage.contains_key(name) && !saved.storage.contains_key(name));
        if let Some(name) = new_paths.next() {
            return refuse(format!("{name} stores its mail inside this folder already"));
        }
        Ok(())
    }

    /// What is different from `saved`, for the message that the configuration is written anew.
    pub fn differences(&self, saved: &Self) -> Vec<String> {
        let mut list = Vec::new();
        let mut compare = |flag: &str, old: &dyn fmt::Display, new: &dyn fmt::Display| {
            let (old, new) = (old.to_string(), new.to_string());
            if old != new {
                list.push(format!("{flag} {old} → {new}"));
            }
        };
        compare("--clusters", &saved.clusters, &self.clusters);
        compare("--members", &saved.members, &self.members);
        compare("--routers", &saved.routers, &self.routers);
        compare("--base-port", &saved.base_port, &self.base_port);
        if saved.ldap != self.ldap {
            list.push("--ldap-…".into());
        }
        if saved.storage != self.storage {
            list.push("--storage".into());
        }
        list
    }
}

fn ldap(flags: &Up) -> Result<Option<Ldap>, Failure> {
    if flags.ldap_url.is_empty() {
        return Ok(None);
    }
    // clap sees to it that all four are given together.
    let (Some(base), Some(bind_dn), Some(file)) =
        (&flags.ldap_base, &flags.ldap_bind_dn, &flags.ldap_bind_password_file)
    else {
        return Err(Failure::usage("--ldap-url needs --ldap-base, --ldap-bind-dn and --ldap-bind-password-file"));
    };
    let bind_password_file = absolute(file).map_err(Failure::Usage)?;
    Ok(Some(Ldap { urls: flags.ldap_url.clone(), base: base.clone(), bind_dn: bind_dn.clone(), bind_password_file }))
}

fn storage(flags: &Up, saved: Option<&Plan>) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut map = saved.map(|plan| plan.storage.clone()).unwrap_or_default();
    for text in &flags.storage {
        let Some((cluster, path)) = text.split_once('=') else {
            return Err(Failure::usage(format_args!(
                "--storage `{text}` is not CLUSTER=PATH, such as cluster-1=/mnt/mail"
            )));
        };
        let path = absolute(Path::new(path)).map_err(Failure::Usage)?;
        if !path.is_dir() {
            return Err(Failure::usage(format_args!(
                "--storage: {} is not a folder; mount the filesystem first",
                path.display()
            )));
        }
        map.insert(cluster.to_owned(), path);
    }
    Ok(map)
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    fs::canonicalize(path).with_context(|| format!("find {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: Up,
    }

    fn flags(words: &[&str]) -> Up {
        Line::try_parse_from(std::iter::once(&"up").chain(words)).unwrap().up
    }

    fn plan(words: &[&str], saved: Option<&Plan>) -> Result<Plan, String> {
        Plan::new(&flags(words), saved).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_second_start_without_flags_goes_on_as_before() {
        let first = plan(&["--clusters", "3", "--domain", "example.net", "--base-port", "0"], None).unwrap();
        assert_eq!(plan(&[], Some(&first)).unwrap(), first);
    }

    #[test]
    fn differences_are_told_by_their_flags() {
        let first = plan(&[], None).unwrap();
        let second = plan(&["--members", "3"], Some(&first)).unwrap();
        assert_eq!(second.differences(&first), ["--members 2 → 3"]);
        assert!(first.differences(&first).is_empty());
    }

    #[test]
    fn what_would_lose_mail_is_refused() {
        let first = plan(&[], None).unwrap();
        for words in [&["--clusters", "1"][..], &["--domain", "example.net"], &["--storage", "cluster-1=/tmp"]] {
            assert!(plan(words, Some(&first)).unwrap_err().contains("another --data"), "{words:?}");
        }
    }

    #[test]
    fn impossible_flags_are_explained() {
        assert!(plan(&["--domain", "no domain"], None).unwrap_err().contains("domain name"));
        assert!(plan(&["--base-port", "60000"], None).unwrap_err().contains("at most 45536"));
        assert!(plan(&["--storage", "cluster-9=/tmp"], None).unwrap_err().contains("cluster-1, cluster-2"));
        assert!(plan(&["--storage", "cluster-1"], None).unwrap_err().contains("CLUSTER=PATH"));
        assert!(Line::try_parse_from(["up", "--ldap-url", "ldap://h"]).is_err());
        assert!(Line::try_parse_from(["up", "--clusters", "10"]).is_err());
    }
}
