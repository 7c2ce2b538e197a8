//! What a handed-over connection speaks, and the name its session has in every log.

use std::{fmt, num::ParseIntError, str::FromStr};

/// What is spoken after the preamble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// IMAP (RFC 9051).
    Imap,
    /// POP3 (RFC 1939).
    Pop3,
    /// SMTP between sites (RFC 5321).
    Smtp,
    /// LMTP (RFC 2033).
    Lmtp,
    /// Message submission (RFC 6409).
    Submission,
    /// HTTP/1.1.
    Http,
}

impl Protocol {
    /// Every protocol, in the order of declaration.
    pub const ALL: [Self; 6] = [Self::Imap, Self::Pop3, Self::Smtp, Self::Lmtp, Self::Submission, Self::Http];

    /// Returns the ALPN name, also the label in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
            Self::Lmtp => "lmtp",
            Self::Submission => "submission",
            Self::Http => "http",
        }
    }

    /// Finds the protocol with this ALPN name.
    #[must_use]
    pub fn from_alpn(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str().as_bytes() == name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one client session in the logs of the router, the member and the owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Draws a new one. Not a secret.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl FromStr for SessionId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::from_alpn(protocol.as_str().as_bytes()), Some(protocol));
        }
        assert_eq!(Protocol::from_alpn(b"IMAP"), None);
    }

    #[test]
    fn a_session_id_survives_text() {
        let id = SessionId(0x2a);
        assert_eq!(id.to_string(), "000000000000002a");
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
