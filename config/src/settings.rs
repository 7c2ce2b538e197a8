//! What each role is told, after every check has passed.
//!
//! One file describes a whole installation; each process reads the same file and is told its name. Paths are absolute
//! here: [`crate::Config::load`] resolves relative ones against the folder of the file. Secrets never stand in the file:
//! it names the files that hold them.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    foreign::{ForeignSettings, SmarthostSettings},
    sasl::{PasswordScheme, SaslSettings},
};

/// A whole installation: the directory, the routers, the clusters, and what they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The name that greetings, `Received` fields and bounces carry.
    pub domain: String,
    /// How accounts and clusters are looked up.
    pub directory: DirectorySettings,
    /// The certificates of every TLS listener.
    pub tls: TlsSettings,
    /// File that holds the bearer token of the admin API.
    pub admin_token: PathBuf,
    /// The front ends, by name.
    pub routers: Vec<RouterSettings>,
    /// The dynamic clusters, by name.
    pub clusters: Vec<ClusterSettings>,
    /// Servers of other kinds that accounts may live on, by host name; the first that fits counts.
    pub foreign: Vec<ForeignSettings>,
    /// Who takes mail for other sites; without it, submission is for our own accounts only.
    pub smarthost: Option<SmarthostSettings>,
    /// How clients may log in besides sending a password.
    pub sasl: SaslSettings,
    /// Bounds on what one client may ask of a process.
    pub limits: Limits,
}

/// How to reach the LDAP directory and what its attributes mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySettings {
    /// `ldap://host:port` or `ldaps://host:port`, tried in this order.
    pub urls: Vec<String>,
    /// Search base of accounts and clusters.
    pub base: String,
    /// Who to bind as; empty for anonymous.
    pub bind_dn: String,
    /// File that holds the password of `bind_dn`.
    pub bind_password: Option<PathBuf>,
    /// Upgrade `ldap://` connections with StartTLS.
    pub start_tls: bool,
    /// Certificates to trust besides the system's, for LDAPS and StartTLS.
    pub ca: Option<PathBuf>,
    /// Names of attributes and classes.
    pub profile: Profile,
    /// How long an answer is used without asking again. Default 60 s.
    pub fresh: Duration,
    /// How long "no such account" is believed. Default 5 s.
    pub unknown: Duration,
    /// How many routes are remembered at most. Default 1,000,000.
    pub entries_max: usize,
    /// Deadline of one look-up. Default 3 s.
    pub timeout: Duration,
    /// Persistent connections to the server in use. Default 2.
    pub connections: usize,
    /// How passwords are stored that the program is given; [`SaslSettings::new_passwords`].
    pub new_passwords: PasswordScheme,
    /// The embedded server of this installation, if it runs one.
    pub embedded: Option<EmbeddedDirectory>,
}

/// Names of the attributes and classes that describe an account in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Object class every account has, used in filters.
    pub object_class: String,
    /// Attributes a login name is compared with.
    pub login: Vec<String>,
    /// Attributes that hold addresses delivered to the account.
    pub address: Vec<String>,
    /// Attribute that names the home cluster (or a foreign host).
    pub mail_host: String,
    /// Attribute that holds the address mail is forwarded to.
    pub forward: String,
    /// Attribute that holds password hashes.
    pub password: String,
    /// Attribute that says whether the account may be used.
    pub status: String,
    /// Attribute that holds the quota in bytes.
    pub quota: String,
    /// Attribute that identifies the account for life.
    pub id: String,
}

impl Profile {
    /// The default profile: `inetOrgPerson` + `inetLocalMailRecipient`.
    #[must_use]
    pub fn inet_local_mail_recipient() -> Self {
        Self {
            object_class: "inetLocalMailRecipient".into(),
            login: vec!["uid".into(), "mail".into()],
            address: vec!["mailLocalAddress".into(), "mail".into()],
            mail_host: "mailHost".into(),
            forward: "mailRoutingAddress".into(),
            password: "userPassword".into(),
            status: "laniakeaStatus".into(),
            quota: "laniakeaQuota".into(),
            id: "entryUUID".into(),
        }
    }
}

/// The LDAP server that an installation without one of its own runs (`laniakea directory`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedDirectory {
    /// Where it listens for LDAP.
    pub listen: SocketAddr,
    /// Where it listens for LDAPS, if at all.
    pub listen_tls: Option<SocketAddr>,
    /// Folder of its database, on a local disk.
    pub data: PathBuf,
    /// Suffix it serves.
    pub base: String,
    /// Who may do everything.
    pub admin_dn: String,
    /// File that holds the password of `admin_dn`.
    pub admin_password: PathBuf,
    /// Certificate and key for LDAPS and StartTLS.
    pub tls: TlsSettings,
    /// How passwords are stored that come in plain text; [`SaslSettings::new_passwords`].
    pub new_passwords: PasswordScheme,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub metrics: Option<SocketAddr>,
}

