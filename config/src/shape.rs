//! What may stand in the file: every key, what its value looks like, its default, and a sentence about it.
//!
//! One table serves three readers: the check for unknown keys and wrong types, the JSON schema for editors, and the
//! person who asks what a key means. What the *combination* of values must obey is in `check.rs`.

use std::net::SocketAddr;

use ipnet::IpNet;

use crate::{
    fault::{Fault, nearest},
    raw::{Node, Value},
    units,
};

/// What a value looks like.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Any text that is not empty.
    Text,
    /// The name of a process or cluster.
    Name,
    /// A path, absolute or relative to the folder of the file.
    Path,
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds.
    Count(u64, u64),
    /// `200ms`, `5s`, `10min`.
    Duration,
    /// `50 MiB`.
    Size,
    /// `127.0.0.1:143` or `[::1]:143`.
    Socket,
    /// `10.0.0.0/8`.
    Network,
    /// `ldap://host:port` or `ldaps://host:port`.
    LdapUrl,
    /// A list of such values.
    List(&'static Shape),
    /// Keys and values.
    Table(&'static [Key]),
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, or a table that overrides single keys of it.
    WordOrTable(&'static [&'static str], &'static [Key]),
}

/// Whether a key may be left out.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// It must be there.
    Required,
    /// Without it, this.
    Default(&'static str),
    /// Without it, the thing does not exist.
    Optional,
}

/// One key of a table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value looks like.
    pub shape: Shape,
    /// Whether it may be left out.
    pub need: Need,
    /// What it means, in one sentence.
    pub about: &'static str,
}

const fn key(name: &'static str, shape: Shape, need: Need, about: &'static str) -> Key {
    Key { name, shape, need, about }
}

use Need::{Default as Else, Optional, Required};
use Shape::{Count, Duration, Flag, LdapUrl, List, Name, Network, Path, Size, Socket, Table, Text, Word, WordOrTable};

/// The file as a whole.
pub const FILE: Shape = Table(&[
    key("domain", Text, Required, "The name that greetings, Received fields and bounces carry."),
    key("directory", Table(DIRECTORY), Required, "How accounts and clusters are looked up."),
    key("tls", Table(TLS), Required, "Certificate and key of every TLS listener."),
    key("admin", Table(ADMIN), Required, "Who may use the admin API."),
    key("routers", List(&Table(ROUTER)), Optional, "The stateless front ends."),
    key("clusters", List(&Table(CLUSTER)), Optional, "The dynamic clusters."),
    key(
        "foreign",
        List(&Table(FOREIGN)),
        Optional,
        "Servers of other kinds that accounts may live on: Dovecot, Cyrus and the like.",
    ),
    key("smarthost", Table(SMARTHOST), Optional, "Who takes submitted mail for other sites; without it there is none."),
    key("sasl", Table(SASL), Optional, "How clients may log in besides PLAIN and LOGIN."),
    key("limits", Table(LIMITS), Optional, "Bounds on what one client may ask of a process."),
]);

const DIRECTORY: &[Key] = &[
    key("urls", List(&LdapUrl), Required, "The LDAP servers, tried in this order."),
    key("base", Text, Required, "Search base of accounts and clusters, such as dc=example,dc=org."),
    key("bind_dn", Text, Optional, "Who to bind as; anonymous without it."),
    key("bind_password_file", Path, Optional, "File that holds the password of bind_dn."),
    key("start_tls", Flag, Else("false"), "Upgrade ldap:// connections with StartTLS."),
    key("ca_file", Path, Optional, "Certificates to trust besides the system's, PEM."),
    key(
        "profile",
        WordOrTable(PROFILES, PROFILE),
        Else("inetLocalMailRecipient"),
        "Names of attributes and classes: a shipped profile, or a table that overrides single names of the default one.",
    ),
    key("fresh", Duration, Else("60s"), "How long an answer is used without asking again."),
    key("unknown", Duration, Else("5s"), "How long 'no such account' is believed."),
    key("entries_max", Count(1, 100_000_000), Else("1000000"), "How many routes are remembered at most."),
    key("timeout", Duration, Else("3s"), "Deadline of one look-up."),
    key("connections", Count(1, 256), Else("2"), "Persistent connections to the server in use."),
    key("embedded", Table(EMBEDDED), Optional, "The LDAP server this installation runs itself (`laniakea directory`)."),
];

