//! Settings back into a file: what `up` writes and `laniakea config show` prints.
//!
//! What is rendered is read back as the same settings; values that equal their default are left out, so that the file
//! shows what was chosen.

use std::{fmt::Write as _, path::Path, time::Duration};

use crate::{
    foreign::{ForeignPorts, ForeignSettings, SmarthostSettings},
    sasl::TokenSettings,
    settings::{
        Advertised, ClusterSettings, ClusterTiming, Config, DirectorySettings, EmbeddedDirectory, HandoffTlsSettings,
        Limits, MemberSettings, Openings, ProbePolicy, Profile, RouterSettings, Service,
    },
    units,
};

impl Config {
    /// The file that describes these settings. Paths inside `folder` are written relative to it.
    #[must_use]
    pub fn render(&self, folder: &Path) -> String {
        let mut out = Writer { text: String::new(), folder };
        out.comment(0, "One installation of Laniakea: every process reads this file and is told its name.");
        out.comment(0, "`laniakea config check` explains mistakes, `laniakea config schema` every key.");
        out.comment(0, "Secrets stand in the files named here, never in this one.");
        out.text(0, "domain", &self.domain);
        out.blank();
        self.render_directory(&mut out);
        out.blank();
        out.line(0, "tls:");
        out.path(1, "certificate_file", &self.tls.certificate);
        out.path(1, "key_file", &self.tls.key);
        if let Some(ca) = &self.tls.ca {
            out.path(1, "ca_file", ca);
        }
        if !self.tls.others.is_empty() {
            out.line(1, "others:");
        }
        for other in &self.tls.others {
            out.path(2, "- certificate_file", &other.certificate);
            out.path(3, "key_file", &other.key);
        }
        out.blank();
        out.line(0, "admin:");
        out.path(1, "token_file", &self.admin_token);
        self.render_limits(&mut out);
        if !self.routers.is_empty() {
            out.blank();
            out.comment(0, "Stateless front ends: any number, any may die.");
            out.line(0, "routers:");
            self.routers.iter().for_each(|router| router.render(&mut out));
        }
        if !self.clusters.is_empty() {
            out.blank();
            out.comment(
                0,
                "Dynamic clusters: the members of one share its storage, and one of them owns each account.",
            );
            out.line(0, "clusters:");
            self.clusters.iter().for_each(|cluster| cluster.render(&mut out));
        }
        if !self.foreign.is_empty() {
            out.blank();
            out.comment(0, "Servers of other kinds that accounts may live on.");
            out.line(0, "foreign:");
            self.foreign.iter().for_each(|servers| servers.render(&mut out));
        }
        if let Some(smarthost) = &self.smarthost {
            out.blank();
            smarthost.render(&mut out);
        }
        if !self.sasl.mechanisms.is_empty() {
            out.blank();
            out.line(0, "sasl:");
            let words: Vec<_> = self.sasl.mechanisms.iter().map(|mechanism| mechanism.word()).collect();
            out.line(1, &format!("mechanisms: [{}]", words.join(", ")));
            if let Some(TokenSettings { keys, issuer, audience, claim }) = &self.sasl.tokens {
                out.line(1, "tokens:");
                out.path(2, "keys_file", keys);
                out.text(2, "issuer", issuer);
                out.text(2, "audience", audience);
                out.text(2, "claim", claim);
            }
        }
        out.text
    }

    fn render_directory(&self, out: &mut Writer<'_>) {
        let DirectorySettings {
            urls,
            base,
            bind_dn,
            bind_password,
            start_tls,
            ca,
            profile,
            fresh,
            unknown,
            entries_max,
            timeout,
            connections,
            new_passwords: _, // follows from what clients may log in with
            embedded,
        } = &self.directory;
        out.line(0, "directory:");
        out.texts(1, "urls", urls);
        out.text(1, "base", base);
        if !bind_dn.is_empty() {
            out.text(1, "bind_dn", bind_dn);
        }
        if let Some(file) = bind_password {
            out.path(1, "bind_password_file", file);
        }
        if *start_tls {
            out.line(1, "start_tls: true");
        }
        if let Some(file) = ca {
            out.path(1, "ca_file", file);
        }
        profile.render(out);
        out.duration(1, "fresh", *fresh, Duration::from_secs(60));
        out.duration(1, "unknown", *unknown, Duration::from_secs(5));
        out.count(1, "entries_max", *entries_max, 1_000_000);
        out.duration(1, "timeout", *timeout, Duration::from_secs(3));
        out.count(1, "connections", *connections, 2);
        if let Some(embedded) = embedded {
            embedded.render(base, out);
        }
    }

    fn render_limits(&self, out: &mut Writer<'_>) {
        let Limits {
            message_bytes_max,
            recipients_max,
            connections_per_address_max,
            connections_max: _, // depends on the process that reads the file
            login,
            idle,
            memory_bytes_max,
        } = &self.limits;
        let mut inner = Writer { text: String::new(), folder: out.folder };
        inner.size(1, "message_max", *message_bytes_max, 50 << 20);
        inner.count(1, "recipients_max", *recipients_max, 1_000);
        inner.count(1, "connections_per_address_max", *connections_per_address_max, 1_000);
        inner.duration(1, "login", *login, Duration::from_secs(60));
        inner.duration(1, "idle", *idle, Duration::from_secs(31 * 60));
        inner.size(1, "memory_max", *memory_bytes_max, 1 << 30);
        if !inner.text.is_empty() {
            out.blank();
            out.line(0, "limits:");
            out.text.push_str(&inner.text);
        }
    }
}

