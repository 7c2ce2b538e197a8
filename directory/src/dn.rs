//! Distinguished names (RFC 4514): parsed, printed with every escape they need, and compared by a normal form.
//!
//! The normal form ([`Dn::path`]) runs from the root to the leaf and ends every component with a zero byte, so that
//! "below" is "begins with", in memory and in an ordered table.

use std::fmt;

/// A longer name is a mistake or an attack.
const DN_BYTES_MAX: usize = 4096;
/// Components of a name.
const DEPTH_MAX: usize = 64;

/// Why a text is not a distinguished name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed distinguished name")]
pub struct DnError;

/// A distinguished name; the empty one is the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dn {
    /// Leaf first, as it is written.
    rdns: Vec<Rdn>,
}

/// One component: one attribute value, rarely several joined by `+`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rdn {
    values: Vec<(String, String)>,
}

impl Dn {
    /// Reads a name as RFC 4514 §3 writes it; spaces around separators are forgiven.
    ///
    /// # Errors
    ///
    /// If the text is malformed, or longer or deeper than any sensible name.
    pub fn parse(text: &str) -> Result<Self, DnError> {
        if text.len() > DN_BYTES_MAX {
            return Err(DnError);
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let rdns = split_unescaped(text, &[',', ';']).map(Rdn::parse).collect::<Result<Vec<_>, _>>()?;
        if rdns.len() > DEPTH_MAX { Err(DnError) } else { Ok(Self { rdns }) }
    }

    /// Makes the name of an entry below `self`.
    #[must_use]
    pub fn child(&self, attribute: &str, value: &str) -> Self {
        let rdn = Rdn { values: vec![(attribute.to_owned(), value.to_owned())] };
        Self { rdns: std::iter::once(rdn).chain(self.rdns.iter().cloned()).collect() }
    }

    /// Makes the name of an entry below `self` from a whole component.
    #[must_use]
    pub fn child_rdn(&self, rdn: Rdn) -> Self {
        Self { rdns: std::iter::once(rdn).chain(self.rdns.iter().cloned()).collect() }
    }

    /// Returns the name of the entry above, unless this is the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.rdns.split_first()?;
        Some(Self { rdns: above.to_vec() })
    }

    /// Returns the leaf component.
    #[must_use]
    pub fn rdn(&self) -> Option<&Rdn> {
        self.rdns.first()
    }

    /// Returns the components, leaf first.
    pub fn rdns(&self) -> impl Iterator<Item = &Rdn> {
        self.rdns.iter()
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.rdns.is_empty()
    }

    /// Returns the normal form: equal names have equal paths, and a name's path begins with its superiors' paths.
    #[must_use]
    pub fn path(&self) -> String {
        self.rdns.iter().rev().fold(String::new(), |path, rdn| path + &rdn.normal() + "\0")
    }
}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, rdn) in self.rdns.iter().enumerate() {
            write!(f, "{}{rdn}", if n > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl Rdn {
    /// Reads `attribute=value`, or several joined by `+`.
    ///
    /// # Errors
    ///
    /// If the text is malformed.
    pub fn parse(text: &str) -> Result<Self, DnError> {
        let values = split_unescaped(text, &['+']).map(parse_pair).collect::<Result<Vec<_>, _>>()?;
        if values.is_empty() { Err(DnError) } else { Ok(Self { values }) }
    }

    /// Returns attribute and value of each part.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(attribute, value)| (attribute.as_str(), value.as_str()))
    }

    fn normal(&self) -> String {
        let mut parts: Vec<String> = self
            .values
            .iter()
            .map(|(attribute, value)| format!("{}={}", canonical_type(attribute), escape_normal(&fold(value))))
            .collect();
        parts.sort();
        parts.join("+")
    }
}

impl fmt::Display for Rdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (attribute, value)) in self.values.iter().enumerate() {
            write!(f, "{}{attribute}={}", if n > 0 { "+" } else { "" }, escape(value))?;
        }
        Ok(())
    }
}

