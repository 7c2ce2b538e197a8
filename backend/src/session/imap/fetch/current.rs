//! The message that is being told: item after item, large sections piece by piece.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::{Awaited, PIECE_BYTES, PIECES_MAX};
use crate::mailbox::mime::{SectionKind, Span, Summary, header_fields};
use crate::mailbox::{InternalDate, Message, SeqNo};
use crate::session::imap::outbox::Outbox;
use crate::session::imap::view::View;
use crate::session::{BodyFault, BodyResult, Output};
use crate::wire::imap::command::{FetchItem, Section, SectionText};
use crate::wire::imap::response::envelope::envelope;
use crate::wire::imap::response::message::{date, flags, section_label};
use crate::wire::imap::response::structure::{Detail, structure};
use crate::wire::imap::response::text::{literal_marker, nil, print};

/// The longest header from which fields are selected; what is beyond is left out.
const HEADER_BYTES_MAX: u32 = 1024 * 1024;

/// What became of an attempt to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is over.
    Done,
    /// There is more to do, perhaps after the driver has taken some.
    Again,
    /// Bodies must come first.
    Wait,
}

/// The message that is being told.
#[derive(Debug)]
pub struct Current {
    message: Message,
    /// Bytes of the body record that are at hand, and where they begin.
    window: Window,
    summary: Option<Summary>,
    /// How many items are written.
    written: usize,
    doing: Doing,
    trouble: Option<BodyFault>,
}

#[derive(Debug)]
struct Window {
    start: u64,
    bytes: Bytes,
}

/// What is under way within an item.
#[derive(Debug)]
enum Doing {
    /// Nothing: the next item can begin.
    Items,
    /// A literal whose bytes come in pieces.
    Streaming {
        /// What is not asked for yet, in the body record.
        unasked: Range<u64>,
        /// How many bytes the client still expects.
        left: u64,
    },
    /// Waiting for the header of an item that selects fields.
    Header,
}

impl Current {
    /// Begins the answer for a message, with bytes of its body record that begin at `window_start`.
    pub fn begin(seq: SeqNo, message: Message, window_start: u64, bytes: Bytes, out: &mut Outbox) -> Current {
        print(out.text(), format_args!("* {seq} FETCH ("));
        Current {
            message,
            window: Window { start: window_start, bytes },
            summary: None,
            written: 0,
            doing: Doing::Items,
            trouble: None,
        }
    }

    /// Whether bytes announced to the client are still missing.
    pub fn is_within_literal(&self) -> bool {
        matches!(self.doing, Doing::Streaming { .. })
    }

    /// Something of this message that could not be told.
    pub fn trouble(&self) -> Option<BodyFault> {
        self.trouble
    }

    /// Writes as much as can be written now.
    pub fn write(
        &mut self,
        view: &View,
        items: &[FetchItem],
        awaited: &mut VecDeque<Awaited>,
        out: &mut Outbox,
    ) -> Step {
        match &mut self.doing {
            Doing::Header => return Step::Wait,
            Doing::Streaming { unasked, left } => {
                if *left > 0 {
                    ask_pieces(&self.message, unasked, awaited, out);
                    return Step::Wait;
                }
                self.end_item();
            }
            Doing::Items => {}
        }
        let Some(item) = items.get(self.written) else {
            out.text().extend_from_slice(b")\r\n");
            return Step::Done;
        };
        if self.written > 0 {
            out.text().push(b' ');
        }
        self.write_item(view, item, awaited, out);
        Step::Again
    }

    fn end_item(&mut self) {
        self.written += 1;
        self.doing = Doing::Items;
    }

