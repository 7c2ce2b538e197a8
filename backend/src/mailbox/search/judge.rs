//! Whether a message is what was asked for.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::ops::{Not, Range};

use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

use super::criterion::{Criterion, EnvelopeField};
use super::decode::{decode_octets, decode_text};
use super::text::fold;
use crate::mailbox::date::{InternalDate, Timestamp, day_number};
use crate::mailbox::message::Message;
use crate::mailbox::mime::{Address, Content, Envelope, Octets, Part, Span, Summary, fields, summarise};

/// How much is read at first when a header is asked for: nearly every header ends within.
const HEADER_BYTES_GUESSED: u64 = 16 * 1024;

/// Stands between texts that are searched as one. No key can hold it (RFC 9051 §9, `CHAR`).
const BETWEEN: char = '\0';

/// The message that is judged.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What the index knows of it.
    pub message: &'a Message,
    /// Whether the session has it as `\Recent`.
    pub is_recent: bool,
    /// The time of the search.
    pub now: Timestamp,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The message is what was asked for.
    Matches,
    /// It is not.
    Differs,
    /// These bytes of its body record must be known to say. They always begin at the record's beginning, and are more
    /// than there were.
    Needs(Range<u64>),
}

impl Criterion {
    /// Judges a message. `record` is as much of its body record as has been read, from its beginning: nothing at first.
    pub fn judge(&self, subject: &Subject<'_>, record: &[u8]) -> Outcome {
        let texts = Texts {
            message: subject.message,
            record,
            summary: OnceCell::new(),
            remade: OnceCell::new(),
            body: OnceCell::new(),
        };
        match judge(self, subject, &texts) {
            Verdict::Yes => Outcome::Matches,
            Verdict::No => Outcome::Differs,
            Verdict::Open(extent) => Outcome::Needs(0..texts.bytes_for(extent)),
        }
    }
}

/// How much of a body record a key looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    Summary,
    Header,
    Whole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Yes,
    No,
    /// Not before so much has been read.
    Open(Extent),
}

impl From<bool> for Verdict {
    fn from(is_so: bool) -> Self {
        if is_so { Self::Yes } else { Self::No }
    }
}

impl Not for Verdict {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Open(extent) => Self::Open(extent),
        }
    }
}

impl Verdict {
    /// Both. Of two open questions the cheaper is asked first: it may settle the matter.
    fn and(self, other: impl FnOnce() -> Self) -> Self {
        if self == Self::No {
            return self;
        }
        match (self, other()) {
            (_, Self::No) => Self::No,
            (Self::Open(one), Self::Open(other)) => Self::Open(one.min(other)),
            (Self::Open(extent), _) | (_, Self::Open(extent)) => Self::Open(extent),
            (Self::Yes | Self::No, Self::Yes) => Self::Yes,
        }
    }

    /// One or the other.
    fn or(self, other: impl FnOnce() -> Self) -> Self {
        !(!self).and(|| !other())
    }
}