impl Profile {
    fn render(&self, out: &mut Writer<'_>) {
        if *self == Self::inet_local_mail_recipient() {
            return;
        }
        let shipped = crate::shape::PROFILES.iter().find(|name| crate::profile::shipped(name).as_ref() == Some(self));
        if let Some(name) = shipped {
            out.text(1, "profile", name);
            return;
        }
        out.line(1, "profile:");
        out.text(2, "object_class", &self.object_class);
        out.texts(2, "login", &self.login);
        out.texts(2, "address", &self.address);
        out.text(2, "mail_host", &self.mail_host);
        out.text(2, "forward", &self.forward);
        out.text(2, "password", &self.password);
        out.text(2, "status", &self.status);
        out.text(2, "quota", &self.quota);
        out.text(2, "id", &self.id);
    }
}

impl EmbeddedDirectory {
    fn render(&self, base: &str, out: &mut Writer<'_>) {
        out.comment(1, "The LDAP server of this installation: `laniakea directory`.");
        out.line(1, "embedded:");
        out.line(2, &format!("listen: {}", quote(&self.listen.to_string())));
        if let Some(address) = self.listen_tls {
            out.line(2, &format!("listen_tls: {}", quote(&address.to_string())));
        }
        out.path(2, "data", &self.data);
        if self.base != base {
            out.text(2, "base", &self.base);
        }
        out.text(2, "admin_dn", &self.admin_dn);
        out.path(2, "admin_password_file", &self.admin_password);
        if let Some(address) = self.metrics {
            out.line(2, &format!("metrics: {}", quote(&address.to_string())));
        }
    }
}

impl RouterSettings {
    fn render(&self, out: &mut Writer<'_>) {
        out.line(1, &format!("- name: {}", quote(&self.name)));
        for (key, networks) in [("proxy_from", &self.proxy_from), ("trust_from", &self.trust_from)] {
            if !networks.is_empty() {
                out.texts(2, key, networks);
            }
        }
        if let Some(file) = &self.cache_file {
            out.path(2, "cache_file", file);
        }
        out.duration(2, "drain", self.drain, Self::DRAIN_DEFAULT);
        if let Some(path) = &self.replace_socket {
            out.path(2, "replace_socket", path);
        }
        out.listeners(2, self.listen.iter());
    }
}

impl ClusterSettings {
    fn render(&self, out: &mut Writer<'_>) {
        out.line(1, &format!("- name: {}", quote(&self.name)));
        out.path(2, "storage", &self.storage);
        out.path(2, "key_file", &self.key);
        out.texts(2, "handoff_from", &self.handoff_from);
        if let Some(HandoffTlsSettings { own, ca }) = &self.handoff_tls {
            out.line(2, "handoff_tls:");
            out.path(3, "certificate_file", &own.certificate);
            out.path(3, "key_file", &own.key);
            out.path(3, "ca_file", ca);
        }
        for (key, networks) in [("proxy_from", &self.proxy_from), ("trust_from", &self.trust_from)] {
            if !networks.is_empty() {
                out.texts(2, key, networks);
            }
        }
        out.size(2, "reserve", self.reserve_bytes, Self::RESERVE_BYTES);
        if self.probe != ProbePolicy::default() {
            out.text(2, "probe", self.probe.word());
        }
        self.timing.render(out);
        let Openings { at_once, waiting_max } = self.openings;
        if self.openings != Openings::default() {
            out.line(2, "openings:");
            out.line(3, &format!("at_once: {at_once}"));
            out.line(3, &format!("waiting_max: {waiting_max}"));
        }
        out.line(2, "members:");
        self.members.iter().for_each(|member| member.render(out));
    }
}

impl ForeignSettings {
    fn render(&self, out: &mut Writer<'_>) {
        let Self { hosts, ports, tls, verify, ca, proxy_header, introduce } = self;
        out.texts(1, "- hosts", hosts);
        out.text(2, "tls", tls.word());
        let usual = ForeignPorts::usual(*tls);
        out.count(2, "imap", ports.imap.into(), usual.imap.into());
        out.count(2, "pop3", ports.pop3.into(), usual.pop3.into());
        out.count(2, "lmtp", ports.lmtp.unwrap_or_default().into(), 0);
        out.count(2, "smtp", ports.smtp.into(), usual.smtp.into());
        out.count(2, "sieve", ports.sieve.into(), usual.sieve.into());
        out.count(2, "http", ports.http.unwrap_or_default().into(), 0);
        for (key, value, default) in
            [("verify", *verify, true), ("proxy_header", *proxy_header, false), ("introduce", *introduce, true)]
        {
            if value != default {
                out.line(2, &format!("{key}: {value}"));
            }
        }
        if let Some(ca) = ca {
            out.path(2, "ca_file", ca);
        }
    }
}

