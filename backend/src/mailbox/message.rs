//! What an account remembers of a message without opening its body.

use bytes::Bytes;

use super::date::{InternalDate, Timestamp};
use super::flags::Flags;
use super::mime;
use super::uid::{EmailId, ModSeq, Uid};
use crate::store::BodyRef;

/// One message of a mailbox. Small, since an account may hold a million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its identifier in the mailbox.
    pub uid: Uid,
    /// RFC822.SIZE: the length of the message itself, in bytes.
    pub size: u32,
    /// When it last changed (RFC 7162).
    pub modseq: ModSeq,
    /// Its flags.
    pub flags: Flags,
    /// When it was received (RFC 9051 §2.3.3).
    pub internal_date: InternalDate,
    /// When it came into this mailbox (RFC 8514).
    pub saved: Timestamp,
    /// Names its content; copies share it (RFC 8474).
    pub email_id: EmailId,
    /// Where its body record lies: the encoded summary, then the message.
    pub body: BodyRef,
    /// How long the summary at the beginning of the body record is.
    pub summary_len: u32,
}

/// A message on its way into a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The flags it begins with.
    pub flags: Flags,
    /// When it was received; the time of the request if `None`.
    pub internal_date: Option<InternalDate>,
    /// Its body record.
    pub body: BodyRecord,
}

/// A body record as the store keeps it: the encoded [`mime::Summary`], then the message itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyRecord {
    bytes: Bytes,
    summary_len: u32,
}

/// Largest message, in bytes: what RFC822.SIZE and our offsets can hold, and more than any peer takes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;

impl BodyRecord {
    /// Summarises a message and joins both. Costs one pass over the message: done outside the account's worker.
    /// `None` beyond [`MESSAGE_BYTES_MAX`].
    pub fn new(message: &[u8]) -> Option<Self> {
        if message.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        let mut bytes = mime::summarise(message).encode();
        let summary_len = u32::try_from(bytes.len()).ok()?;
        bytes.extend_from_slice(message);
        Some(Self { bytes: bytes.into(), summary_len })
    }

    /// The record as it is stored.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How much of the record is the summary.
    pub fn summary_len(&self) -> u32 {
        self.summary_len
    }

    /// The length of the message itself.
    pub fn size(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).saturating_sub(self.summary_len)
    }

    /// The message itself.
    pub fn message(&self) -> &[u8] {
        self.bytes.get(self.summary_len as usize..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_small() {
        assert!(size_of::<Message>() <= 128, "{}", size_of::<Message>());
    }

    #[test]
    fn a_body_record_is_the_summary_and_the_message() {
        let raw = b"Subject: hi\r\n\r\nbody\r\n";
        let record = BodyRecord::new(raw).unwrap();
        assert_eq!(record.message(), raw);
        assert_eq!(record.size() as usize, raw.len());
        let summary = mime::Summary::decode(&record.bytes()[..record.summary_len() as usize]).unwrap();
        assert_eq!(summary, mime::summarise(raw));
    }
}