/// Returns the one name of an attribute type that has several, in lower case (RFC 4519 §2, RFC 4524 §2).
#[must_use]
pub fn canonical_type(attribute: &str) -> String {
    let lower = attribute.trim().to_ascii_lowercase();
    let lower = lower.strip_prefix("oid.").unwrap_or(&lower);
    match lower {
        "commonname" | "2.5.4.3" => "cn",
        "surname" | "2.5.4.4" => "sn",
        "organizationname" | "2.5.4.10" => "o",
        "organizationalunitname" | "2.5.4.11" => "ou",
        "domaincomponent" | "0.9.2342.19200300.100.1.25" => "dc",
        "userid" | "0.9.2342.19200300.100.1.1" => "uid",
        "rfc822mailbox" | "0.9.2342.19200300.100.1.3" => "mail",
        "2.5.4.0" => "objectclass",
        "2.5.4.35" => "userpassword",
        "1.3.6.1.1.16.4" => "entryuuid",
        other => other,
    }
    .to_owned()
}

/// Prepares text for caseIgnoreMatch (RFC 4517 §4.2.11): lower case, no outer spaces, single inner ones (RFC 4518 §2.6.1).
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() && !text.contains(' ') {
        return text.to_ascii_lowercase();
    }
    text.to_lowercase().split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Splits at separators that are neither escaped nor inside quotes (RFC 2253 §4 allowed quotes).
fn split_unescaped<'a>(text: &'a str, separators: &'a [char]) -> impl Iterator<Item = &'a str> {
    let (mut escaped, mut quoted) = (false, false);
    text.split(move |c: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match c {
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ => return !quoted && separators.contains(&c),
        }
        false
    })
}

fn parse_pair(text: &str) -> Result<(String, String), DnError> {
    let (attribute, value) = text.split_once('=').ok_or(DnError)?;
    let attribute = attribute.trim();
    let plausible = attribute.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    if attribute.is_empty() || !plausible {
        return Err(DnError);
    }
    let value = unescape(value.trim_start_matches(' '))?;
    if value.is_empty() { Err(DnError) } else { Ok((attribute.to_owned(), value)) }
}

/// Reads `string / hexstring` of RFC 4514 §3.
fn unescape(text: &str) -> Result<String, DnError> {
    if let Some(hex) = text.strip_prefix('#') {
        return unhex_ber(hex.trim_end());
    }
    let text = trim_trailing_spaces(text);
    if let Some(quoted) = text.strip_prefix('"') {
        return unescape_pairs(quoted.strip_suffix('"').ok_or(DnError)?);
    }
    if text.contains('"') && !text.contains("\\\"") {
        return Err(DnError);
    }
    unescape_pairs(text)
}

/// Drops spaces at the end, except one that is escaped.
fn trim_trailing_spaces(text: &str) -> &str {
    let trimmed = text.trim_end_matches(' ');
    let escapes = trimmed.bytes().rev().take_while(|b| *b == b'\\').count();
    if escapes % 2 == 1 && trimmed.len() < text.len() { text.get(..=trimmed.len()).unwrap_or(trimmed) } else { trimmed }
}

fn unescape_pairs(text: &str) -> Result<String, DnError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next().ok_or(DnError)? {
            special @ (b' ' | b'"' | b'#' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\') => bytes.push(special),
            high => bytes.push(hex_pair(high, rest.next().ok_or(DnError)?)?),
        }
    }
    String::from_utf8(bytes).map_err(|_| DnError)
}

/// Reads `#04024869`: a BER string of at most 127 bytes.
fn unhex_ber(hex: &str) -> Result<String, DnError> {
    let bytes = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => hex_pair(*high, *low),
            _ => Err(DnError),
        })
        .collect::<Result<Vec<u8>, _>>()?;
    match bytes.as_slice() {
        // OCTET STRING, UTF8String, PrintableString, IA5String.
        [0x04 | 0x0c | 0x13 | 0x16, length, value @ ..] if usize::from(*length) == value.len() && *length < 128 => {
            String::from_utf8(value.to_vec()).map_err(|_| DnError)
        }
        _ => Err(DnError),
    }
}

fn hex_pair(high: u8, low: u8) -> Result<u8, DnError> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(DnError);
    Ok(digit(high)? << 4 | digit(low)?)
}

/// Writes a value so that it is read back as it is (RFC 4514 §2.4).
fn escape(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (n, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => text.extend(['\\', c]),
            ' ' if n == 0 || n == last => text.push_str("\\ "),
            '#' if n == 0 => text.push_str("\\#"),
            c if c.is_control() => text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(|b| format!("\\{b:02x}"))),
            c => text.push(c),
        }
    }
    text
}

/// Escapes what has a meaning in a path.
fn escape_normal(value: &str) -> String {
    value.replace('\\', "\\5c").replace('+', "\\2b").replace('\0', "\\00")
}

#[cfg(test)]
#[path = "dn_test.rs"]
mod tests;
