//! What an HTTP request shows of whose it is: enough to find the account, and no proof of anything.
//!
//! Of a password it is only said where it ends; of a bearer token's signature nothing. Members verify.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use laniakea_directory::Secret;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Longest value of an Authorization field that is read. Tokens of 2 to 4 KiB are common.
const CREDENTIALS_BYTES_MAX: usize = 12 * 1024;
/// Names a token may offer for its subject.
const NAMES_MAX: usize = 3;

/// A name and a password (RFC 7617).
#[derive(Debug, PartialEq, Eq)]
pub struct Basic {
    /// Everything in front of the first colon.
    pub name: String,
    /// The rest, colons and all.
    pub password: Secret,
}

/// What an Authorization field shows.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// A name and a password.
    Basic(Basic),
    /// A token, with the names under which an account may be known (RFC 9068), best first. They are claims of whoever made it.
    Bearer(Vec<String>),
    /// Something else, or nothing that can be read.
    Other,
}

/// Reads the value of an Authorization field (RFC 9110 §11.6.2).
#[must_use]
pub fn authorization(value: &[u8]) -> Shown {
    let text = match std::str::from_utf8(value) {
        Ok(text) if value.len() <= CREDENTIALS_BYTES_MAX => text.trim(),
        _ => return Shown::Other,
    };
    let Some((scheme, credentials)) = text.split_once(' ') else { return Shown::Other };
    let credentials = credentials.trim_start();
    if scheme.eq_ignore_ascii_case("basic") {
        return basic(credentials).map_or(Shown::Other, Shown::Basic);
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Shown::Bearer(names_in_token(credentials).unwrap_or_default());
    }
    Shown::Other
}

fn basic(credentials: &str) -> Option<Basic> {
    let decoded = Zeroizing::new(STANDARD.decode(credentials).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (name, password) = decoded.split_at(colon);
    let name = std::str::from_utf8(name).ok()?;
    // RFC 7617 §2: no control characters, in neither.
    if decoded.iter().any(u8::is_ascii_control) {
        return None;
    }
    Some(Basic { name: name.to_owned(), password: Secret::new(password.get(1..)?.to_vec()) })
}

/// What a JSON Web Token says of its subject (RFC 7519 §4.1.2; OpenID Connect Core §5.1).
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    preferred_username: Option<String>,
    #[serde(default)]
    sub: Option<String>,
}

/// `header.claims.signature`, each in base64 (RFC 7515 §7.1).
fn names_in_token(token: &str) -> Option<Vec<String>> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let names = [claims.email, claims.preferred_username, claims.sub];
    Some(names.into_iter().flatten().filter(|name| !name.is_empty()).take(NAMES_MAX).collect())
}

/// Finds a cookie in the value of a Cookie field (RFC 6265 §5.4); the first of its name counts.
#[must_use]
pub fn cookie<'a>(value: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(value).ok()?;
    let pairs = text.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(other, _)| *other == name).map(|(_, value)| value.trim_matches('"'))
}

/// Reads whatever the bytes hold. For fuzzing: no input may make it panic.
pub fn fuzz(bytes: &[u8]) {
    let shown = authorization(bytes);
    if let Shown::Bearer(names) = shown {
        assert!(names.len() <= NAMES_MAX);
    }
    let _ = cookie(bytes, "laniakea");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("Bearer e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn basic_credentials_are_a_name_and_whatever_follows_the_colon() {
        let value = format!("bASIC {}", STANDARD.encode("ann@example.org:a:b"));
        let Shown::Basic(basic) = authorization(value.as_bytes()) else { panic!() };
        assert_eq!((basic.name.as_str(), basic.password.expose()), ("ann@example.org", b"a:b".as_slice()));
        for bad in ["Basic", "Basic !", "Basic YW5u", &format!("Basic {}", STANDARD.encode("ann\r\n:x")), "Digest x"] {
            assert_eq!(authorization(bad.as_bytes()), Shown::Other, "{bad}");
        }
    }

    #[test]
    fn a_token_offers_the_names_of_its_subject() {
        let names = |value: &str| match authorization(value.as_bytes()) {
            Shown::Bearer(names) => names,
            _ => panic!(),
        };
        assert_eq!(names(&token(r#"{"sub":"4711","email":"ann@example.org"}"#)), ["ann@example.org", "4711"]);
        assert_eq!(names(&token(r#"{"sub":["a"],"email":1}"#)), [""; 0]);
        assert_eq!(names(&token(&format!("{}1", "[".repeat(8000)))), [""; 0]);
        for opaque in ["Bearer 2YotnFZFEjr1zCsicMWpAA", "Bearer a.b", "Bearer a.b.c.d", "Bearer ..", "Bearer a.!.c"] {
            assert_eq!(names(opaque), [""; 0], "{opaque}");
        }
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        assert_eq!(cookie(b"a=1; laniakea=AQ; b=2", "laniakea"), Some("AQ"));
        assert_eq!(cookie(b"laniakea=\"AQ\"", "laniakea"), Some("AQ"));
        for other in [&b"xlaniakea=1"[..], b"laniakea", b"a=laniakea=1", b"\xff=1; laniakea=1", b""] {
            assert_eq!(cookie(other, "laniakea"), None, "{other:?}");
        }
    }

    #[test]
    fn endless_credentials_are_not_read() {
        let value = format!("Basic {}", STANDARD.encode(format!("ann:{}", "x".repeat(CREDENTIALS_BYTES_MAX))));
        assert_eq!(authorization(value.as_bytes()), Shown::Other);
    }
}
