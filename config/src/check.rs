//! From what was typed to what a role may rely on: builds the settings and refuses combinations that cannot work.
//!
//! Shapes (unknown keys, wrong types) are checked first, by [`crate::shape`]; what has the wrong shape is passed over
//! here, so that one slip is told once and everything else in the file is still looked at. No IO.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    fault::{Fault, Place},
    foreign::{ForeignPorts, ForeignSettings, ForeignTls, SmarthostSettings},
    profile,
    raw::{Node, Value},
    sasl::{Mechanism, PasswordScheme, SaslSettings, TokenSettings},
    settings::{
        Advertised, CertificateSettings, ClusterSettings, ClusterTiming, Config, DirectorySettings, EmbeddedDirectory,
        HandoffTlsSettings, Limits, MemberSettings, Openings, ProbePolicy, Profile, RouterSettings, Service,
        TlsSettings,
    },
    shape::FILE,
    units,
};

/// Checks everything in `root`. `folder` is where relative paths begin; `open_files` is the process's limit.
///
/// # Errors
/// Every fault found.
pub fn check(root: &Node, folder: &Path, open_files: u64) -> Result<Config, Vec<Fault>> {
    let mut faults = Vec::new();
    FILE.check(root, "the file", &mut faults);
    let reader = Reader { folder, open_files };
    let config = reader.config(root);
    check_directory(root, &mut faults);
    check_names(root, &mut faults);
    check_addresses(root, &mut faults);
    check_storage(root, &mut faults);
    for router in each(root, "routers") {
        check_router(router, &mut faults);
    }
    for cluster in each(root, "clusters") {
        check_cluster(cluster, &mut faults);
    }
    check_smarthost(root, &mut faults);
    check_sasl(root, &mut faults);
    check_limits(root, &mut faults);
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        Some(_) | None => {
            if faults.is_empty() {
                faults.push(Fault::of_file(
                    "the file could not be understood, for a reason this program does not know; please report it",
                ));
            }
            Err(faults)
        }
    }
}

fn each<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).map_or(&[], Node::elements)
}

// --- combinations -------------------------------------------------------------------------------------------------

fn check_directory(root: &Node, faults: &mut Vec<Fault>) {
    let Some(directory) = root.get("directory") else { return };
    match (directory.get("bind_dn"), directory.get("bind_password_file")) {
        (Some(dn), None) => faults.push(
            Fault::at(dn.place, "`bind_dn` without `bind_password_file`")
                .expected("both, or neither for an anonymous bind")
                .suggest("add `bind_password_file: PATH`, a file that holds only the password"),
        ),
        (None, Some(file)) => faults.push(
            Fault::at(file.place, "`bind_password_file` without `bind_dn`")
                .expected("both, or neither for an anonymous bind")
                .suggest("add `bind_dn: cn=…`"),
        ),
        (Some(_), Some(_)) | (None, None) => {}
    }
    let urls = each(directory, "urls");
    if let Some(empty) =
        directory.get("urls").filter(|list| matches!(&list.value, Value::List(list) if list.is_empty()))
    {
        faults.push(
            Fault::at(empty.place, "`urls` is empty")
                .expected("at least one LDAP server")
                .suggest("[ldap://127.0.0.1:389]"),
        );
    }
    let start_tls = directory.get("start_tls").is_some_and(|flag| matches!(flag.value, Value::Flag(true)));
    for url in urls.iter().filter(|url| start_tls && url.text().is_some_and(|text| text.starts_with("ldaps://"))) {
        faults.push(
            Fault::at(url.place, "`ldaps://` together with `start_tls: true`")
                .expected("either ldaps://, which is TLS from the first byte, or ldap:// upgraded by StartTLS")
                .suggest("remove `start_tls`, or write ldap://"),
        );
    }
}

