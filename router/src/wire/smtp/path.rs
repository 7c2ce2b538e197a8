//! Reverse-paths and forward-paths (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! A [`Mailbox`] keeps the text it was written with: a quoted local part stays quoted, so that it can be passed on
//! unchanged. What it means (which account) is the directory's matter.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest local part. RFC 5321 §4.5.3.1.1 asks for 64 at least; bounce addresses that encode a recipient exceed it.
const LOCAL_BYTES_MAX: usize = 255;
/// Longest domain (RFC 5321 §4.5.3.1.2).
const DOMAIN_BYTES_MAX: usize = 255;
/// Longest label of a domain (RFC 1035 §2.3.4); an internationalised one is at most four times as long in UTF-8.
const LABEL_BYTES_MAX: usize = 4 * 63;

/// An address as RFC 5321 calls it *Mailbox*: `local@domain`, checked against the grammar, text unchanged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mailbox {
    text: Box<str>,
    at: usize,
}

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain, which every server must accept (RFC 5321 §4.5.1).
    Postmaster,
    /// Any other recipient.
    Mailbox(Mailbox),
}

/// Text that is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address")]
pub struct PathFault;

impl Mailbox {
    /// Checks `local@domain` against the grammar.
    ///
    /// # Errors
    /// [`PathFault`] when the text does not match *Mailbox*.
    pub fn parse(text: &str) -> Result<Self, PathFault> {
        let at = local_part_len(text).ok_or(PathFault)?;
        let domain = text.get(at..).and_then(|rest| rest.strip_prefix('@')).ok_or(PathFault)?;
        if at > LOCAL_BYTES_MAX || !is_domain(domain) {
            return Err(PathFault);
        }
        Ok(Self { text: text.into(), at })
    }

    /// What stands before the `@`, quoted as it was.
    #[must_use]
    pub fn local(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// What stands behind the `@`: a domain, or an address literal in brackets.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a server without SMTPUTF8 may see it (RFC 6531 §3.5).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Mailbox {
    type Error = PathFault;
    fn try_from(text: String) -> Result<Self, PathFault> {
        Self::parse(&text)
    }
}

impl From<Mailbox> for String {
    fn from(mailbox: Mailbox) -> Self {
        mailbox.text.into()
    }
}

/// Takes `<…>` off the front of `text`: what is inside the brackets, without a source route, and what follows them.
pub(super) fn split_path(text: &str) -> Result<(&str, &str), PathFault> {
    let inner = text.strip_prefix('<').ok_or(PathFault)?;
    let end = closing_bracket(inner).ok_or(PathFault)?;
    let (path, rest) = (inner.get(..end).ok_or(PathFault)?, inner.get(end + 1..).ok_or(PathFault)?);
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(PathFault);
    }
    Ok((without_source_route(path)?, rest))
}

/// Where the `>` stands that is not inside a quoted local part.
fn closing_bracket(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// A source route must be accepted and should be ignored (RFC 5321 §3.6.1, Appendix C).
fn without_source_route(path: &str) -> Result<&str, PathFault> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let (route, mailbox) = path.split_once(':').ok_or(PathFault)?;
    let hops_fit = route.split(',').all(|hop| hop.strip_prefix('@').is_some_and(is_domain));
    if hops_fit { Ok(mailbox) } else { Err(PathFault) }
}

/// Length of the local part at the front, if it is one.
fn local_part_len(text: &str) -> Option<usize> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted_len(quoted).map(|len| len + 1),
        None => {
            let len = text.find('@')?;
            let local = text.get(..len)?;
            // Dots are taken wherever they stand: some sites gave out addresses with two in a row.
            (len > 0 && local.chars().all(|c| is_atext(c) || c == '.')).then_some(len)
        }
    }
}

/// Length of a Quoted-string behind its first quote, the last quote included.
fn quoted_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        let printable = c == ' ' || (!c.is_control() && !c.is_whitespace());
        match c {
            _ if !printable => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// RFC 5322 §3.2.3, widened by RFC 6532 §3.2.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

fn is_domain(text: &str) -> bool {
    if let Some(literal) = text.strip_prefix('[') {
        return literal.strip_suffix(']').is_some_and(is_address_literal);
    }
    text.len() <= DOMAIN_BYTES_MAX && text.split('.').all(is_label)
}

/// Let-dig [Ldh-str]; underscores occur in practice and harm nobody.
fn is_label(label: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && c.is_alphanumeric());
    !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(fits)
}

/// RFC 5321 §4.1.3, without the general form nobody registered a tag for.
fn is_address_literal(text: &str) -> bool {
    let v6 = text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    match v6 {
        Some(_) => text.get(5..).is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => text.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_text() {
        for text in [
            "a@b",
            "a.b+c@x.example",
            "\"a b\\\"c>\"@x.example",
            "a@[127.0.0.1]",
            "a@[IPv6:::1]",
            "müller@bücher.example",
        ] {
            let mailbox = Mailbox::parse(text).unwrap();
            assert_eq!(mailbox.to_string(), text);
            assert_eq!(format!("{}@{}", mailbox.local(), mailbox.domain()), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a b@c",
            "a@b c",
            "a@-b",
            "a@b..c",
            "\"a@b",
            "a@[1.2.3]",
            "a@b>",
            "a\r@b",
            "a\0@b",
        ] {
            assert!(Mailbox::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_bracket_inside_quotes_does_not_end_the_path() {
        assert_eq!(split_path("<\"a>b\"@c> SIZE=1"), Ok(("\"a>b\"@c", " SIZE=1")));
        assert_eq!(split_path("<a@b>x"), Err(PathFault));
    }

    #[test]
    fn a_source_route_is_ignored() {
        assert_eq!(split_path("<@one.example,@two.example:a@b>"), Ok(("a@b", "")));
        assert_eq!(split_path("<@one.example,two:a@b>"), Err(PathFault));
    }
}