    fn write_item(&mut self, view: &View, item: &FetchItem, awaited: &mut VecDeque<Awaited>, out: &mut Outbox) {
        let message = &self.message;
        match item {
            FetchItem::Flags => flags(out.text(), &message.flags, view.recency(message)),
            FetchItem::Uid => print(out.text(), format_args!("UID {}", message.uid)),
            FetchItem::InternalDate => date(out.text(), "INTERNALDATE", message.internal_date),
            FetchItem::SaveDate => date(out.text(), "SAVEDATE", InternalDate::utc(message.saved)),
            FetchItem::Size => print(out.text(), format_args!("RFC822.SIZE {}", message.size)),
            FetchItem::ModSeq => print(out.text(), format_args!("MODSEQ ({})", message.modseq)),
            FetchItem::EmailId => print(out.text(), format_args!("EMAILID ({})", message.email_id)),
            // RFC 8474 §5.2: NIL where the server has no threads.
            FetchItem::ThreadId => out.text().extend_from_slice(b"THREADID NIL"),
            FetchItem::Envelope => self.write_summarised(out, b"ENVELOPE ", |out, summary| {
                envelope(out, &summary.envelope);
            }),
            FetchItem::Body => self.write_summarised(out, b"BODY ", |out, summary| {
                structure(out, &summary.structure, Detail::Basic);
            }),
            FetchItem::BodyStructure => self.write_summarised(out, b"BODYSTRUCTURE ", |out, summary| {
                structure(out, &summary.structure, Detail::Extended);
            }),
            FetchItem::Section(section) => return self.write_section(section, awaited, out),
        }
        self.end_item();
    }

    fn write_summarised(&mut self, out: &mut Outbox, name: &[u8], write: impl FnOnce(&mut Vec<u8>, &Summary)) {
        out.text().extend_from_slice(name);
        match self.summary() {
            Some(summary) => write(out.text(), summary),
            None => nil(out.text()),
        }
    }

    /// The summary at the beginning of the body record, decoded once.
    fn summary(&mut self) -> Option<&Summary> {
        if self.summary.is_none() {
            let encoded = self.window.slice(0..u64::from(self.message.summary_len));
            self.summary = encoded.and_then(|encoded| Summary::decode(&encoded).ok());
            if self.summary.is_none() {
                self.trouble = Some(BodyFault::Unavailable);
            }
        }
        self.summary.as_ref()
    }

    fn write_section(&mut self, section: &Section, awaited: &mut VecDeque<Awaited>, out: &mut Outbox) {
        section_label(out.text(), section);
        out.text().push(b' ');
        let Some(span) = self.span(section) else {
            // A section the message does not have is NIL (RFC 3501 §9, `nstring`).
            nil(out.text());
            return self.end_item();
        };
        match selects_fields(section) {
            true => self.write_fields(section, span, awaited, out),
            false => self.write_bytes(section, span, out),
        }
    }