fn check_smarthost(root: &Node, faults: &mut Vec<Fault>) {
    let Some(smarthost) = root.get("smarthost") else { return };
    let lonely = match (smarthost.get("user"), smarthost.get("password_file")) {
        (Some(user), None) => {
            Fault::at(user.place, "`user` without `password_file`").suggest("add `password_file: PATH`")
        }
        (None, Some(file)) => Fault::at(file.place, "`password_file` without `user`").suggest("add `user: NAME`"),
        (Some(_), Some(_)) | (None, None) => return,
    };
    faults.push(lonely.expected("both, or neither for a smarthost that knows us by our address"));
}

/// A member that is asked to believe tokens has to know whose.
fn check_sasl(root: &Node, faults: &mut Vec<Fault>) {
    let Some(sasl) = root.get("sasl").filter(|sasl| sasl.get("tokens").is_none()) else { return };
    let is_token = |word: &&Node| matches!(word.text(), Some("oauthbearer" | "xoauth2"));
    if let Some(word) = each(sasl, "mechanisms").iter().find(is_token)
        && !each(root, "clusters").is_empty()
    {
        faults.push(
            Fault::at(word.place, "tokens are offered, and `tokens` does not say which ones count")
                .expected("`tokens` with keys_file, issuer and audience, or no clusters")
                .suggest("add `tokens: {keys_file: PATH, issuer: URL, audience: NAME}` to `sasl`"),
        );
    }
}

/// Names of processes are unique in the installation: they name logs, metrics and live directories.
fn check_names(root: &Node, faults: &mut Vec<Fault>) {
    let mut processes = BTreeMap::new();
    let mut clusters = BTreeMap::new();
    for router in each(root, "routers") {
        check_unique(&mut processes, router, "router", faults);
    }
    for cluster in each(root, "clusters") {
        check_unique(&mut clusters, cluster, "cluster", faults);
        for member in each(cluster, "members") {
            check_unique(&mut processes, member, "member", faults);
        }
    }
}

fn check_unique<'a>(seen: &mut BTreeMap<&'a str, Place>, node: &'a Node, what: &str, faults: &mut Vec<Fault>) {
    let Some(name) = node.get("name") else { return };
    let Some(text) = name.text() else { return };
    match seen.get(text) {
        Some(first) => faults.push(
            Fault::at(name.place, format!("the {what} name `{text}` is already used on line {}", first.line))
                .expected("a name no other process of the installation has"),
        ),
        None => {
            seen.insert(text, name.place);
        }
    }
}

/// No two listeners on one address and port.
fn check_addresses(root: &Node, faults: &mut Vec<Fault>) {
    let mut seen: Vec<(SocketAddr, String, Place)> = Vec::new();
    let mut note = |node: Option<&Node>, what: String| {
        let Some(node) = node else { return };
        let Some(address) = node.text().and_then(|text| text.parse::<SocketAddr>().ok()) else { return };
        match seen.iter().find(|(other, _, _)| collide(*other, address)) {
            Some((other, whose, place)) => faults.push(
                Fault::at(node.place, format!("{address} is taken: line {} gives {other} to {whose}", place.line))
                    .expected("one address and port for each listener"),
            ),
            None => seen.push((address, what, node.place)),
        }
    };
    if let Some(embedded) = root.get("directory").and_then(|directory| directory.get("embedded")) {
        for key in ["listen", "listen_tls", "metrics"] {
            note(embedded.get(key), format!("`{key}` of the embedded directory"));
        }
    }
    for router in each(root, "routers") {
        let name = router.get("name").and_then(Node::text).unwrap_or("a router");
        for (service, address) in router.get("listen").map_or(&[][..], Node::entries) {
            note(Some(address), format!("{} of {name}", service.text().unwrap_or("a listener")));
        }
    }
    for member in each(root, "clusters").iter().flat_map(|cluster| each(cluster, "members")) {
        let name = member.get("name").and_then(Node::text).unwrap_or("a member");
        note(member.get("control"), format!("control of {name}"));
        note(member.get("handoff"), format!("handoff of {name}"));
        for key in ["control", "handoff"] {
            note(member.get("advertise").and_then(|table| table.get(key)), format!("advertised {key} of {name}"));
        }
        for (service, address) in member.get("listen").map_or(&[][..], Node::entries) {
            note(Some(address), format!("{} of {name}", service.text().unwrap_or("a listener")));
        }
    }
}

