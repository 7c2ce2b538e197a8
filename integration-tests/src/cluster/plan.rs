//! What a cluster on hosts is made of, and the files that tell its processes.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use laniakea_backend::drive::arbiter::initialise_storage;
use laniakea_config::{
    Advertised, ClusterSettings, ClusterTiming, Config, DirectorySettings, EmbeddedDirectory, Limits, MemberSettings,
    ProbePolicy, Profile, RouterSettings, Service, TlsSettings,
};
use laniakea_directory::{
    Address, Admin, ClusterName, ClusterRecord, LoginName, NewAccount, Secret, password::hash_password,
    provision::NewPassword,
};

/// What lies under the storage of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// A folder of this machine, the same for all.
    Folder,
    /// [`crate::faultfs`]: for each member a mount of its own, which caches for so long.
    Mounted {
        /// How long it caches.
        cached: Duration,
    },
}

impl Storage {
    /// Mounts that cache nothing.
    pub const STRICT: Self = Self::Mounted { cached: Duration::ZERO };
}

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Members, each on a host of its own.
    pub members: u8,
    /// Accounts.
    pub accounts: u32,
    /// Where the mail is.
    pub storage: Storage,
    /// How far the monotonic clocks of the members are ahead, in seconds; those not named are not.
    pub clocks: Vec<i64>,
    /// What members are started under, such as `faketime`; by member.
    pub wrappers: Vec<Vec<String>>,
    /// Whether members probe the storage each time they start, which takes three seconds.
    pub probe: ProbePolicy,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            members: 3,
            accounts: 6,
            storage: Storage::Folder,
            clocks: Vec::new(),
            wrappers: Vec::new(),
            probe: ProbePolicy::default(),
        }
    }
}

/// The domain of all accounts.
pub const DOMAIN: &str = "example.org";

/// The name of the cluster.
pub const CLUSTER: &str = "blue";

/// The password of all accounts.
pub const PASSWORD: &str = "correct horse";

const BASE: &str = "dc=example,dc=org";

/// The file that all processes read, below the folder of the test.
pub fn file(folder: &Path) -> PathBuf {
    folder.join("laniakea.yaml")
}

/// Where the members find the mail, below the folder of the test.
pub fn storage(folder: &Path, storage: Storage) -> PathBuf {
    match storage {
        Storage::Folder => backing(folder),
        Storage::Mounted { .. } => folder.join("mount"),
    }
}

/// Where the mail really is.
pub fn backing(folder: &Path) -> PathBuf {
    folder.join("storage")
}

/// Writes the configuration and its secrets.
pub fn write(folder: &Path, plan: &Plan, front: IpAddr, members: &[(String, IpAddr)]) -> Result<Config> {
    for name in ["tls", "secrets", "storage", "mount", "logs", "directory"] {
        fs::create_dir_all(folder.join(name))?;
    }
    let tls = certificate(folder)?;
    for (name, text) in [("admin-token", "token-of-a-test-long-enough"), ("directory-password", "directory secret")] {
        fs::write(folder.join("secrets").join(name), text)?;
    }
    fs::write(folder.join("secrets/blue.key"), rand::random::<[u8; 32]>())?;
    let config = Config {
        domain: DOMAIN.into(),
        directory: directory(folder, front, &tls),
        tls,
        admin_token: folder.join("secrets/admin-token"),
        routers: vec![RouterSettings {
            name: "router".into(),
            listen: [(Service::Imap, 143), (Service::Smtp, 25), (Service::Lmtp, 24), (Service::Metrics, 9090)]
                .map(|(service, port)| (service, SocketAddr::new(front, port)))
                .into(),
            trust_from: Vec::new(),
            proxy_from: vec!["10.0.0.0/8".parse()?], // the test, as a balancer
            cache_file: None,
            drain: RouterSettings::DRAIN_DEFAULT,
            replace_socket: None,
        }],
        clusters: vec![ClusterSettings {
            name: CLUSTER.into(),
            storage: storage(folder, plan.storage),
            key: folder.join("secrets/blue.key"),
            proxy_from: Vec::new(),
            trust_from: Vec::new(),
            handoff_tls: None,
            handoff_from: vec!["10.0.0.0/8".parse()?],
            members: members.iter().map(|(name, address)| member(name, *address)).collect(),
            reserve_bytes: ClusterSettings::RESERVE_BYTES,
            probe: plan.probe,
            timing: ClusterTiming::default(),
            openings: Default::default(),
        }],
        foreign: Vec::new(),
        smarthost: None,
        sasl: Default::default(),
        limits: Limits {
            message_bytes_max: 50 << 20,
            recipients_max: 1_000,
            connections_per_address_max: 100_000, // all clients of a test have the same address
            connections_max: 0,                   // decided by each process
            login: Duration::from_secs(60),
            idle: Duration::from_secs(31 * 60),
            memory_bytes_max: 1 << 30,
        },
    };
    fs::write(file(folder), config.render(folder))?;
    initialise_storage(&backing(folder), &ClusterName::new(CLUSTER))?;
    Ok(config)
}

