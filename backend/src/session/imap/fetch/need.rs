//! Which bytes of a message its FETCH items need before the first of them can be written.

use std::ops::Range;

use crate::mailbox::Message;
use crate::wire::imap::command::{FetchItem, Section, SectionText};

/// What is read of each message in advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the index tells all.
    Nothing,
    /// The summary: structure and envelope.
    Summary,
    /// The summary, and the message as far as it comes with it.
    Message,
    /// No summary, only the message from this byte on.
    Bytes {
        /// Counted from the beginning of the message.
        from: u32,
    },
}

/// As much of a message as is read at once. Most messages are smaller.
const FIRST_BYTES_MAX: u64 = 64 * 1024;

impl Need {
    /// What these items need together.
    pub fn of(items: &[FetchItem]) -> Need {
        items.iter().map(Need::of_item).fold(Need::Nothing, Need::join)
    }

    fn of_item(item: &FetchItem) -> Need {
        match item {
            FetchItem::Envelope | FetchItem::Body | FetchItem::BodyStructure => Need::Summary,
            FetchItem::Section(section) if is_whole_message(section) => {
                Need::Bytes { from: section.partial.map_or(0, |partial| partial.offset) }
            }
            FetchItem::Section(_) => Need::Message,
            FetchItem::Flags
            | FetchItem::Uid
            | FetchItem::InternalDate
            | FetchItem::Size
            | FetchItem::ModSeq
            | FetchItem::SaveDate
            | FetchItem::EmailId
            | FetchItem::ThreadId => Need::Nothing,
        }
    }

    fn join(self, other: Need) -> Need {
        match (self, other) {
            (Need::Nothing, need) | (need, Need::Nothing) => need,
            (Need::Summary, Need::Summary) => Need::Summary,
            (Need::Bytes { from: one }, Need::Bytes { from: other }) => Need::Bytes { from: one.min(other) },
            (Need::Summary | Need::Message | Need::Bytes { .. }, _) => Need::Message,
        }
    }

    /// Which bytes of the message's body record that means.
    pub fn first_bytes(self, message: &Message) -> Range<u64> {
        let summary_end = u64::from(message.summary_len);
        let record_end = summary_end + u64::from(message.size);
        match self {
            Need::Nothing => 0..0,
            Need::Summary => 0..summary_end,
            Need::Message => 0..record_end.min(summary_end + FIRST_BYTES_MAX),
            Need::Bytes { from } => {
                let start = record_end.min(summary_end + u64::from(from));
                start..record_end.min(start + FIRST_BYTES_MAX)
            }
        }
    }
}

/// Whether the section is the message as it is, which needs no structure.
fn is_whole_message(section: &Section) -> bool {
    section.part.is_empty() && section.text == SectionText::Whole
}