/// The certificates of TLS listeners, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificate chain, leaf first: of whoever names no host, or one that no certificate is for.
    pub certificate: PathBuf,
    /// Private key, PKCS#8 or SEC1.
    pub key: PathBuf,
    /// Certificate of the authority that signed it, for clients that want to check.
    pub ca: Option<PathBuf>,
    /// Further certificates, each for the host names in it.
    pub others: Vec<CertificateSettings>,
}

/// A certificate chain and its key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSettings {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key, PKCS#8 or SEC1.
    pub key: PathBuf,
}

/// Mutual TLS between routers, members and their fellows, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoffTlsSettings {
    /// What each process shows the other: a member one that carries its name.
    pub own: CertificateSettings,
    /// The authority that signs for all of them, and for nobody else.
    pub ca: PathBuf,
}

/// One front end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSettings {
    /// Its name, as given to `laniakea router --name`.
    pub name: String,
    /// Where it listens, by service; what is missing is not served.
    pub listen: BTreeMap<Service, SocketAddr>,
    /// Balancers whose PROXY header is believed.
    pub proxy_from: Vec<IpNet>,
    /// Proxies that are believed what they say of their clients with ID and XCLIENT.
    pub trust_from: Vec<IpNet>,
    /// File that keeps the look-up cache across restarts; may be lost without harm.
    pub cache_file: Option<PathBuf>,
    /// How long sessions may go on after the router was told to end. Default 5 s.
    pub drain: Duration,
    /// Unix socket by which a new process takes the listeners over from a running one.
    pub replace_socket: Option<PathBuf>,
}

impl RouterSettings {
    /// Long enough for a command under way, short enough for whoever stops a service by hand.
    pub const DRAIN_DEFAULT: Duration = Duration::from_secs(5);
}

/// One dynamic cluster: members over one shared filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Its name: the value of `mailHost` in its accounts.
    pub name: String,
    /// Folder on the shared filesystem.
    pub storage: PathBuf,
    /// File that holds the 32-byte key of the cluster: seals tickets, authenticates members to one another.
    pub key: PathBuf,
    /// Networks whose PROXY preamble is believed on handoff listeners.
    pub handoff_from: Vec<IpNet>,
    /// Mutual TLS on handoff listeners; without it, handoffs are not encrypted.
    pub handoff_tls: Option<HandoffTlsSettings>,
    /// Balancers whose PROXY header is believed on the members' client listeners.
    pub proxy_from: Vec<IpNet>,
    /// Proxies that are believed there what they say of their clients with ID and XCLIENT.
    pub trust_from: Vec<IpNet>,
    /// So many free bytes of the storage are kept for what frees room: below, new mail is refused. Default 256 MiB; never more
    /// than a tenth of the storage.
    pub reserve_bytes: u64,
    /// What a member does that finds, when it starts, that its storage lies.
    pub probe: ProbePolicy,
    /// The members.
    pub members: Vec<MemberSettings>,
    /// When to suspect, declare dead, give up.
    pub timing: ClusterTiming,
    /// How fast a member opens what it inherits.
    pub openings: Openings,
}

impl ClusterSettings {
    /// What a fast disk takes in a second, and the snapshots and segments of many accounts.
    pub const RESERVE_BYTES: u64 = 256 << 20;
}

/// How many accounts a member opens at a time; so one that inherits a hundred thousand is not overrun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Openings {
    /// Accounts being opened at once. Default 32.
    pub at_once: usize,
    /// Accounts that may wait for their turn; who asks for more is told to come again. Default 10,000.
    pub waiting_max: usize,
}

impl Default for Openings {
    fn default() -> Self {
        Self { at_once: 32, waiting_max: 10_000 }
    }
}

/// What a member does about a storage that breaks what a cluster relies on. Default: refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProbePolicy {
    /// It does not join.
    #[default]
    On,
    /// It says so and joins.
    Warn,
    /// It does not look.
    Off,
}

impl ProbePolicy {
    /// The word in the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }

    /// Reads the word in the file.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::On, Self::Warn, Self::Off].into_iter().find(|policy| policy.word() == word)
    }
}

/// One member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSettings {
    /// Its name, unique in the installation.
    pub name: String,
    /// Where it listens for fellow members; it dials theirs from the same address.
    pub control: SocketAddr,
    /// Where it listens for connections that are handed over; it hands its own over from the same address.
    pub handoff: SocketAddr,
    /// Where others reach it.
    pub advertise: Advertised,
    /// Where clients may reach it directly, by service.
    pub listen: BTreeMap<Service, SocketAddr>,
}

/// Where others reach a member. The same as where it listens, unless something stands between: NAT, a container's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertised {
    /// Where fellow members dial for the cluster's protocol.
    pub control: SocketAddr,
    /// Where routers and fellow members dial to hand connections over.
    pub handoff: SocketAddr,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// IMAP with STARTTLS.
    Imap,
    /// IMAP inside TLS.
    Imaps,
    /// POP3 with STLS.
    Pop3,
    /// POP3 inside TLS.
    Pop3s,
    /// SMTP with STARTTLS, for other sites.
    Smtp,
    /// Submission with STARTTLS (RFC 6409).
    Submission,
    /// Submission inside TLS (RFC 8314).
    Submissions,
    /// LMTP (RFC 2033).
    Lmtp,
    /// HTTP.
    Http,
    /// HTTP inside TLS.
    Https,
    /// The question of nginx's mail proxy: where does this client belong?
    #[serde(rename = "auth_http")]
    AuthHttp,
    /// `/metrics`, `/healthz`, `/readyz` and the admin API.
    Metrics,
}