fn judge(criterion: &Criterion, subject: &Subject<'_>, texts: &Texts<'_>) -> Verdict {
    let message = subject.message;
    let received = || message.internal_date.day();
    let saved = || InternalDate::utc(message.saved).day();
    let age = || subject.now.0.saturating_sub(message.internal_date.at.0);
    match criterion {
        Criterion::All => Verdict::Yes,
        Criterion::Uids(uids) => uids.contains(message.uid).into(),
        Criterion::Flag(flag) => message.flags.contains(flag).into(),
        Criterion::Recent => subject.is_recent.into(),
        Criterion::Before(day) => (received() < *day).into(),
        Criterion::On(day) => (received() == *day).into(),
        Criterion::Since(day) => (received() >= *day).into(),
        Criterion::SentBefore(day) => texts.is_sent(*day, Ordering::is_lt),
        Criterion::SentOn(day) => texts.is_sent(*day, Ordering::is_eq),
        Criterion::SentSince(day) => texts.is_sent(*day, Ordering::is_ge),
        Criterion::SavedBefore(day) => (saved() < *day).into(),
        Criterion::SavedOn(day) => (saved() == *day).into(),
        Criterion::SavedSince(day) => (saved() >= *day).into(),
        Criterion::Older(seconds) => (age() > i64::from(*seconds)).into(),
        Criterion::Younger(seconds) => (age() <= i64::from(*seconds)).into(),
        Criterion::Larger(size) => (message.size > *size).into(),
        Criterion::Smaller(size) => (message.size < *size).into(),
        Criterion::ModSeq(modseq) => (message.modseq >= *modseq).into(),
        Criterion::EmailId(id) => (message.email_id == *id).into(),
        Criterion::Envelope(field, needle) => {
            texts.envelope(*field).map_or_else(Verdict::Open, |text| needle.is_in(&text).into())
        }
        Criterion::Header(name, needle) => texts
            .header(name)
            .map_or_else(Verdict::Open, |values| values.iter().any(|value| needle.is_in(value)).into()),
        Criterion::Body(needle) | Criterion::Text(needle) if needle.is_empty() => Verdict::Yes,
        Criterion::Body(needle) => texts.body().map_or_else(Verdict::Open, |body| needle.is_in(body).into()),
        Criterion::Text(needle) => {
            let header = texts.whole_header().map_or_else(Verdict::Open, |header| needle.is_in(&header).into());
            header.or(|| texts.body().map_or_else(Verdict::Open, |body| needle.is_in(body).into()))
        }
        Criterion::Not(inner) => !judge(inner, subject, texts),
        Criterion::And(all) => all.iter().fold(Verdict::Yes, |so_far, one| so_far.and(|| judge(one, subject, texts))),
        Criterion::Or(either) => judge(&either.0, subject, texts).or(|| judge(&either.1, subject, texts)),
    }
}

/// The texts of a message, as far as it has been read; each decoded when first asked for.
struct Texts<'a> {
    message: &'a Message,
    record: &'a [u8],
    summary: OnceCell<Option<Summary>>,
    remade: OnceCell<Summary>,
    body: OnceCell<String>,
}