/// The profiles that ship with the program.
pub const PROFILES: &[&str] =
    &["inetLocalMailRecipient", "zimbra", "qmail-ldap", "courier", "perdition", "communigate"];

const PROFILE: &[Key] = &[
    key("object_class", Text, Optional, "Object class every account has."),
    key("login", List(&Text), Optional, "Attributes a login name is compared with."),
    key("address", List(&Text), Optional, "Attributes that hold addresses delivered to the account."),
    key("mail_host", Text, Optional, "Attribute that names the home cluster."),
    key("forward", Text, Optional, "Attribute that holds the address mail is forwarded to."),
    key("password", Text, Optional, "Attribute that holds password hashes."),
    key("status", Text, Optional, "Attribute that says whether the account may be used."),
    key("quota", Text, Optional, "Attribute that holds the quota in bytes."),
    key("id", Text, Optional, "Attribute that identifies the account for life."),
];

const EMBEDDED: &[Key] = &[
    key("listen", Socket, Required, "Where it listens for LDAP."),
    key("listen_tls", Socket, Optional, "Where it listens for LDAPS."),
    key("data", Path, Required, "Folder of its database, on a local disk."),
    key("base", Text, Optional, "Suffix it serves; the search base without it."),
    key("admin_dn", Text, Required, "Who may do everything."),
    key("admin_password_file", Path, Required, "File that holds the password of admin_dn."),
    key("metrics", Socket, Optional, "Where /metrics, /healthz and /readyz are served."),
];

const TLS: &[Key] = &[
    key(
        "certificate_file",
        Path,
        Required,
        "Certificate chain, leaf first, PEM; shown to whoever names no host, or one that no certificate is for.",
    ),
    key("key_file", Path, Required, "Private key, PEM."),
    key("ca_file", Path, Optional, "Certificate of the authority that signed it, for clients that check."),
    key(
        "others",
        List(&Table(CERTIFICATE)),
        Optional,
        "Further certificates: clients get the one for the host they name (SNI), or one of another kind of key.",
    ),
];

const CERTIFICATE: &[Key] = &[
    key("certificate_file", Path, Required, "Certificate chain, leaf first, PEM; its host names say whom it is for."),
    key("key_file", Path, Required, "Private key, PEM."),
];

const ADMIN: &[Key] = &[key("token_file", Path, Required, "File that holds the bearer token of the admin API.")];

const ROUTER: &[Key] = &[
    key("name", Name, Required, "Its name, as given to `laniakea router --name`."),
    key("listen", Table(LISTEN), Required, "Where it listens, by service; what is missing is not served."),
    key("proxy_from", List(&Network), Optional, "Balancers whose PROXY header is believed; they must send one."),
    key("trust_from", List(&Network), Optional, TRUST_FROM),
    key("cache_file", Path, Optional, "Keeps the look-up cache across restarts; may be lost without harm."),
    key(
        "drain",
        Duration,
        Else("5s"),
        "How long sessions may go on after it was told to end; those between two commands end at once, with a word.",
    ),
    key(
        "replace_socket",
        Path,
        Optional,
        "Unix socket by which `laniakea router --replace` takes the listeners over from the router that runs.",
    ),
];

const TRUST_FROM: &str = "Mail proxies (nginx, Dovecot) that are believed what they say of clients with ID and XCLIENT, and may log in without TLS.";