impl Service {
    /// Every service, in the order they are shown.
    pub const ALL: [Self; 12] = [
        Self::Imap,
        Self::Imaps,
        Self::Pop3,
        Self::Pop3s,
        Self::Smtp,
        Self::Submission,
        Self::Submissions,
        Self::Lmtp,
        Self::Http,
        Self::Https,
        Self::AuthHttp,
        Self::Metrics,
    ];

    /// Its name in the file and in `endpoints.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Lmtp => "lmtp",
            Self::Http => "http",
            Self::Https => "https",
            Self::AuthHttp => "auth_http",
            Self::Metrics => "metrics",
        }
    }

    /// The service of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }
}

/// When the cluster's protocol suspects, declares dead, and gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterTiming {
    /// Between pings. Default 200 ms.
    pub ping: Duration,
    /// Silence after which a member gets no new accounts. Default 1 s.
    pub suspect: Duration,
    /// Silence after which a member is dead. Default 2 s.
    pub dead: Duration,
    /// How long reads go on from the send time of the last answered ping. Default 1.2 s.
    pub read_lease: Duration,
    /// Between ticks of an idle member. Default 500 ms.
    pub tick_idle: Duration,
    /// Between ticks of a busy member at most; less where a tick is fast. Default 2 ms.
    pub tick_busy: Duration,
    /// How long a claim is tried. Default 10 s.
    pub claim: Duration,
    /// How long a member may take to release an account before it is fenced. Default 5 s.
    pub release: Duration,
    /// How long a member that is told to stop may take to give everything back. Default 10 s.
    pub stop: Duration,
    /// After a link ended it is dialled at once, after this long, and after three times this long. Default 50 ms.
    pub probe: Duration,
    /// How much longer each rank of candidates for controller waits. Default 50 ms.
    pub stagger: Duration,
    /// A member whose last tick is older does not reach the storage … Default 5 s.
    pub storage_lost: Duration,
    /// … in the eyes of one whose own is younger than this. Default 1 s.
    pub storage_fine: Duration,
    /// How long a commit may take before its client hears of a temporary failure. Default 30 s.
    pub commit: Duration,
    /// An account without sessions is released after this long. Default 5 min.
    pub idle_release: Duration,
}

impl Config {
    /// The router called `name`.
    #[must_use]
    pub fn router(&self, name: &str) -> Option<&RouterSettings> {
        self.routers.iter().find(|router| router.name == name)
    }

    /// The cluster called `name`.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&ClusterSettings> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// What is said of the server of another kind that a `mailHost` names; `None` if no such host is allowed.
    #[must_use]
    pub fn foreign(&self, mail_host: &str) -> Option<&ForeignSettings> {
        self.foreign.iter().find(|servers| servers.allows(mail_host))
    }

    /// The member called `name`, and its cluster.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<(&ClusterSettings, &MemberSettings)> {
        let members =
            self.clusters.iter().flat_map(|cluster| cluster.members.iter().map(move |member| (cluster, member)));
        members.into_iter().find(|(_, member)| member.name == name)
    }
}

impl ClusterTiming {
    /// How long after a fence no read lease can be left: half as long again as a lease, since the holder's clock may be a
    /// fifth slower than it should be, and the clock that measures this a fifth faster.
    #[must_use]
    pub fn lease_over(&self) -> Duration {
        self.read_lease * 3 / 2
    }
}

impl Default for ClusterTiming {
    fn default() -> Self {
        Self {
            ping: Duration::from_millis(200),
            suspect: Duration::from_secs(1),
            dead: Duration::from_secs(2),
            read_lease: Duration::from_millis(1200),
            tick_idle: Duration::from_millis(500),
            tick_busy: Duration::from_millis(2),
            claim: Duration::from_secs(10),
            release: Duration::from_secs(5),
            stop: Duration::from_secs(10),
            probe: Duration::from_millis(50),
            stagger: Duration::from_millis(50),
            storage_lost: Duration::from_secs(5),
            storage_fine: Duration::from_secs(1),
            commit: Duration::from_secs(30),
            idle_release: Duration::from_secs(300),
        }
    }
}

/// Bounds on what one client may ask of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest message accepted, in bytes. Default 50 MiB.
    pub message_bytes_max: u64,
    /// Recipients of one transaction. Default 1,000.
    pub recipients_max: usize,
    /// Connections of one client address. Default 1,000.
    pub connections_per_address_max: usize,
    /// Connections of a process. Default: 80 % of the open-files limit.
    pub connections_max: usize,
    /// Time from connection to login. Default 60 s.
    pub login: Duration,
    /// Idle time of a logged-in connection (RFC 9051 §5.4 asks for 30 min at least). Default 31 min.
    pub idle: Duration,
    /// Message bytes all connections of a process may hold in memory. Default 1 GiB.
    pub memory_bytes_max: u64,
}
