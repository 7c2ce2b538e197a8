//! What a SEARCH asks for.

use super::text::Needle;
use crate::mailbox::flags::Flag;
use crate::mailbox::uid::{EmailId, ModSeq};
use crate::mailbox::uid_set::UidSet;

/// A search key (RFC 9051 §6.4.4). How deep they may nest, and how many there may be, is the syntax's to limit.
///
/// Days are counted from 1970-01-01, as [`InternalDate::day`](crate::mailbox::InternalDate::day) does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Criterion {
    /// Every message.
    All,
    /// Messages with these UIDs; sequence numbers are to be turned into UIDs first.
    Uids(UidSet),
    /// Messages with this flag.
    Flag(Flag),
    /// `\Recent` messages (RFC 3501).
    Recent,
    /// Received before the day.
    Before(i64),
    /// Received on the day.
    On(i64),
    /// Received on the day or later.
    Since(i64),
    /// Dated before the day, by the Date field.
    SentBefore(i64),
    /// Dated on the day.
    SentOn(i64),
    /// Dated on the day or later.
    SentSince(i64),
    /// Came into the mailbox before the day (RFC 8514), UTC.
    SavedBefore(i64),
    /// Came into the mailbox on the day.
    SavedOn(i64),
    /// Came into the mailbox on the day or later.
    SavedSince(i64),
    /// Received more than so many seconds ago (RFC 5032).
    Older(u32),
    /// Received within so many seconds (RFC 5032).
    Younger(u32),
    /// Larger than so many bytes.
    Larger(u32),
    /// Smaller than so many bytes.
    Smaller(u32),
    /// Changed at this mod-sequence or later (RFC 7162 §3.1.5).
    ModSeq(ModSeq),
    /// With this content (RFC 8474 §5.4).
    EmailId(EmailId),
    /// Having the text in a field of the envelope.
    Envelope(EnvelopeField, Needle),
    /// Having a header field of this name with the text in it; with any text if it is empty.
    Header(String, Needle),
    /// Having the text in the body.
    Body(Needle),
    /// Having the text in the header or the body.
    Text(Needle),
    /// What the key does not match.
    Not(Box<Criterion>),
    /// What all keys match.
    And(Vec<Criterion>),
    /// What either key matches.
    Or(Box<(Criterion, Criterion)>),
}

/// The fields of the envelope SEARCH has keys for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvelopeField {
    /// `FROM`
    From,
    /// `TO`
    To,
    /// `CC`
    Cc,
    /// `BCC`
    Bcc,
    /// `SUBJECT`
    Subject,
}

impl Criterion {
    /// What the key does not match.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }
}