const CLUSTER: &[Key] = &[
    key("name", Name, Required, "Its name: the value of mailHost in its accounts."),
    key("storage", Path, Required, "Its folder on the shared filesystem."),
    key("key_file", Path, Required, "File of 32 random bytes: seals tickets, authenticates members to one another."),
    key(
        "handoff_from",
        List(&Network),
        Else("[127.0.0.0/8, '::1/128']"),
        "Networks of routers and members whose handoffs are believed.",
    ),
    key(
        "handoff_tls",
        Table(HANDOFF_TLS),
        Optional,
        "Mutual TLS on handoff listeners; without it, nothing is encrypted there.",
    ),
    key(
        "proxy_from",
        List(&Network),
        Optional,
        "Balancers whose PROXY header is believed on the members' client listeners; they must send one.",
    ),
    key("trust_from", List(&Network), Optional, TRUST_FROM),
    key(
        "reserve",
        Size,
        Else("256 MiB"),
        "Free room of the storage that is kept for what frees room, at most a tenth of it: below, new mail is refused for now.",
    ),
    key(
        "probe",
        Word(PROBE),
        Else("on"),
        "What a member does that finds, when it starts, that its storage lies: `on` refuses to join, `warn` says so, `off` does not look.",
    ),
    key("members", List(&Table(MEMBER)), Required, "Its members."),
    key("timing", Table(TIMING), Optional, "When to suspect, declare dead, give up."),
    key("openings", Table(OPENINGS), Optional, "How fast a member opens what it inherits."),
];

const HANDOFF_TLS: &[Key] = &[
    key(
        "certificate_file",
        Path,
        Required,
        "Certificate chain that a process shows its peer, leaf first, PEM; a member's carries the member's name as a DNS name.",
    ),
    key("key_file", Path, Required, "Private key, PEM."),
    key(
        "ca_file",
        Path,
        Required,
        "The authority that must have signed the peer's certificate; it signs for nobody else.",
    ),
];

const FOREIGN: &[Key] = &[
    key(
        "hosts",
        List(&Text),
        Required,
        "Values of mailHost that are let through: host names, *.domain, or * for every host the directory may name.",
    ),
    key("tls", Word(FOREIGN_TLS), Else("starttls"), "How connections are encrypted: off, starttls or implicit."),
    key("verify", Flag, Else("true"), "Whether the certificate must be the host's."),
    key("ca_file", Path, Optional, "Certificates to trust besides the system's, PEM."),
    key("imap", Count(1, 65_535), Optional, "Port of IMAP: 143, or 993 with implicit TLS."),
    key("pop3", Count(1, 65_535), Optional, "Port of POP3: 110, or 995 with implicit TLS."),
    key("lmtp", Count(1, 65_535), Optional, "Port of LMTP; without it, mail goes there by SMTP."),
    key("smtp", Count(1, 65_535), Else("25"), "Port of SMTP."),
    key("sieve", Count(1, 65_535), Else("4190"), "Port of ManageSieve."),
    key(
        "http",
        Count(1, 65_535),
        Optional,
        "Port of its web service, inside TLS unless `tls` is off; without it, there is none.",
    ),
    key("proxy_header", Flag, Else("false"), "Whether connections begin with a PROXY header of version 2."),
    key(
        "introduce",
        Flag,
        Else("true"),
        "Whether the server is told who the client is, by ID or XCLIENT, if it offers that.",
    ),
];

const SMARTHOST: &[Key] = &[
    key("host", Text, Required, "Its name."),
    key("port", Count(1, 65_535), Optional, "Its port: 587, or 465 with implicit TLS."),
    key("tls", Word(FOREIGN_TLS), Else("starttls"), "How connections are encrypted: off, starttls or implicit."),
    key("verify", Flag, Else("true"), "Whether the certificate must be the host's."),
    key("ca_file", Path, Optional, "Certificates to trust besides the system's, PEM."),
    key("user", Text, Optional, "Whom to log in as, if it asks for that."),
    key("password_file", Path, Optional, "File that holds the password of user."),
];

