//! What a proxy in front of us says of its client: with IMAP's ID and with XCLIENT of POP3, SMTP and LMTP.
//!
//! The names are those that Dovecot, nginx, Cyrus and Postfix use. What is believed is for others to decide; what is here
//! is a value or nothing, never text.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use crate::handoff::SessionId;

/// What a proxy claims.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The client's port.
    pub client_port: Option<u16>,
    /// The address it connected to.
    pub local: Option<IpAddr>,
    /// The port it connected to.
    pub local_port: Option<u16>,
    /// The session's name, if it is one of ours.
    pub session: Option<SessionId>,
    /// How many more proxies the connection may pass.
    pub ttl: Option<u8>,
}

impl Claims {
    /// Takes one field of an IMAP ID command; others than these say nothing of interest.
    pub fn on_id(&mut self, field: &[u8], value: &[u8]) {
        match field.to_ascii_lowercase().as_slice() {
            b"x-originating-ip" => self.client = read(value),
            b"x-originating-port" => self.client_port = read(value),
            b"x-connected-ip" => self.local = read(value),
            b"x-connected-port" => self.local_port = read(value),
            b"x-session-id" => self.session = read(value),
            b"x-proxy-ttl" => self.ttl = read(value),
            _ => {}
        }
    }

    /// The client.
    #[must_use]
    pub fn client_end(&self) -> Option<SocketAddr> {
        Some((self.client?.to_canonical(), self.client_port.unwrap_or(0)).into())
    }

    /// The address it connected to.
    #[must_use]
    pub fn local_end(&self) -> Option<SocketAddr> {
        Some((self.local?.to_canonical(), self.local_port.unwrap_or(0)).into())
    }

    /// Reads the attributes of an XCLIENT command; `None` if one is malformed.
    #[must_use]
    pub fn of_xclient(attributes: &str) -> Option<Self> {
        let mut claims = Self::default();
        for attribute in attributes.split_ascii_whitespace() {
            let (name, value) = attribute.split_once('=')?;
            // Postfix writes an IPv6 address with a prefix.
            let value = value.strip_prefix("IPV6:").unwrap_or(value).as_bytes();
            match name.to_ascii_uppercase().as_str() {
                "ADDR" => claims.client = read(value),
                "PORT" => claims.client_port = read(value),
                "DESTADDR" => claims.local = read(value),
                "DESTPORT" => claims.local_port = read(value),
                "SESSION" => claims.session = read(value),
                "TTL" => claims.ttl = read(value),
                _ => {}
            }
        }
        Some(claims)
    }
}

fn read<T: FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_fields_are_read_in_any_case() {
        let mut claims = Claims::default();
        for (field, value) in [("X-Originating-IP", "192.0.2.1"), ("x-proxy-ttl", "3"), ("name", "nginx")] {
            claims.on_id(field.as_bytes(), value.as_bytes());
        }
        let client = Some("192.0.2.1".parse().unwrap());
        assert_eq!(claims, Claims { client, ttl: Some(3), ..Claims::default() });
    }

    #[test]
    fn xclient_is_read_as_postfix_and_dovecot_write_it() {
        let claims = Claims::of_xclient("NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=25 SESSION=2a TTL=5").unwrap();
        assert_eq!(claims.client, Some("2001:db8::1".parse().unwrap()));
        assert_eq!((claims.client_port, claims.session, claims.ttl), (Some(25), Some(SessionId(42)), Some(5)));
        assert_eq!(Claims::of_xclient("ADDR"), None);
        assert_eq!(Claims::of_xclient("ADDR=nonsense PORT=99999"), Some(Claims::default()));
    }
}