/// The same port on the same address, or on every address.
///
/// Two *hosts* may both use 0.0.0.0:143, and one file describes both: so an unspecified address collides only with
/// itself inside one process, which the duplicate key already shows, and with nothing here.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a == b && !a.ip().is_unspecified()
}

fn check_storage(root: &Node, faults: &mut Vec<Fault>) {
    let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
    for storage in each(root, "clusters").iter().filter_map(|cluster| cluster.get("storage")) {
        let Some(text) = storage.text().map(|text| text.trim_end_matches('/')) else { continue };
        if let Some(first) = seen.insert(text, storage.place) {
            faults.push(
                Fault::at(
                    storage.place,
                    format!("another cluster stores its mail there already, on line {}", first.line),
                )
                .expected("a folder of its own for each cluster"),
            );
        }
    }
}

fn check_router(router: &Node, faults: &mut Vec<Fault>) {
    let Some(listen) = router.get("listen") else { return };
    let serves = listen.entries().iter().any(|(name, _)| name.text().is_some_and(|name| name != "metrics"));
    if !serves && matches!(listen.value, Value::Table(_)) {
        faults.push(
            Fault::at(listen.place, "this router serves nothing")
                .expected("at least one listener besides metrics")
                .suggest("imap: 127.0.0.1:143"),
        );
    }
}

fn check_cluster(cluster: &Node, faults: &mut Vec<Fault>) {
    if let Some(members) =
        cluster.get("members").filter(|node| matches!(&node.value, Value::List(list) if list.is_empty()))
    {
        faults.push(
            Fault::at(members.place, "this cluster has no members")
                .expected("at least one member, with name, control and handoff")
                .suggest("remove the cluster, or add a member"),
        );
    }
    let place = cluster.get("timing").map_or(cluster.place, |timing| timing.place);
    let timing = timing(cluster.get("timing"));
    for order in orders(&timing) {
        let (shorter, longer) = (order.shorter, order.longer);
        let is_right = if order.may_equal { shorter.1 <= longer.1 } else { shorter.1 < longer.1 };
        if !is_right {
            let print = units::print_duration;
            let than = if order.may_equal { "not be longer" } else { "be shorter" };
            let what = format!("`{}` must {than} than `{}`{}", shorter.0, longer.0, order.why);
            let fault = Fault::at(place, what).expected(format!("less than {}", print(longer.1)));
            let defaults = "or remove both to use the defaults";
            faults.push(fault.suggest(format!(
                "lower `{}`, now {}, or raise `{}`, now {}, {defaults}",
                shorter.0,
                print(shorter.1),
                longer.0,
                print(longer.1)
            )));
        }
    }
}