const SASL: &[Key] = &[
    key(
        "mechanisms",
        List(&Word(MECHANISMS)),
        Optional,
        "Offered besides PLAIN and LOGIN. A client that prefers one of them tries no other: scram-sha-256 belongs here only if \
         every account's password is stored as {SCRAM-SHA-256}.",
    ),
    key("tokens", Table(TOKENS), Optional, "Which tokens members believe: what oauthbearer and xoauth2 need."),
];

/// What may be offered besides PLAIN and LOGIN. The words are those of [`crate::Mechanism`].
pub const MECHANISMS: &[&str] = &["scram-sha-256", "oauthbearer", "xoauth2"];

const TOKENS: &[Key] = &[
    key("keys_file", Path, Required, "The issuer's public keys, a JSON Web Key Set; read again on SIGHUP."),
    key("issuer", Text, Required, "Who must have made a token: its iss."),
    key("audience", Text, Required, "Whom a token must be for: one of its aud."),
    key("claim", Text, Else("email"), "The claim that holds the login name or an address of the account."),
];

/// How connections to servers of other kinds are encrypted. The words are those of [`crate::ForeignTls`].
pub const FOREIGN_TLS: &[&str] = &["off", "starttls", "implicit"];

/// What may be done about a filesystem that lies. The words are those of [`crate::ProbePolicy`].
pub const PROBE: &[&str] = &["on", "warn", "off"];

const MEMBER: &[Key] = &[
    key("name", Name, Required, "Its name, as given to `laniakea backend --name`."),
    key("control", Socket, Required, "Where it listens for fellow members, and from whose address it dials theirs."),
    key(
        "handoff",
        Socket,
        Required,
        "Where routers and fellow members hand connections over, and from whose address it does so itself.",
    ),
    key(
        "advertise",
        Table(ADVERTISE),
        Optional,
        "Where others reach it, if not where it listens: behind NAT, in a container.",
    ),
    key("listen", Table(LISTEN), Optional, "Where clients may reach it directly, by service."),
];

const ADVERTISE: &[Key] = &[
    key("control", Socket, Optional, "Where fellow members dial, instead of `control`."),
    key("handoff", Socket, Optional, "Where routers and fellow members dial, instead of `handoff`."),
];

/// The services, in the order they are shown. The names are those of [`crate::Service`].
pub const LISTEN: &[Key] = &[
    key("imap", Socket, Optional, "IMAP with STARTTLS (usually port 143)."),
    key("imaps", Socket, Optional, "IMAP inside TLS (993)."),
    key("pop3", Socket, Optional, "POP3 with STLS (110)."),
    key("pop3s", Socket, Optional, "POP3 inside TLS (995)."),
    key("smtp", Socket, Optional, "SMTP with STARTTLS, for other sites (25)."),
    key("submission", Socket, Optional, "Submission with STARTTLS (587)."),
    key("submissions", Socket, Optional, "Submission inside TLS (465)."),
    key("lmtp", Socket, Optional, "LMTP (24)."),
    key("http", Socket, Optional, "HTTP (80)."),
    key("https", Socket, Optional, "HTTP inside TLS (443)."),
    key(
        "auth_http",
        Socket,
        Optional,
        "Where nginx's mail proxy asks who goes where (auth_http); only networks of trust_from are answered.",
    ),
    key("metrics", Socket, Optional, "/metrics, /healthz, /readyz and the admin API."),
];

const OPENINGS: &[Key] = &[
    key("at_once", Count(1, 10_000), Else("32"), "Accounts a member opens at once."),
    key("waiting_max", Count(1, 10_000_000), Else("10000"), "Accounts that may wait for their turn."),
];