impl SmarthostSettings {
    fn render(&self, out: &mut Writer<'_>) {
        let Self { host, port, tls, verify, ca, user, password } = self;
        out.line(0, "smarthost:");
        out.text(1, "host", host);
        out.count(1, "port", (*port).into(), Self::usual_port(*tls).into());
        out.text(1, "tls", tls.word());
        if !verify {
            out.line(1, "verify: false");
        }
        if let Some(ca) = ca {
            out.path(1, "ca_file", ca);
        }
        if let Some(user) = user {
            out.text(1, "user", user);
        }
        if let Some(password) = password {
            out.path(1, "password_file", password);
        }
    }
}

impl MemberSettings {
    fn render(&self, out: &mut Writer<'_>) {
        out.line(3, &format!("- name: {}", quote(&self.name)));
        out.line(4, &format!("control: {}", quote(&self.control.to_string())));
        out.line(4, &format!("handoff: {}", quote(&self.handoff.to_string())));
        let Advertised { control, handoff } = self.advertise;
        let differing = [("control", control, self.control), ("handoff", handoff, self.handoff)];
        let differing: Vec<_> = differing.iter().filter(|(_, told, own)| told != own).collect();
        if !differing.is_empty() {
            out.line(4, "advertise:");
            differing.iter().for_each(|(key, told, _)| out.line(5, &format!("{key}: {}", quote(&told.to_string()))));
        }
        if !self.listen.is_empty() {
            out.listeners(4, self.listen.iter());
        }
    }
}

impl ClusterTiming {
    fn render(&self, out: &mut Writer<'_>) {
        let default = Self::default();
        if *self == default {
            return;
        }
        out.line(2, "timing:");
        out.duration(3, "ping", self.ping, default.ping);
        out.duration(3, "suspect", self.suspect, default.suspect);
        out.duration(3, "dead", self.dead, default.dead);
        out.duration(3, "read_lease", self.read_lease, default.read_lease);
        out.duration(3, "tick_idle", self.tick_idle, default.tick_idle);
        out.duration(3, "tick_busy", self.tick_busy, default.tick_busy);
        out.duration(3, "claim", self.claim, default.claim);
        out.duration(3, "release", self.release, default.release);
        out.duration(3, "stop", self.stop, default.stop);
        out.duration(3, "probe", self.probe, default.probe);
        out.duration(3, "stagger", self.stagger, default.stagger);
        out.duration(3, "storage_lost", self.storage_lost, default.storage_lost);
        out.duration(3, "storage_fine", self.storage_fine, default.storage_fine);
        out.duration(3, "commit", self.commit, default.commit);
        out.duration(3, "idle_release", self.idle_release, default.idle_release);
    }
}

struct Writer<'a> {
    text: String,
    folder: &'a Path,
}

impl Writer<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:width$}{text}", "", width = depth * 2);
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn comment(&mut self, depth: usize, text: &str) {
        self.line(depth, &format!("# {text}"));
    }

    fn text(&mut self, depth: usize, key: &str, value: &str) {
        self.line(depth, &format!("{key}: {}", quote(value)));
    }

    fn path(&mut self, depth: usize, key: &str, path: &Path) {
        let shown = path.strip_prefix(self.folder).unwrap_or(path);
        self.text(depth, key, &shown.to_string_lossy());
    }

    fn texts<T: ToString>(&mut self, depth: usize, key: &str, values: &[T]) {
        let list: Vec<String> = values.iter().map(|value| quote(&value.to_string())).collect();
        self.line(depth, &format!("{key}: [{}]", list.join(", ")));
    }

    fn duration(&mut self, depth: usize, key: &str, value: Duration, default: Duration) {
        if value != default {
            self.line(depth, &format!("{key}: {}", units::print_duration(value)));
        }
    }

    fn size(&mut self, depth: usize, key: &str, value: u64, default: u64) {
        if value != default {
            self.line(depth, &format!("{key}: {}", units::print_size(value)));
        }
    }

    fn count(&mut self, depth: usize, key: &str, value: usize, default: usize) {
        if value != default {
            self.line(depth, &format!("{key}: {value}"));
        }
    }

    fn listeners<'s>(&mut self, depth: usize, list: impl Iterator<Item = (&'s Service, &'s std::net::SocketAddr)>) {
        self.line(depth, "listen:");
        for (service, address) in list {
            self.line(depth + 1, &format!("{}: {}", service.name(), quote(&address.to_string())));
        }
    }
}

/// A YAML scalar that is read back as this text, inside lists as well as after a colon.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./-_@=:".contains(c);
    let is_plain = !text.is_empty()
        && text.chars().all(plain)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && !text.ends_with(':')
        && matches!(serde_yaml::from_str::<serde_yaml::Value>(text), Ok(serde_yaml::Value::String(_)));
    if is_plain {
        text.to_owned()
    } else {
        // Every JSON string is a YAML string.
        serde_json::Value::String(text.to_owned()).to_string()
    }
}
