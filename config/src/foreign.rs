//! Servers of other kinds that accounts may live on: Dovecot, Cyrus, …

use std::path::PathBuf;

/// Servers of another kind, to which accounts may be sent whose `mailHost` names no cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignSettings {
    /// Which hosts: names, `*.example.org` for those below a domain, `*` for all. A host that none fits gets nothing.
    pub hosts: Vec<String>,
    /// Ports, by service; LMTP only if the server speaks it, else mail goes there by SMTP.
    pub ports: ForeignPorts,
    /// How connections are encrypted.
    pub tls: ForeignTls,
    /// Whether the certificate must be the host's. Default true.
    pub verify: bool,
    /// Certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// Whether connections begin with a PROXY header of version 2. Default false.
    pub proxy_header: bool,
    /// Whether the server is told who the client is, by ID and XCLIENT, if it offers them. Default true.
    pub introduce: bool,
}

/// Where servers of another kind listen. Default: the well-known ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignPorts {
    /// IMAP.
    pub imap: u16,
    /// POP3.
    pub pop3: u16,
    /// LMTP, if the server speaks it.
    pub lmtp: Option<u16>,
    /// SMTP.
    pub smtp: u16,
    /// ManageSieve.
    pub sieve: u16,
    /// HTTP, inside TLS unless that is off; none if the server has no web service.
    pub http: Option<u16>,
}

impl ForeignSettings {
    /// Whether the host that a `mailHost` names is one of these.
    #[must_use]
    pub fn allows(&self, mail_host: &str) -> bool {
        let (host, _) = split_port(mail_host);
        self.hosts.iter().any(|pattern| host_fits(pattern, host))
    }
}

impl ForeignPorts {
    /// The well-known ports.
    #[must_use]
    pub const fn usual(tls: ForeignTls) -> Self {
        let (imap, pop3) = match tls {
            ForeignTls::Implicit => (993, 995),
            ForeignTls::Off | ForeignTls::StartTls => (143, 110),
        };
        Self { imap, pop3, lmtp: None, smtp: 25, sieve: 4190, http: None }
    }
}

/// The server that takes mail for other sites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmarthostSettings {
    /// Its name.
    pub host: String,
    /// Its port. Default 587, or 465 with implicit TLS.
    pub port: u16,
    /// How connections are encrypted.
    pub tls: ForeignTls,
    /// Whether the certificate must be the host's. Default true.
    pub verify: bool,
    /// Certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// Whom to log in as, if it asks for that.
    pub user: Option<String>,
    /// File that holds the password.
    pub password: Option<PathBuf>,
}

impl SmarthostSettings {
    /// The well-known port.
    #[must_use]
    pub const fn usual_port(tls: ForeignTls) -> u16 {
        match tls {
            ForeignTls::Implicit => 465,
            ForeignTls::Off | ForeignTls::StartTls => 587,
        }
    }
}

/// How connections to servers of another kind are encrypted. Default: STARTTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForeignTls {
    /// Not at all: over a network that is trusted.
    Off,
    /// By STARTTLS, without which no password is sent.
    #[default]
    StartTls,
    /// From the first byte; mail goes by STARTTLS all the same.
    Implicit,
}

impl ForeignTls {
    /// The word in the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
        }
    }

    /// Reads the word in the file.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Off, Self::StartTls, Self::Implicit].into_iter().find(|tls| tls.word() == word)
    }
}

/// Reads a `mailHost` that names no cluster: `host`, `host:port` (the port is IMAP's), `[address]:port` or an address.
#[must_use]
pub fn split_port(mail_host: &str) -> (&str, Option<u16>) {
    let whole = (mail_host.trim_start_matches('[').trim_end_matches(']'), None);
    match mail_host.rsplit_once(':') {
        // The last colon may be one of a bare IPv6 address.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host.trim_start_matches('[').trim_end_matches(']'), Some(port)),
            Err(_) => whole,
        },
        _ => whole,
    }
}

/// Whether a host is one of those a pattern stands for.
fn host_fits(pattern: &str, host: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.strip_prefix('*') {
        Some(domain) => {
            let at = host.len().checked_sub(domain.len());
            domain.starts_with('.')
                && at.is_some_and(|at| at > 0 && host.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(domain)))
        }
        None => pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_have_a_port() {
        for (text, host, port) in [
            ("dovecot.example.org", "dovecot.example.org", None),
            ("dovecot.example.org:10143", "dovecot.example.org", Some(10143)),
            ("192.0.2.1:143", "192.0.2.1", Some(143)),
            ("[2001:db8::1]:143", "2001:db8::1", Some(143)),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("2001:db8::1", "2001:db8::1", None),
            ("host:port", "host:port", None),
        ] {
            assert_eq!(split_port(text), (host, port), "{text}");
        }
    }

    #[test]
    fn only_allowed_hosts_fit() {
        for (pattern, host) in [
            ("a.example.org", "A.Example.org"),
            ("*.example.org", "a.example.org"),
            ("*.example.org", "a.b.example.org"),
            ("*", "anything"),
        ] {
            assert!(host_fits(pattern, host), "{pattern} {host}");
        }
        for (pattern, host) in [
            ("a.example.org", "b.example.org"),
            ("*.example.org", "example.org"),
            ("*.example.org", ".example.org"),
            ("*.example.org", "evilexample.org"),
            ("*example.org", "evilexample.org"),
            ("127.0.0.1", "127.0.0.10"),
        ] {
            assert!(!host_fits(pattern, host), "{pattern} {host}");
        }
    }
}