const TIMING: &[Key] = &[
    key("ping", Duration, Else("200ms"), "Between pings."),
    key("suspect", Duration, Else("1s"), "Silence after which a member gets no new accounts."),
    key("dead", Duration, Else("2s"), "Silence after which a member is dead."),
    key("read_lease", Duration, Else("1200ms"), "How long reads go on from the send time of the last answered ping."),
    key("tick_idle", Duration, Else("500ms"), "Between ticks of an idle member."),
    key("tick_busy", Duration, Else("2ms"), "Between ticks of a busy member at most; less where a tick is fast."),
    key("claim", Duration, Else("10s"), "How long a claim is tried."),
    key("release", Duration, Else("5s"), "How long a member may take to release an account before it is fenced."),
    key("stop", Duration, Else("10s"), "How long a member that is told to stop may take to give everything back."),
    key(
        "probe",
        Duration,
        Else("50ms"),
        "A lost link is dialled at once, after this long, and after three times this long.",
    ),
    key("stagger", Duration, Else("50ms"), "How much longer each rank of candidates for controller waits."),
    key(
        "storage_lost",
        Duration,
        Else("5s"),
        "A member whose last tick is older than this does not reach the storage.",
    ),
    key("storage_fine", Duration, Else("1s"), "Only a member whose own last tick is younger than this may say so."),
    key("commit", Duration, Else("30s"), "How long a commit may take before its client hears of a temporary failure."),
    key("idle_release", Duration, Else("5min"), "An account without sessions is released after this long."),
];

const LIMITS: &[Key] = &[
    key("message_max", Size, Else("50 MiB"), "Largest message accepted."),
    key("recipients_max", Count(1, 100_000), Else("1000"), "Recipients of one transaction."),
    key("connections_per_address_max", Count(1, 10_000_000), Else("1000"), "Connections of one client address."),
    key(
        "connections_max",
        Count(1, 10_000_000),
        Optional,
        "Connections of a process; without it, 80 % of the open-files limit.",
    ),
    key("login", Duration, Else("60s"), "Time from connection to login."),
    key("idle", Duration, Else("31min"), "Idle time of a logged-in connection."),
    key("memory_max", Size, Else("1 GiB"), "Message bytes all connections of a process may hold in memory."),
];

/// Longest name of a process or cluster: what fits a DNS label and a file name everywhere.
const NAME_BYTES_MAX: usize = 63;