/// The same, with one member on another host.
pub fn with_member_at(config: &Config, name: &str, address: IpAddr) -> Config {
    let mut config = config.clone();
    for settings in config.clusters.iter_mut().flat_map(|cluster| &mut cluster.members) {
        if settings.name == name {
            *settings = member(name, address);
        }
    }
    config
}

fn member(name: &str, address: IpAddr) -> MemberSettings {
    let at = |port| SocketAddr::new(address, port);
    let (control, handoff) = (at(7001), at(7002));
    MemberSettings {
        name: name.to_owned(),
        control,
        handoff,
        advertise: Advertised { control, handoff },
        // Who is on the host itself needs no TLS.
        listen: BTreeMap::from([
            (Service::Imap, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 143)),
            (Service::Metrics, at(9090)),
        ]),
    }
}

fn directory(folder: &Path, front: IpAddr, tls: &TlsSettings) -> DirectorySettings {
    let listen = SocketAddr::new(front, 389);
    let admin_dn = format!("cn=admin,{BASE}");
    let admin_password = folder.join("secrets/directory-password");
    DirectorySettings {
        urls: vec![format!("ldap://{listen}")],
        base: BASE.into(),
        bind_dn: admin_dn.clone(),
        bind_password: Some(admin_password.clone()),
        start_tls: false,
        ca: None,
        profile: Profile::inet_local_mail_recipient(),
        fresh: Duration::from_secs(600),
        unknown: Duration::from_secs(5),
        entries_max: 100_000,
        timeout: Duration::from_secs(3),
        connections: 2,
        new_passwords: Default::default(),
        embedded: Some(EmbeddedDirectory {
            new_passwords: Default::default(),
            listen,
            listen_tls: None,
            data: folder.join("directory"),
            base: BASE.into(),
            admin_dn,
            admin_password,
            tls: tls.clone(),
            metrics: Some(SocketAddr::new(front, 9089)),
        }),
    }
}

fn certificate(folder: &Path) -> Result<TlsSettings> {
    let made = rcgen::generate_simple_self_signed(vec![DOMAIN.to_owned()]).context("make a certificate")?;
    let (certificate, key) = (folder.join("tls/server.pem"), folder.join("tls/server.key"));
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    Ok(TlsSettings { certificate, key, ca: None, others: Vec::new() })
}

/// The address of account number `number`, from 1.
#[must_use]
pub fn account(number: u32) -> String {
    format!("user{number}@{DOMAIN}")
}

/// Enters the cluster and its accounts in the directory.
pub async fn provision(config: &Config, accounts: u32) -> Result<()> {
    let admin = Admin::connect(&config.directory).await.context("reach the directory")?;
    admin.prepare().await?;
    let cluster = config.clusters.first().context("no cluster")?;
    let members = cluster.members.iter().map(|member| member.handoff.to_string()).collect();
    admin.put_cluster(&ClusterRecord { name: ClusterName::new(CLUSTER), members }).await?;
    let hashed = hash_password(&Secret::new(PASSWORD.as_bytes().to_vec()), Default::default());
    let entry = |number| -> Result<NewAccount> {
        let text = account(number);
        Ok(NewAccount {
            login: LoginName::parse(&text)?,
            addresses: vec![Address::parse(&text)?],
            name: format!("User {number}"),
            mail_host: CLUSTER.into(),
            password: NewPassword::Hashed(hashed.clone()),
            forward: None,
            quota: None,
        })
    };
    admin.add_many((1..=accounts).map(entry).collect::<Result<Vec<_>>>()?).await?;
    Ok(())
}
