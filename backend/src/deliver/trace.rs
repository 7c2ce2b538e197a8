//! Trace fields: `Received` where mail enters, `Return-Path` where it ends (RFC 5321 §4.4).

use std::{fmt::Write, net::SocketAddr};

use jiff::Timestamp;
use laniakea_router::{
    handoff::TlsFacts,
    session::smtp::{Dialect, Hello},
    wire::smtp::Mailbox,
};

/// More `Received` fields than this are a loop (RFC 5321 §6.3).
pub const RECEIVED_MAX: usize = 50;
/// Longest header that is searched for `Received` fields.
const HEADER_BYTES_MAX: usize = 1 << 20;

/// How a message came in.
#[derive(Debug, Clone, Copy)]
pub struct Trace<'a> {
    /// What the client called itself.
    pub hello: &'a Hello,
    /// Where it connected from.
    pub client: SocketAddr,
    /// Which protocol it spoke.
    pub dialect: Dialect,
    /// How its connection is encrypted.
    pub tls: Option<&'a TlsFacts>,
    /// Whether the client had logged in.
    pub is_submission: bool,
    /// Whether addresses may be UTF-8.
    pub smtputf8: bool,
    /// The name of this server.
    pub host: &'a str,
    /// The name of the session in our logs.
    pub session: &'a str,
    /// The recipient, if there is only one: others must not learn of one another (RFC 5321 §7.2).
    pub only_recipient: Option<&'a Mailbox>,
    /// When, in milliseconds since 1970.
    pub now_ms: u64,
}

impl Trace<'_> {
    /// The `Received` field, with its CRLF.
    #[must_use]
    pub fn received(&self) -> String {
        let mut field = format!(
            "Received: from {} ({})\r\n\tby {} with {} id {}",
            self.hello_name(),
            address_literal(self.client),
            self.host,
            self.protocol(),
            self.session
        );
        if let Some(tls) = self.tls {
            let _ = write!(field, "\r\n\t({} {})", word(&tls.version), word(&tls.cipher));
        }
        if let Some(recipient) = self.only_recipient {
            let _ = write!(field, "\r\n\tfor <{recipient}>");
        }
        let _ = write!(field, ";\r\n\t{}\r\n", date(self.now_ms));
        field
    }

    /// The client's own name for itself, as far as a header can bear it.
    fn hello_name(&self) -> String {
        let fits =
            |c: &char| c.is_ascii_alphanumeric() || ".-_:[]".contains(*c) || (self.smtputf8 && c.is_alphanumeric());
        self.hello.name.chars().map(|c| if fits(&c) { c } else { '?' }).collect()
    }

    /// The keyword of RFC 3848, or of RFC 6531 §4.3 for UTF-8.
    fn protocol(&self) -> String {
        let name = match (self.dialect, self.hello.extended, self.smtputf8) {
            (Dialect::Smtp, false, _) => return "SMTP".into(),
            (Dialect::Smtp, true, false) => "ESMTP",
            (Dialect::Smtp, true, true) => "UTF8SMTP",
            (Dialect::Lmtp, _, false) => "LMTP",
            (Dialect::Lmtp, _, true) => "UTF8LMTP",
        };
        let (tls, login) = (if self.tls.is_some() { "S" } else { "" }, if self.is_submission { "A" } else { "" });
        format!("{name}{tls}{login}")
    }
}

/// The `Return-Path` field of final delivery, with its CRLF.
#[must_use]
pub fn return_path(reverse_path: Option<&Mailbox>) -> String {
    format!("Return-Path: <{}>\r\n", reverse_path.map_or("", Mailbox::as_str))
}

/// How many servers a message has passed.
#[must_use]
pub fn received_count(content: &[u8]) -> usize {
    let header = content.get(..HEADER_BYTES_MAX).unwrap_or(content);
    let mut count = 0;
    for line in header.split(|&byte| byte == b'\n') {
        if line.is_empty() || line == b"\r" {
            break;
        }
        count += usize::from(line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"received:")));
    }
    count
}

/// A date as RFC 5322 §3.3 writes it.
#[must_use]
pub fn date(ms: u64) -> String {
    let timestamp = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    timestamp.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

fn address_literal(client: SocketAddr) -> String {
    match client.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => format!("[{ip}]"),
        std::net::IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    }
}

/// What a balancer told of TLS, as one word without parentheses.
fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_field_says_from_where_to_whom_and_when() {
        let hello = Hello { name: "evil)\\.example".into(), extended: true };
        let recipient = Mailbox::parse("a@b.example").unwrap();
        let tls = TlsFacts { version: "TLSv1.3".into(), cipher: "TLS13_AES_256_GCM_SHA384".into(), sni: None };
        let trace = Trace {
            hello: &hello,
            client: "192.0.2.1:25".parse().unwrap(),
            dialect: Dialect::Smtp,
            tls: Some(&tls),
            is_submission: true,
            smtputf8: false,
            host: "mx.example",
            session: "s1",
            only_recipient: Some(&recipient),
            now_ms: 1_795_456_800_000,
        };
        assert_eq!(
            trace.received(),
            "Received: from evil??.example ([192.0.2.1])\r\n\tby mx.example with ESMTPSA id s1\r\n\t(TLSv1.3 TLS13_AES_256_GCM_SHA384)\
             \r\n\tfor <a@b.example>;\r\n\tMon, 23 Nov 2026 18:00:00 +0000\r\n"
        );
    }

    #[test]
    fn only_the_header_counts() {
        let content = b"Received: a\r\n\tReceived: folded\r\nRECEIVED: b\r\nX: y\r\n\r\nReceived: body\r\n";
        assert_eq!(received_count(content), 2);
    }

    #[test]
    fn a_bounce_has_an_empty_return_path() {
        assert_eq!(return_path(None), "Return-Path: <>\r\n");
    }
}