impl Shape {
    /// What this looks like, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Text => "text".into(),
            Name => "a name of lower-case letters, digits and `-`, at most 63 characters".into(),
            Path => "a path".into(),
            Flag => "`true` or `false`".into(),
            Count(least, most) => format!("a whole number from {least} to {most}"),
            Duration => units::DURATION_FORM.into(),
            Size => units::SIZE_FORM.into(),
            Socket => "an IP address and a port, such as `127.0.0.1:143` or `[::1]:143`".into(),
            Network => "a network, such as `10.0.0.0/8` or `fd00::/8`".into(),
            LdapUrl => "`ldap://host:port` or `ldaps://host:port`".into(),
            List(one) => format!("a list; each element: {}", one.describe()),
            Table(keys) => format!("a table with {}", names(keys)),
            Word(words) => one_of(words),
            WordOrTable(words, keys) => format!("{}, or a table with {}", one_of(words), names(keys)),
        }
    }

    /// Adds to `faults` everything in `node` that does not look like this: unknown keys, missing keys, wrong types.
    pub fn check(&self, node: &Node, what: &str, faults: &mut Vec<Fault>) {
        match (self, &node.value) {
            (List(one), Value::List(list)) => {
                for (index, element) in list.iter().enumerate() {
                    one.check(element, &format!("{what}[{index}]"), faults);
                }
            }
            (Table(keys), Value::Table(_)) => check_table(keys, node, what, faults),
            (WordOrTable(_, keys), Value::Table(_)) => check_table(keys, node, what, faults),
            (Word(words) | WordOrTable(words, _), Value::Text(text)) => {
                if !words.contains(&text.as_str()) {
                    let fault = Fault::at(node.place, format!("unknown {what} `{text}`")).expected(self.describe());
                    faults.push(with_nearest(fault, text, words.iter().copied()));
                }
            }
            _ => {
                if !self.admits(node) {
                    let fault = Fault::at(node.place, format!("`{what}` is {}", node.kind())).expected(self.describe());
                    faults.push(self.advise(fault, node));
                }
            }
        }
    }

    fn admits(&self, node: &Node) -> bool {
        match (self, &node.value) {
            (Text | Path, Value::Text(text)) => !text.trim().is_empty(),
            (Name, Value::Text(text)) => is_name(text),
            (Flag, Value::Flag(_)) => true,
            (Count(least, most), Value::Count(value)) => (least..=most).contains(&value),
            (Duration, Value::Text(text)) => units::parse_duration(text).is_some(),
            (Size, Value::Text(text)) => units::parse_size(text).is_some(),
            (Socket, Value::Text(text)) => text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0),
            (Network, Value::Text(text)) => text.parse::<IpNet>().is_ok(),
            (LdapUrl, Value::Text(text)) => is_ldap_url(text),
            _ => false,
        }
    }

    /// Adds what was probably meant.
    fn advise(&self, fault: Fault, node: &Node) -> Fault {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Count(value) => value.to_string(),
            Value::Flag(value) => value.to_string(),
            Value::Number(value) => value.clone(),
            Value::Null | Value::List(_) | Value::Table(_) => return fault,
        };
        let try_this = match self {
            Text | Path if !text.trim().is_empty() => Some(format!("\"{text}\", in quotes")),
            Name => Some(as_name(&text)).filter(|name| is_name(name)),
            Flag => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "1" | "true" => Some("true".into()),
                "no" | "off" | "0" | "false" => Some("false".into()),
                _ => None,
            },
            Duration if text.parse::<f64>().is_ok() => Some(format!("{text}s, if seconds were meant")),
            Size if text.parse::<f64>().is_ok() => Some(format!("{text} MiB, if mebibytes were meant")),
            Socket if text.parse::<u16>().is_ok() => Some(format!("127.0.0.1:{text}")),
            Socket if text.parse::<std::net::IpAddr>().is_ok() => Some(format!("{text}:PORT")),
            Socket if text.starts_with("localhost:") => Some(text.replace("localhost", "127.0.0.1")),
            Socket if text.starts_with("*:") || text.starts_with(':') => {
                Some(format!("0.0.0.0:{}, for all IPv4 addresses", text.trim_start_matches(['*', ':'])))
            }
            Network if text.parse::<std::net::Ipv4Addr>().is_ok() => Some(format!("{text}/32")),
            Network if text.parse::<std::net::Ipv6Addr>().is_ok() => Some(format!("{text}/128")),
            LdapUrl if !text.contains("://") => Some(format!("ldap://{text}")),
            List(_) => Some(format!("[{text}]")),
            Text | Path | Count(..) | Duration | Size | Socket | Network | LdapUrl | Table(_) | Word(_)
            | WordOrTable(..) => None,
        };
        match try_this {
            Some(text) => fault.suggest(text),
            None => fault,
        }
    }
}

fn check_table(keys: &'static [Key], node: &Node, what: &str, faults: &mut Vec<Fault>) {
    for (position, (name, value)) in node.entries().iter().enumerate() {
        let Some(typed) = name.text() else {
            faults.push(
                Fault::at(name.place, format!("{} stands where a key should", name.kind())).expected(names(keys)),
            );
            continue;
        };
        let earlier = node.entries().iter().take(position).find(|(other, _)| other.text() == Some(typed));
        if let Some((first, _)) = earlier {
            let fault = Fault::at(name.place, format!("`{typed}` is given twice; first on line {}", first.place.line));
            faults.push(fault.suggest("keep one of the two"));
        }
        let Some(key) = keys.iter().find(|key| key.name == typed) else {
            faults.push(unknown_key(keys, name, typed, what));
            continue;
        };
        let is_empty = matches!(value.value, Value::Null);
        match key.need {
            Required if is_empty => {
                faults.push(Fault::at(name.place, format!("`{typed}` has no value")).expected(key.shape.describe()));
            }
            Required | Else(_) | Optional if is_empty => {}
            Required | Else(_) | Optional => key.shape.check(value, typed, faults),
        }
    }
    for key in keys.iter().filter(|key| matches!(key.need, Required)) {
        if !node.entries().iter().any(|(name, _)| name.text() == Some(key.name)) {
            let place = node.entries().first().map_or(node.place, |(name, _)| name.place);
            let fault = Fault::at(place, format!("`{}` is missing in {what}", key.name)).expected(key.shape.describe());
            faults.push(fault.suggest(format!("add `{}:` here. {}", key.name, key.about)));
        }
    }
}