/// Two durations of which one must be shorter, and what would go wrong otherwise.
struct Order {
    shorter: (&'static str, Duration),
    longer: (&'static str, Duration),
    may_equal: bool,
    why: &'static str,
}

/// What the protocol of a cluster needs of its timing.
fn orders(timing: &ClusterTiming) -> Vec<Order> {
    let less = |shorter, longer, why| Order { shorter, longer, may_equal: false, why };
    let at_most = |shorter, longer, why| Order { shorter, longer, may_equal: true, why };
    let zero = |what| less(("zero", Duration::ZERO), what, "");
    let (ping, suspect, dead) = (("ping", timing.ping), ("suspect", timing.suspect), ("dead", timing.dead));
    let (read_lease, tick_idle) = (("read_lease", timing.read_lease), ("tick_idle", timing.tick_idle));
    let storage_fine = ("storage_fine", timing.storage_fine);
    vec![
        less(ping, suspect, ", or every member is always suspected"),
        less(suspect, dead, ", or a member is given up before anybody doubts it"),
        less(read_lease, dead, ", or a dead member might still answer"),
        less(ping, read_lease, ", or it runs out between two pings"),
        at_most(("tick_busy", timing.tick_busy), tick_idle, ""),
        less(tick_idle, dead, ", or an idle member seems to have stopped ticking"),
        less(tick_idle, storage_fine, ", or an idle member never seems to reach the storage"),
        less(
            storage_fine,
            ("storage_lost", timing.storage_lost),
            ", or members fence one another for one slow storage",
        ),
        less(("probe", timing.probe), suspect, ", or a lost link is not dialled again in time"),
        less(("stagger", timing.stagger), dead, ", or a cluster waits for its controller too long"),
        less(dead, ("claim", timing.claim), ", or nobody waits long enough for a dead member's accounts"),
        at_most(("release", timing.release), ("stop", timing.stop), ", or a member that stops ends before it is done"),
        zero(ping),
        zero(("tick_busy", timing.tick_busy)),
        zero(("probe", timing.probe)),
        zero(("release", timing.release)),
        zero(("commit", timing.commit)),
        zero(("idle_release", timing.idle_release)),
    ]
}

/// RFC 9051 §5.4: a server that logs idle clients out waits for at least 30 minutes.
const IDLE_LEAST: Duration = Duration::from_secs(30 * 60);

fn check_limits(root: &Node, faults: &mut Vec<Fault>) {
    let Some(node) = root.get("limits") else { return };
    if let Some(idle) = node.get("idle")
        && let Some(duration) = idle.text().and_then(units::parse_duration)
        && duration < IDLE_LEAST
    {
        faults.push(
            Fault::at(idle.place, "`idle` is shorter than mail clients are promised (RFC 9051, section 5.4)")
                .expected("30min or more")
                .suggest("31min"),
        );
    }
    let size = |key: &str| node.get(key).and_then(Node::text).and_then(units::parse_size);
    let memory = size("memory_max").unwrap_or(MEMORY_BYTES_MAX);
    let message = size("message_max").unwrap_or(MESSAGE_BYTES_MAX);
    if message > memory {
        faults.push(
            Fault::at(node.place, "`message_max` is larger than `memory_max`: such a message could never be taken")
                .expected(format!("message_max of at most {}", units::print_size(memory))),
        );
    }
    for key in ["message_max", "memory_max"] {
        if let Some(value) = node.get(key).filter(|_| size(key) == Some(0)) {
            faults.push(Fault::at(value.place, format!("`{key}` is zero")).expected("a size that lets mail in"));
        }
    }
}

// --- building -----------------------------------------------------------------------------------------------------

/// What large providers take as well: attachments of some 35 MiB, encoded.
const MESSAGE_BYTES_MAX: u64 = 50 << 20;
/// Twenty of the largest messages at a time, on a machine that has work besides.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// Builds settings from nodes of the right shape; `None` wherever something required has not got it.
struct Reader<'a> {
    folder: &'a Path,
    open_files: u64,
}

impl Reader<'_> {
    fn config(&self, root: &Node) -> Option<Config> {
        let tls = self.tls(root.get("tls")?)?;
        let sasl = self.sasl(root.get("sasl"));
        Some(Config {
            domain: text(root, "domain")?,
            directory: self.directory(root.get("directory")?, &tls, sasl.new_passwords())?,
            tls,
            admin_token: self.path(root.get("admin")?, "token_file")?,
            routers: each(root, "routers").iter().map(|node| self.router(node)).collect::<Option<_>>()?,
            clusters: each(root, "clusters").iter().map(|node| self.cluster(node)).collect::<Option<_>>()?,
            foreign: each(root, "foreign").iter().map(|node| self.foreign(node)).collect(),
            smarthost: root.get("smarthost").and_then(|node| self.smarthost(node)),
            sasl,
            limits: self.limits(root.get("limits")),
        })
    }

    fn path(&self, node: &Node, key: &str) -> Option<PathBuf> {
        let path = self.folder.join(text(node, key)?);
        // `join` keeps `./`; components() drops it, so that equal paths compare equal.
        Some(path.components().collect())
    }

