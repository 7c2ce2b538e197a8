//! From the fields of a header to what they say of the message or the part.

use super::address::parse_addresses;
use super::field::{Field, fields};
use super::octets::Octets;
use super::parameter::parse_parameterized;
use super::summary::{Address, Content, Disposition, Envelope, Parameter, Part, Span};

/// How much of a header is looked at; the rest can be fetched, but says nothing here.
const HEADER_BYTES_MAX: usize = 256 * 1024;
/// Most fields of a header that are looked at.
const HEADER_FIELDS_MAX: usize = 2_000;
/// Most languages kept of Content-Language.
const LANGUAGES_MAX: usize = 64;

/// The fields of a header that mean something here; of several with one name the first.
#[derive(Default)]
pub(super) struct Header<'a> {
    found: Vec<(&'static str, Field<'a>)>,
}

const KNOWN: [&str; 18] = [
    "Date",
    "Subject",
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "In-Reply-To",
    "Message-ID",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-ID",
    "Content-Description",
    "Content-MD5",
    "Content-Disposition",
    "Content-Language",
    "Content-Location",
];

impl<'a> Header<'a> {
    /// Finds the fields.
    pub(super) fn parse(header: &'a [u8]) -> Self {
        let mut found: Vec<(&'static str, Field<'a>)> = Vec::new();
        let looked_at = header.get(..HEADER_BYTES_MAX).unwrap_or(header);
        for field in fields(looked_at).take(HEADER_FIELDS_MAX) {
            let known = KNOWN.into_iter().find(|known| field.name.eq_ignore_ascii_case(known.as_bytes()));
            if let Some(known) = known.filter(|known| !found.iter().any(|(other, _)| other == known)) {
                found.push((known, field));
            }
        }
        Self { found }
    }

    fn field(&self, name: &str) -> Option<Octets> {
        let (_, field) = self.found.iter().find(|(known, _)| *known == name)?;
        Some(field.unfolded())
    }

    /// The fields ENVELOPE shows.
    pub(super) fn envelope(&self, addresses_left: &mut usize) -> Envelope {
        let mut addresses = |name| self.addresses(name, addresses_left);
        Envelope {
            from: addresses("From"),
            sender: addresses("Sender"),
            reply_to: addresses("Reply-To"),
            to: addresses("To"),
            cc: addresses("Cc"),
            bcc: addresses("Bcc"),
            date: self.field("Date"),
            subject: self.field("Subject"),
            in_reply_to: self.field("In-Reply-To"),
            message_id: self.field("Message-ID"),
        }
    }

    fn addresses(&self, name: &str, left: &mut usize) -> Vec<Address> {
        self.field(name).map(|value| parse_addresses(value.as_bytes(), left)).unwrap_or_default()
    }

    /// The part this header begins, as far as the header tells. `is_in_digest`: a `multipart/digest` holds messages
    /// where nothing else is said (RFC 2046 §5.1.5).
    pub(super) fn part(&self, header: Span, is_in_digest: bool) -> Part {
        let (media_type, subtype, parameters) = self.content_type(is_in_digest);
        Part {
            header,
            body: Span { start: header.end, end: header.end },
            lines: 0,
            media_type,
            subtype,
            parameters,
            id: self.field("Content-ID"),
            description: self.field("Content-Description"),
            encoding: self.field("Content-Transfer-Encoding").and_then(first_word).unwrap_or_else(|| "7BIT".into()),
            md5: self.field("Content-MD5"),
            disposition: self.disposition(),
            languages: self.languages(),
            location: self.field("Content-Location"),
            content: Content::Leaf,
        }
    }

    fn content_type(&self, is_in_digest: bool) -> (Octets, Octets, Vec<Parameter>) {
        let stated = self.field("Content-Type").and_then(|field| {
            let parsed = parse_parameterized(field.as_bytes());
            let slash = parsed.value.as_bytes().iter().position(|byte| *byte == b'/')?;
            let media_type = parsed.value.as_bytes()[..slash].trim_ascii();
            let subtype = parsed.value.as_bytes()[slash + 1..].trim_ascii();
            let is_valid = is_token(media_type) && is_token(subtype);
            is_valid.then(|| (media_type.into(), subtype.into(), parsed.parameters))
        });
        stated.unwrap_or_else(|| default_type(is_in_digest))
    }

    fn disposition(&self) -> Option<Disposition> {
        let parsed = parse_parameterized(self.field("Content-Disposition")?.as_bytes());
        (!parsed.value.is_empty()).then_some(Disposition { kind: parsed.value, parameters: parsed.parameters })
    }

    fn languages(&self) -> Vec<Octets> {
        let Some(field) = self.field("Content-Language") else { return Vec::new() };
        let tags = field.as_bytes().split(|byte| *byte == b',').map(|tag| Octets::from(tag.trim_ascii()));
        tags.filter(|tag| !tag.is_empty()).take(LANGUAGES_MAX).collect()
    }
}

/// What a part is whose header does not say it, or not intelligibly (RFC 2045 §5.2).
fn default_type(is_in_digest: bool) -> (Octets, Octets, Vec<Parameter>) {
    if is_in_digest {
        return ("message".into(), "rfc822".into(), Vec::new());
    }
    let charset = Parameter { name: "charset".into(), value: "us-ascii".into() };
    ("text".into(), "plain".into(), vec![charset])
}

/// The word a field begins with, before any comment or parameter.
fn first_word(field: Octets) -> Option<Octets> {
    let word = parse_parameterized(field.as_bytes()).value;
    is_token(word.as_bytes()).then_some(word)
}

/// RFC 2045 §5.1, `token`.
fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(byte))
}