fn unknown_key(keys: &'static [Key], name: &Node, typed: &str, what: &str) -> Fault {
    let fault = Fault::at(name.place, format!("unknown key `{typed}` in {what}")).expected(names(keys));
    if let Some(meant) = nearest(typed, keys.iter().map(|key| key.name)) {
        return fault.suggest(format!("`{meant}`"));
    }
    let mut homes = Vec::new();
    find_homes(&FILE, "the file", typed, &mut homes);
    match homes.as_slice() {
        [] => fault,
        homes => fault.suggest(format!("`{typed}` belongs in {}", homes.join(" or in "))),
    }
}

/// Tables of the file that know the key `typed`.
fn find_homes(shape: &Shape, what: &str, typed: &str, homes: &mut Vec<String>) {
    match shape {
        List(one) => find_homes(one, what, typed, homes),
        Table(keys) | WordOrTable(_, keys) => {
            if keys.iter().any(|key| key.name == typed) {
                homes.push(what.into());
            }
            for key in *keys {
                find_homes(&key.shape, &format!("`{}`", key.name), typed, homes);
            }
        }
        Text | Name | Path | Flag | Count(..) | Duration | Size | Socket | Network | LdapUrl | Word(_) => {}
    }
}

fn with_nearest<'a>(fault: Fault, typed: &str, known: impl IntoIterator<Item = &'a str>) -> Fault {
    match nearest(typed, known) {
        Some(meant) => fault.suggest(format!("`{meant}`")),
        None => fault,
    }
}

fn names(keys: &[Key]) -> String {
    one_of(&keys.iter().map(|key| key.name).collect::<Vec<_>>())
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing".into(),
        [only] => (*only).into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.chars().all(good)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The nearest thing to `text` that is a name.
fn as_name(text: &str) -> String {
    text.to_ascii_lowercase().replace(['_', ' ', '.'], "-")
}

fn is_ldap_url(text: &str) -> bool {
    let rest = text.strip_prefix("ldap://").or_else(|| text.strip_prefix("ldaps://"));
    let Some(host) = rest.map(|rest| rest.trim_end_matches('/')) else { return false };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    !name.is_empty()
        && !name.contains(['/', '?', '#', '@', ' '])
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_explained_and_every_default_has_its_own_shape() {
        fn walk(shape: &Shape) {
            match shape {
                List(one) => walk(one),
                Table(keys) | WordOrTable(_, keys) => {
                    for key in *keys {
                        assert!(key.about.ends_with('.'), "{}", key.name);
                        if let Else(default) = key.need {
                            let node = Node::parse(default).unwrap();
                            let mut faults = Vec::new();
                            key.shape.check(&node, key.name, &mut faults);
                            assert_eq!(faults, [], "{}", key.name);
                        }
                        walk(&key.shape);
                    }
                }
                _ => {}
            }
        }
        walk(&FILE);
    }

    #[test]
    fn ldap_urls_are_host_and_port() {
        for good in ["ldap://127.0.0.1:389", "ldaps://ldap.example.org", "ldap://[::1]:389", "ldap://h/"] {
            assert!(is_ldap_url(good), "{good}");
        }
        for bad in ["http://h", "ldap://", "ldap://h:port", "ldap://h/dc=x", "h:389", "ldap://h:0"] {
            assert!(!is_ldap_url(bad), "{bad}");
        }
    }

    #[test]
    fn names_are_what_a_file_name_and_a_host_name_may_be() {
        for good in ["router-1", "a", "eu2"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "Router", "a_b", "-a", "../etc", "a b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