    fn tls(&self, node: &Node) -> Option<TlsSettings> {
        Some(TlsSettings {
            certificate: self.path(node, "certificate_file")?,
            key: self.path(node, "key_file")?,
            ca: self.path(node, "ca_file"),
            others: each(node, "others").iter().map(|node| self.certificate(node)).collect::<Option<_>>()?,
        })
    }

    fn certificate(&self, node: &Node) -> Option<CertificateSettings> {
        Some(CertificateSettings {
            certificate: self.path(node, "certificate_file")?,
            key: self.path(node, "key_file")?,
        })
    }

    fn directory(&self, node: &Node, tls: &TlsSettings, new_passwords: PasswordScheme) -> Option<DirectorySettings> {
        let base = text(node, "base")?;
        let embedded = match node.get("embedded") {
            Some(embedded) => Some(self.embedded(embedded, &base, tls, new_passwords)?),
            None => None,
        };
        Some(DirectorySettings {
            urls: texts(node, "urls"),
            base,
            bind_dn: text(node, "bind_dn").unwrap_or_default(),
            bind_password: self.path(node, "bind_password_file"),
            start_tls: matches!(node.get("start_tls").map(|flag| &flag.value), Some(Value::Flag(true))),
            ca: self.path(node, "ca_file"),
            profile: read_profile(node.get("profile")),
            fresh: duration(node, "fresh", Duration::from_secs(60)),
            unknown: duration(node, "unknown", Duration::from_secs(5)),
            entries_max: count(node, "entries_max").unwrap_or(1_000_000),
            timeout: duration(node, "timeout", Duration::from_secs(3)),
            connections: count(node, "connections").unwrap_or(2),
            new_passwords,
            embedded,
        })
    }

    fn embedded(
        &self,
        node: &Node,
        base: &str,
        tls: &TlsSettings,
        new_passwords: PasswordScheme,
    ) -> Option<EmbeddedDirectory> {
        Some(EmbeddedDirectory {
            listen: socket(node, "listen")?,
            listen_tls: socket(node, "listen_tls"),
            data: self.path(node, "data")?,
            base: text(node, "base").unwrap_or_else(|| base.to_owned()),
            admin_dn: text(node, "admin_dn")?,
            admin_password: self.path(node, "admin_password_file")?,
            tls: tls.clone(),
            new_passwords,
            metrics: socket(node, "metrics"),
        })
    }

    fn router(&self, node: &Node) -> Option<RouterSettings> {
        Some(RouterSettings {
            name: text(node, "name")?,
            listen: listeners(node.get("listen")),
            proxy_from: networks(node, "proxy_from").unwrap_or_default(),
            trust_from: networks(node, "trust_from").unwrap_or_default(),
            cache_file: self.path(node, "cache_file"),
            drain: duration(node, "drain", RouterSettings::DRAIN_DEFAULT),
            replace_socket: self.path(node, "replace_socket"),
        })
    }

    fn cluster(&self, node: &Node) -> Option<ClusterSettings> {
        let member = |node: &Node| {
            let (control, handoff) = (socket(node, "control")?, socket(node, "handoff")?);
            let advertised =
                |key: &str, otherwise| node.get("advertise").and_then(|table| socket(table, key)).unwrap_or(otherwise);
            Some(MemberSettings {
                name: text(node, "name")?,
                control,
                handoff,
                advertise: Advertised {
                    control: advertised("control", control),
                    handoff: advertised("handoff", handoff),
                },
                listen: listeners(node.get("listen")),
            })
        };
        Some(ClusterSettings {
            name: text(node, "name")?,
            storage: self.path(node, "storage")?,
            key: self.path(node, "key_file")?,
            handoff_from: networks(node, "handoff_from").unwrap_or_else(loopback),
            handoff_tls: match node.get("handoff_tls") {
                Some(node) => {
                    Some(HandoffTlsSettings { own: self.certificate(node)?, ca: self.path(node, "ca_file")? })
                }
                None => None,
            },
            proxy_from: networks(node, "proxy_from").unwrap_or_default(),
            trust_from: networks(node, "trust_from").unwrap_or_default(),
            reserve_bytes: text(node, "reserve")
                .and_then(|size| units::parse_size(&size))
                .unwrap_or(ClusterSettings::RESERVE_BYTES),
            probe: text(node, "probe").and_then(|word| ProbePolicy::parse(&word)).unwrap_or_default(),
            members: each(node, "members").iter().map(member).collect::<Option<_>>()?,
            timing: timing(node.get("timing")),
            openings: openings(node.get("openings")),
        })
    }