impl Texts<'_> {
    /// How much of the record an extent is.
    fn bytes_for(&self, extent: Extent) -> u64 {
        let (summary, whole) = (u64::from(self.message.summary_len), self.message.body.len());
        match extent {
            Extent::Summary => summary.min(whole),
            Extent::Header if self.record.len() as u64 <= summary => (summary + HEADER_BYTES_GUESSED).min(whole),
            Extent::Header | Extent::Whole => whole,
        }
    }

    /// The summary. One that cannot be read is made again, from all of the message.
    fn summary(&self) -> Result<&Summary, Extent> {
        let encoded = self.record.get(..self.message.summary_len as usize).ok_or(Extent::Summary)?;
        match self.summary.get_or_init(|| Summary::decode(encoded).ok()) {
            Some(summary) => Ok(summary),
            None if self.is_whole() => Ok(self.remade.get_or_init(|| summarise(self.message_bytes()))),
            None => Err(Extent::Whole),
        }
    }

    /// A stretch of the message. Once all has been read, what lies beyond is empty.
    fn bytes(&self, span: Span, extent: Extent) -> Result<&[u8], Extent> {
        let bytes = self.message_bytes().get(span.range());
        bytes.or(self.is_whole().then_some(&[])).ok_or(extent)
    }

    fn message_bytes(&self) -> &[u8] {
        self.record.get(self.message.summary_len as usize..).unwrap_or_default()
    }

    fn is_whole(&self) -> bool {
        self.record.len() as u64 >= self.message.body.len()
    }

    fn is_sent(&self, day: i64, test: fn(Ordering) -> bool) -> Verdict {
        let is_sent = |summary: &Summary| {
            let sent = summary.envelope.date.as_ref().and_then(sent_day);
            Verdict::from(sent.is_some_and(|sent| test(sent.cmp(&day))))
        };
        self.summary().map_or_else(Verdict::Open, is_sent)
    }

    /// A field of the envelope.
    fn envelope(&self, field: EnvelopeField) -> Result<String, Extent> {
        Ok(fold(&envelope_text(&self.summary()?.envelope, field)))
    }

    /// The values of the header fields with a name.
    fn header(&self, name: &str) -> Result<Vec<String>, Extent> {
        let header = self.header_bytes()?;
        let named = fields(header).filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
        Ok(named.map(|field| fold(&decode_octets(&field.unfolded()))).collect())
    }

    fn whole_header(&self) -> Result<String, Extent> {
        Ok(fold(&header_text(self.header_bytes()?)))
    }

    fn header_bytes(&self) -> Result<&[u8], Extent> {
        let summary = self.summary().map_err(|extent| extent.max(Extent::Header))?;
        self.bytes(summary.structure.header, Extent::Header)
    }

    /// All text of the body.
    fn body(&self) -> Result<&str, Extent> {
        let summary = self.summary().map_err(|_| Extent::Whole)?;
        self.bytes(Span { start: 0, end: self.message.size }, Extent::Whole)?;
        Ok(self.body.get_or_init(|| {
            let mut text = String::new();
            self.gather(&summary.structure, &mut text);
            fold(&text)
        }))
    }

    /// Adds the texts of a part and those inside. As deep as the walker looked, which is limited.
    fn gather(&self, part: &Part, text: &mut String) {
        match &part.content {
            Content::Leaf if part.media_type.is("text") => {
                text.push_str(&decode_text(part, self.bytes(part.body, Extent::Whole).unwrap_or_default()));
                text.push(BETWEEN);
            }
            Content::Leaf => {}
            Content::Multipart(parts) => parts.iter().for_each(|part| self.gather(part, text)),
            Content::Message(inner) => {
                text.push_str(&header_text(self.bytes(inner.1.header, Extent::Whole).unwrap_or_default()));
                self.gather(&inner.1, text);
            }
        }
    }
}

/// All fields of a header, each on one line.
fn header_text(header: &[u8]) -> String {
    let mut text = String::with_capacity(header.len());
    for field in fields(header) {
        text.push_str(&String::from_utf8_lossy(field.name));
        text.push_str(": ");
        text.push_str(&decode_octets(&field.unfolded()));
        text.push(BETWEEN);
    }
    text
}

fn envelope_text(envelope: &Envelope, field: EnvelopeField) -> String {
    match field {
        EnvelopeField::From => address_text(&envelope.from),
        EnvelopeField::To => address_text(&envelope.to),
        EnvelopeField::Cc => address_text(&envelope.cc),
        EnvelopeField::Bcc => address_text(&envelope.bcc),
        EnvelopeField::Subject => envelope.subject.as_ref().map(decode_octets).unwrap_or_default(),
    }
}

fn address_text(addresses: &[Address]) -> String {
    let mut text = String::new();
    for address in addresses {
        match address {
            Address::One { name: Some(name), mailbox, host, .. } => {
                text.push_str(&format!("{} <{mailbox}@{host}>", decode_octets(name)));
            }
            Address::One { name: None, mailbox, host, .. } => text.push_str(&format!("{mailbox}@{host}")),
            Address::GroupStart(name) => text.push_str(&decode_octets(name)),
            Address::GroupEnd => {}
        }
        text.push(BETWEEN);
    }
    text
}

/// The day of a Date field, disregarding time and zone (RFC 9051 §6.4.4, SENTON).
fn sent_day(date: &Octets) -> Option<i64> {
    let line = [date.as_bytes(), b"\n"].concat();
    let HeaderValue::DateTime(date) = MessageStream::new(&line).parse_date() else { return None };
    day_number(i16::try_from(date.year).ok()?, i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?)
}
