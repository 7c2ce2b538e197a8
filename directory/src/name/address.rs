//! Addresses (RFC 5321 §4.1.2): read, compared, printed.
//!
//! Only what RFC 5321 §4.1.2 and RFC 6531 §3.3 allow becomes an [`Address`]; comparisons ignore case in both halves,
//! because no directory keeps `Eve@` and `eve@` apart.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::NameError;

/// RFC 5321 §4.5.3.1.1.
const LOCAL_BYTES_MAX: usize = 64;
/// RFC 5321 §4.5.3.1.2.
const DOMAIN_BYTES_MAX: usize = 255;
/// RFC 5321 §4.5.3.1.3 allows 256 for a path, of which two are the angle brackets.
const ADDRESS_BYTES_MAX: usize = 254;
/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// An RFC 5321 *Mailbox*: `local@domain`.
///
/// The local part is kept unquoted, as it was written; the domain is kept in lower case.
#[derive(Clone)]
pub struct Address {
    text: Box<str>,
    at: u8,
}

impl Address {
    /// Reads `local@domain`, with a dot-string or a quoted string before the `@`.
    ///
    /// # Errors
    ///
    /// Says which rule of RFC 5321 §4.1.2 or §4.5.3.1 the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        // A quoted pair may double the length of what it stands for.
        if text.len() > 2 * ADDRESS_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let (local, domain) = split(text)?;
        let local = parse_local(local)?;
        let domain = parse_domain(domain)?;
        Self::assemble(&local, &domain)
    }

    /// Returns the local part, unquoted.
    #[must_use]
    pub fn local(&self) -> &str {
        self.text.split_at(usize::from(self.at)).0
    }

    /// Returns the domain, in lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.get(usize::from(self.at) + 1..).unwrap_or_default()
    }

    /// Returns the address without its `+detail` (RFC 5233), which may be the address itself.
    #[must_use]
    pub fn base(&self) -> Self {
        match self.local().split_once('+') {
            Some((user, _)) if !user.is_empty() => Self::assemble(user, self.domain()).unwrap_or_else(|_| self.clone()),
            _ => self.clone(),
        }
    }

    /// Returns what follows the first `+` of the local part.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.local().split_once('+').filter(|(user, _)| !user.is_empty()).map(|(_, detail)| detail)
    }

    /// Returns the unquoted form in lower case: the same for addresses that compare equal.
    #[must_use]
    pub fn folded(&self) -> String {
        self.text.to_lowercase()
    }

    /// Returns `local@domain` with the local part unquoted, as directories store it.
    #[must_use]
    pub fn as_unquoted(&self) -> &str {
        &self.text
    }

    fn assemble(local: &str, domain: &str) -> Result<Self, NameError> {
        if local.len() > LOCAL_BYTES_MAX || local.len() + 1 + domain.len() > ADDRESS_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let at = u8::try_from(local.len()).map_err(|_| NameError::TooLong)?;
        Ok(Self { text: format!("{local}@{domain}").into_boxed_str(), at })
    }

    fn folded_chars(&self) -> impl Iterator<Item = char> {
        self.text.chars().flat_map(char::to_lowercase)
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.folded_chars().eq(other.folded_chars())
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded_chars().cmp(other.folded_chars()).then(self.at.cmp(&other.at))
    }
}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for c in self.folded_chars() {
            state.write_u32(u32::from(c));
        }
    }
}

impl fmt::Display for Address {
    /// Prints the address as it may stand in a protocol: quoted where it must be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(self.local()) {
            return f.write_str(&self.text);
        }
        f.write_str("\"")?;
        for c in self.local().chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"@{}", self.domain())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl FromStr for Address {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// Finds the `@` that ends the local part: the last one, since a domain has none and a quoted string may.
fn split(text: &str) -> Result<(&str, &str), NameError> {
    let (local, domain) = text.rsplit_once('@').ok_or(NameError::NoDomain)?;
    if local.is_empty() {
        return Err(NameError::LocalPart);
    }
    if domain.is_empty() {
        return Err(NameError::Domain);
    }
    Ok((local, domain))
}

/// `Local-part = Dot-string / Quoted-string`; returns it unquoted.
fn parse_local(text: &str) -> Result<String, NameError> {
    if let Some(quoted) = text.strip_prefix('"') {
        return unquote(quoted.strip_suffix('"').ok_or(NameError::LocalPart)?);
    }
    if is_dot_string(text) { Ok(text.to_owned()) } else { Err(NameError::LocalPart) }
}

/// `QcontentSMTP = qtextSMTP / quoted-pairSMTP`: printable US-ASCII and, by RFC 6531 §3.3, UTF8-non-ascii.
fn unquote(text: &str) -> Result<String, NameError> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => chars.next().filter(char::is_ascii).ok_or(NameError::LocalPart)?,
            '"' => return Err(NameError::LocalPart),
            other => other,
        };
        if c.is_control() {
            return Err(NameError::Character);
        }
        plain.push(c);
    }
    // `""@example.org` is legal syntax and names nobody.
    if plain.is_empty() { Err(NameError::LocalPart) } else { Ok(plain) }
}

/// `Dot-string = Atom *("." Atom)`.
fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// `atext` of RFC 5322 §3.2.3, extended by RFC 6531 §3.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control())
}

/// `Domain / address-literal`; returns it in lower case.
fn parse_domain(text: &str) -> Result<String, NameError> {
    if text.len() > DOMAIN_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    if let Some(literal) = text.strip_prefix('[') {
        let literal = literal.strip_suffix(']').ok_or(NameError::Domain)?;
        return if is_address_literal(literal) { Ok(text.to_lowercase()) } else { Err(NameError::Domain) };
    }
    if text.split('.').all(is_label) { Ok(text.to_lowercase()) } else { Err(NameError::Domain) }
}

/// `sub-domain = Let-dig [Ldh-str]`, extended by U-labels (RFC 6531 §3.3).
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || (!c.is_ascii() && c.is_alphanumeric()))
}

/// What may stand between the brackets (RFC 5321 §4.1.3).
fn is_address_literal(text: &str) -> bool {
    if let Some((tag, value)) = text.split_once(':') {
        if tag.eq_ignore_ascii_case("IPv6") {
            return value.parse::<Ipv6Addr>().is_ok();
        }
        // `General-address-literal = Standardized-tag ":" 1*dcontent`.
        return is_label(tag)
            && !value.is_empty()
            && value.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'[' | b'\\' | b']'));
    }
    text.parse::<Ipv4Addr>().is_ok()
}