    fn sasl(&self, node: Option<&Node>) -> SaslSettings {
        let words = node.map(|node| texts(node, "mechanisms")).unwrap_or_default();
        SaslSettings {
            mechanisms: words.iter().filter_map(|word| Mechanism::parse(word)).collect(),
            tokens: node.and_then(|node| node.get("tokens")).and_then(|node| self.tokens(node)),
        }
    }

    fn tokens(&self, node: &Node) -> Option<TokenSettings> {
        Some(TokenSettings {
            keys: self.path(node, "keys_file")?,
            issuer: text(node, "issuer")?,
            audience: text(node, "audience")?,
            claim: text(node, "claim").unwrap_or_else(|| TokenSettings::CLAIM_DEFAULT.to_owned()),
        })
    }

    fn smarthost(&self, node: &Node) -> Option<SmarthostSettings> {
        let tls = text(node, "tls").and_then(|word| ForeignTls::parse(&word)).unwrap_or_default();
        let port = count(node, "port").and_then(|port| u16::try_from(port).ok());
        Some(SmarthostSettings {
            host: text(node, "host")?,
            port: port.unwrap_or(SmarthostSettings::usual_port(tls)),
            tls,
            verify: flag(node, "verify", true),
            ca: self.path(node, "ca_file"),
            user: text(node, "user"),
            password: self.path(node, "password_file"),
        })
    }

    fn foreign(&self, node: &Node) -> ForeignSettings {
        let tls = text(node, "tls").and_then(|word| ForeignTls::parse(&word)).unwrap_or_default();
        let usual = ForeignPorts::usual(tls);
        let port = |key: &str| count(node, key).and_then(|port| u16::try_from(port).ok());
        ForeignSettings {
            hosts: texts(node, "hosts"),
            ports: ForeignPorts {
                imap: port("imap").unwrap_or(usual.imap),
                pop3: port("pop3").unwrap_or(usual.pop3),
                lmtp: port("lmtp"),
                smtp: port("smtp").unwrap_or(usual.smtp),
                sieve: port("sieve").unwrap_or(usual.sieve),
                http: port("http"),
            },
            tls,
            verify: flag(node, "verify", true),
            ca: self.path(node, "ca_file"),
            proxy_header: flag(node, "proxy_header", false),
            introduce: flag(node, "introduce", true),
        }
    }

    fn limits(&self, node: Option<&Node>) -> Limits {
        let size = |key: &str| node.and_then(|node| node.get(key)?.text().and_then(units::parse_size));
        let count = |key: &str| node.and_then(|node| count(node, key));
        let duration = |key: &str, default: u64| {
            let default = Duration::from_secs(default);
            node.map_or(default, |node| duration(node, key, default))
        };
        let open_files = usize::try_from(self.open_files).unwrap_or(usize::MAX);
        Limits {
            message_bytes_max: size("message_max").unwrap_or(MESSAGE_BYTES_MAX),
            recipients_max: count("recipients_max").unwrap_or(1_000),
            connections_per_address_max: count("connections_per_address_max").unwrap_or(1_000),
            // A forwarded connection takes two descriptors; what is left over is for files and the directory.
            connections_max: count("connections_max").unwrap_or(open_files / 5 * 4),
            login: duration("login", 60),
            idle: duration("idle", 31 * 60),
            memory_bytes_max: size("memory_max").unwrap_or(MEMORY_BYTES_MAX),
        }
    }
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key)?.text().map(str::to_owned)
}

