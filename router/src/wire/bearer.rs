//! The messages of OAUTHBEARER (RFC 7628 §3.1) and of XOAUTH2, its older relative.
//!
//! Whoever passes them on reads the name alone. A message without a name belongs nowhere: which token is whose, only the home
//! of its account can tell.

use laniakea_directory::Secret;

use super::sasl::Malformed;

/// Longest message: what fits, encoded, into a line of IMAP before login. Tokens that carry the groups a person is in are large.
pub const MESSAGE_BYTES_MAX: usize = 6000;

/// Whose token it is, and the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The name.
    pub name: String,
    /// The token, as the issuer wrote it.
    pub token: Secret,
}

impl Bearer {
    /// Reads `"n,a=" name "," ^A *(key "=" value ^A) ^A`, where `auth=Bearer token` must be.
    ///
    /// # Errors
    ///
    /// If it is something else, or names nobody.
    pub fn parse_oauthbearer(message: &[u8]) -> Result<Self, Malformed> {
        let (header, pairs) = split(message)?;
        // Channel binding belongs to a mechanism that is not offered.
        let header = header.strip_prefix("n,").or_else(|| header.strip_prefix("y,")).ok_or(Malformed)?;
        let name = header.strip_suffix(',').and_then(|name| name.strip_prefix("a=")).ok_or(Malformed)?;
        Self::new(&super::scram::unescape(name)?, pairs)
    }

    /// Reads `"user=" name ^A "auth=Bearer " token ^A ^A`.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn parse_xoauth2(message: &[u8]) -> Result<Self, Malformed> {
        let (user, pairs) = split(message)?;
        Self::new(user.strip_prefix("user=").ok_or(Malformed)?, pairs)
    }

    fn new(name: &str, pairs: &str) -> Result<Self, Malformed> {
        // `kvpair = key "=" value kvsep`, and one more separator behind the last.
        let pairs = pairs.strip_suffix("\x01\x01").ok_or(Malformed)?;
        let mut token = None;
        for pair in pairs.split('\x01') {
            let (key, value) = pair.split_once('=').ok_or(Malformed)?;
            if !key.bytes().all(|byte| byte.is_ascii_alphabetic()) || key.is_empty() {
                return Err(Malformed);
            }
            if key.eq_ignore_ascii_case("auth") && token.replace(bearer(value)?).is_some() {
                return Err(Malformed);
            }
        }
        let token = Secret::new(token.ok_or(Malformed)?.as_bytes().to_vec());
        Ok(Self { name: name.to_owned(), token })
    }
}

/// `"Bearer" 1*SP b64token` (RFC 6750 §2.1).
fn bearer(value: &str) -> Result<&str, Malformed> {
    let (scheme, token) = value.split_once(' ').ok_or(Malformed)?;
    let token = token.trim_start_matches(' ');
    let is_token =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    let is_bearer = scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() && token.bytes().all(is_token);
    is_bearer.then_some(token).ok_or(Malformed)
}

fn split(message: &[u8]) -> Result<(&str, &str), Malformed> {
    let text = std::str::from_utf8(message).map_err(|_| Malformed)?;
    let is_whole = text.len() <= MESSAGE_BYTES_MAX && !text.contains(['\0', '\r', '\n']);
    text.split_once('\x01').filter(|_| is_whole).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_the_rfc_are_read() {
        // RFC 7628 §4.1, with its escaped name, and XOAUTH2's own example.
        let message = b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        let bearer = Bearer::parse_oauthbearer(message).unwrap();
        assert_eq!(bearer.name, "user@example.com");
        assert_eq!(bearer.token.expose(), b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        assert_eq!(Bearer::parse_oauthbearer(b"n,a=a=2Cb,\x01auth=bearer x\x01\x01").unwrap().name, "a,b");
        let bearer =
            Bearer::parse_xoauth2(b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc\x01\x01").unwrap();
        assert_eq!((bearer.name.as_str(), bearer.token.expose()), ("someuser@example.com", &b"ya29.vF9dft4qmTc"[..]));
    }

    #[test]
    fn nothing_else_is_a_message() {
        for message in [
            "",
            "\x01",
            "n,,\x01auth=Bearer x\x01\x01",
            "n,a=,\x01auth=Bearer x\x01\x01",
            "n,a=eve\x01auth=Bearer x\x01\x01",
            "p=tls-exporter,a=eve,\x01auth=Bearer x\x01\x01",
            "n,a=eve,\x01auth=Basic x\x01\x01",
            "n,a=eve,\x01auth=Bearer \x01\x01",
            "n,a=eve,\x01auth=Bearer x\x01",
            "n,a=eve,\x01\x01",
            "n,a=eve,\x01auth=Bearer x y\x01\x01",
            "n,a=eve,\x01auth=Bearer x\x01auth=Bearer y\x01\x01",
            "n,a=eve,\x01=x\x01auth=Bearer x\x01\x01",
            "n,a=e\nve,\x01auth=Bearer x\x01\x01",
            "user=eve\x01auth=Bearer x\x01\x01",
        ] {
            assert_eq!(Bearer::parse_oauthbearer(message.as_bytes()), Err(Malformed), "{message:?}");
        }
        for message in
            ["", "eve\x01auth=Bearer x\x01\x01", "user=eve\x01auth=x\x01\x01", "n,a=eve,\x01auth=Bearer x\x01\x01"]
        {
            assert_eq!(Bearer::parse_xoauth2(message.as_bytes()), Err(Malformed), "{message:?}");
        }
    }
}