    /// Where the section lies in the message.
    fn span(&mut self, section: &Section) -> Option<Span> {
        let kind = match section.text {
            SectionText::Whole => SectionKind::Whole,
            SectionText::Header | SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_) => SectionKind::Header,
            SectionText::Text => SectionKind::Text,
            SectionText::Mime => SectionKind::Mime,
        };
        if section.part.is_empty() && kind == SectionKind::Whole {
            return Some(Span { start: 0, end: self.message.size });
        }
        self.summary()?.section(&section.part, kind)
    }

    fn write_bytes(&mut self, section: &Section, span: Span, out: &mut Outbox) {
        let span = partial(section, span);
        let range = self.in_record(span);
        literal_marker(out.text(), range.end - range.start);
        if let Some(bytes) = self.window.slice(range.clone()) {
            out.push_bytes(&bytes);
            return self.end_item();
        }
        // What is at hand goes first.
        let at_hand = self.window.slice(range.start..range.end.min(self.window.end())).unwrap_or_default();
        out.push_bytes(&at_hand);
        let unasked = range.start + at_hand.len() as u64..range.end;
        self.doing = Doing::Streaming { left: unasked.end - unasked.start, unasked };
    }

    fn write_fields(&mut self, section: &Section, span: Span, awaited: &mut VecDeque<Awaited>, out: &mut Outbox) {
        let range =
            self.in_record(Span { start: span.start, end: span.end.min(span.start.saturating_add(HEADER_BYTES_MAX)) });
        if let Some(header) = self.window.slice(range.clone()) {
            write_selected(section, &header, out);
            return self.end_item();
        }
        awaited.push_back(Awaited::Header(range.end - range.start));
        out.ask(Output::Read { body: self.message.body, range });
        self.doing = Doing::Header;
    }

    /// A piece of the literal under way.
    pub fn on_piece(&mut self, bytes: &Bytes, out: &mut Outbox) {
        if let Doing::Streaming { left, .. } = &mut self.doing {
            *left = left.saturating_sub(bytes.len() as u64);
            out.push_bytes(bytes);
        }
    }

    /// The header that fields are selected from.
    pub fn on_header(&mut self, header: BodyResult, items: &[FetchItem], out: &mut Outbox) {
        match (header, items.get(self.written)) {
            (Ok(header), Some(FetchItem::Section(section))) => write_selected(section, &header, out),
            (Err(fault), _) => {
                self.trouble = Some(fault);
                nil(out.text());
            }
            (Ok(_), _) => nil(out.text()),
        }
        self.end_item();
    }

    fn in_record(&self, span: Span) -> Range<u64> {
        let start = u64::from(self.message.summary_len);
        start + u64::from(span.start)..start + u64::from(span.end)
    }
}

impl Window {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// The bytes of a range of the record, if all of them are here.
    fn slice(&self, range: Range<u64>) -> Option<Bytes> {
        if range.is_empty() {
            return Some(Bytes::new());
        }
        let is_here = self.start <= range.start && range.end <= self.end();
        is_here.then(|| self.bytes.slice((range.start - self.start) as usize..(range.end - self.start) as usize))
    }
}

/// Asks for the next pieces of a literal, a few at a time.
fn ask_pieces(message: &Message, unasked: &mut Range<u64>, awaited: &mut VecDeque<Awaited>, out: &mut Outbox) {
    let under_way = awaited.iter().filter(|awaited| matches!(awaited, Awaited::Piece(_))).count();
    for _ in under_way..PIECES_MAX {
        let end = unasked.end.min(unasked.start + PIECE_BYTES);
        if unasked.start == end {
            return;
        }
        awaited.push_back(Awaited::Piece(end - unasked.start));
        out.ask(Output::Read { body: message.body, range: unasked.start..end });
        unasked.start = end;
    }
}

fn selects_fields(section: &Section) -> bool {
    matches!(section.text, SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_))
}

/// Writes the fields that the section selects from a header.
fn write_selected(section: &Section, header: &[u8], out: &mut Outbox) {
    let (names, without) = match &section.text {
        SectionText::HeaderFields(names) => (names.as_slice(), false),
        SectionText::HeaderFieldsNot(names) => (names.as_slice(), true),
        SectionText::Whole | SectionText::Header | SectionText::Text | SectionText::Mime => (&[] as &[Bytes], true),
    };
    let names: Vec<&str> = names.iter().filter_map(|name| std::str::from_utf8(name).ok()).collect();
    let selected = header_fields(header, &names, without);
    let whole = Span { start: 0, end: u32::try_from(selected.len()).unwrap_or(u32::MAX) };
    let bytes = selected.get(partial(section, whole).range()).unwrap_or_default();
    literal_marker(out.text(), bytes.len() as u64);
    out.text().extend_from_slice(bytes);
}

/// The part of a span that a partial fetch asks for (RFC 3501 §6.4.5): empty beyond its end.
fn partial(section: &Section, span: Span) -> Span {
    let Some(partial) = section.partial else {
        return span;
    };
    let start = span.end.min(span.start.saturating_add(partial.offset));
    Span { start, end: span.end.min(start.saturating_add(partial.length)) }
}