fn texts(node: &Node, key: &str) -> Vec<String> {
    each(node, key).iter().filter_map(|element| element.text().map(str::to_owned)).collect()
}

fn flag(node: &Node, key: &str, default: bool) -> bool {
    match node.get(key).map(|node| &node.value) {
        Some(Value::Flag(flag)) => *flag,
        _ => default,
    }
}

fn duration(node: &Node, key: &str, default: Duration) -> Duration {
    node.get(key).and_then(Node::text).and_then(units::parse_duration).unwrap_or(default)
}

fn count(node: &Node, key: &str) -> Option<usize> {
    match node.get(key)?.value {
        Value::Count(value) => usize::try_from(value).ok(),
        Value::Null | Value::Flag(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Table(_) => None,
    }
}

fn socket(node: &Node, key: &str) -> Option<SocketAddr> {
    node.get(key)?.text()?.parse().ok()
}

fn networks(node: &Node, key: &str) -> Option<Vec<IpNet>> {
    Some(node.get(key)?.elements().iter().filter_map(|element| element.text()?.parse().ok()).collect())
}

fn loopback() -> Vec<IpNet> {
    vec![
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    ]
}

fn listeners(node: Option<&Node>) -> BTreeMap<Service, SocketAddr> {
    let entries = node.map_or(&[][..], Node::entries);
    let one = |(name, address): &(Node, Node)| Some((Service::from_name(name.text()?)?, address.text()?.parse().ok()?));
    entries.iter().filter_map(one).collect()
}

fn openings(node: Option<&Node>) -> Openings {
    let default = Openings::default();
    let number = |key: &str, default: usize| match node.and_then(|node| node.get(key)).map(|node| &node.value) {
        Some(Value::Count(value)) => usize::try_from(*value).unwrap_or(usize::MAX),
        _ => default,
    };
    Openings { at_once: number("at_once", default.at_once), waiting_max: number("waiting_max", default.waiting_max) }
}

fn timing(node: Option<&Node>) -> ClusterTiming {
    let default = ClusterTiming::default();
    let Some(node) = node else { return default };
    ClusterTiming {
        ping: duration(node, "ping", default.ping),
        suspect: duration(node, "suspect", default.suspect),
        dead: duration(node, "dead", default.dead),
        read_lease: duration(node, "read_lease", default.read_lease),
        tick_idle: duration(node, "tick_idle", default.tick_idle),
        tick_busy: duration(node, "tick_busy", default.tick_busy),
        claim: duration(node, "claim", default.claim),
        release: duration(node, "release", default.release),
        stop: duration(node, "stop", default.stop),
        probe: duration(node, "probe", default.probe),
        stagger: duration(node, "stagger", default.stagger),
        storage_lost: duration(node, "storage_lost", default.storage_lost),
        storage_fine: duration(node, "storage_fine", default.storage_fine),
        commit: duration(node, "commit", default.commit),
        idle_release: duration(node, "idle_release", default.idle_release),
    }
}

fn read_profile(node: Option<&Node>) -> Profile {
    let default = Profile::inet_local_mail_recipient();
    let Some(node) = node else { return default };
    if let Some(profile) = node.text().and_then(profile::shipped) {
        return profile;
    }
    let one = |key: &str, default: String| text(node, key).unwrap_or(default);
    let many =
        |key: &str, default: Vec<String>| Some(texts(node, key)).filter(|list| !list.is_empty()).unwrap_or(default);
    Profile {
        object_class: one("object_class", default.object_class),
        login: many("login", default.login),
        address: many("address", default.address),
        mail_host: one("mail_host", default.mail_host),
        forward: one("forward", default.forward),
        password: one("password", default.password),
        status: one("status", default.status),
        quota: one("quota", default.quota),
        id: one("id", default.id),
    }
}
