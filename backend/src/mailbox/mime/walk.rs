//! The pass over a message's bytes.
//!
//! A stack holds the multiparts and messages being walked; the loop goes from delimiter to delimiter. Bytes are looked at
//! a fixed number of times: once for line feeds, once for delimiters, once for the fields of headers.

use memchr::memmem;

use super::delimiters::{BOUNDARY_BYTES_MAX, Delimiter, Delimiters};
use super::entity::Header;
use super::field::{is_empty_line, line_length};
use super::summary::{Content, Envelope, Part, Span, Summary};

/// How deep parts are followed. What is deeper is one opaque part.
pub const DEPTH_MAX: usize = 64;
/// How many parts are told apart. The last one reaches to the message's end.
pub const PARTS_MAX: usize = 5_000;
/// How many addresses are kept of a message, with those of the messages inside.
const ADDRESSES_MAX: usize = 2_000;

/// Summarises a message.
pub fn summarise(message: &[u8]) -> Summary {
    let mut walk = Walk {
        message,
        stack: Vec::new(),
        delimiters: Delimiters::default(),
        dashes: memmem::Finder::new(b"\n--"),
        lines: LineCounter { message, offset: 0, lines: 0 },
        parts: 0,
        addresses_left: ADDRESSES_MAX,
    };
    let (header, rest) = walk.header(0);
    let envelope = header.envelope(&mut walk.addresses_left);
    let root = walk.begin(&header, Span { start: 0, end: offset(rest) });
    let structure = walk.run(root);
    Summary { envelope, structure }
}

struct Walk<'a> {
    message: &'a [u8],
    /// What contains the part being walked, the outermost first.
    stack: Vec<Frame>,
    delimiters: Delimiters,
    /// Finds lines that begin with two dashes.
    dashes: memmem::Finder<'static>,
    lines: LineCounter<'a>,
    parts: usize,
    addresses_left: usize,
}

/// A part with parts in it, not yet at its end.
struct Frame {
    part: Part,
    /// The line at which its body begins.
    first_line: u32,
    kind: Kind,
}

enum Kind {
    Multipart { boundary: Vec<u8>, is_digest: bool, children: Vec<Part> },
    Message { envelope: Box<Envelope>, inner: Option<Box<Part>> },
}

/// What the walk is at.
enum Step {
    /// A part that holds no others, to be ended.
    Leaf { part: Box<Part>, first_line: u32 },
    /// The header of a part follows.
    Header(usize),
    /// The text before the first part, or after the last, follows. What ends in it ends at `floor` or later.
    Between { from: usize, floor: usize },
}

/// A delimiter and its place.
struct Found {
    delimiter: Delimiter,
    /// The beginning of its line, and of the next.
    start: usize,
    next: usize,
}

impl<'a> Walk<'a> {
    /// Walks from the first step to the message's end.
    fn run(&mut self, first: Step) -> Part {
        let mut step = first;
        loop {
            let (leaf, from, floor) = match step {
                Step::Header(at) => {
                    step = self.part_at(at);
                    continue;
                }
                Step::Leaf { part, first_line } => {
                    let from = part.body.start as usize;
                    (Some((part, first_line)), from, from)
                }
                Step::Between { from, floor } => (None, from, floor),
            };
            let Some(found) = self.next_delimiter(from) else {
                return self.finish(leaf);
            };
            self.end_down_to(found.delimiter.level, leaf, self.end_before(floor, found.start));
            step = self.after(&found);
        }
    }

    /// Reads the header at an offset: it, and where it ends.
    fn header(&self, start: usize) -> (Header<'a>, usize) {
        let mut end = start;
        loop {
            let rest = &self.message[end..];
            if is_empty_line(rest) {
                let header = &self.message[start..end];
                return (Header::parse(header), end + line_length(rest));
            }
            // A delimiter ends even a header (RFC 2046 §5.1.1 lets a part have no body).
            let line = &rest[..line_length(rest)];
            if line.is_empty() || self.delimiters.find(line).is_some() {
                return (Header::parse(&self.message[start..end]), end);
            }
            end += line.len();
        }
    }

    /// Begins the part whose header is at an offset.
    fn part_at(&mut self, start: usize) -> Step {
        let (header, end) = self.header(start);
        if let Some(Frame { kind: Kind::Message { envelope, .. }, .. }) = self.stack.last_mut() {
            **envelope = header.envelope(&mut self.addresses_left);
        }
        self.begin(&header, Span { start: offset(start), end: offset(end) })
    }

    /// Begins a part whose header has been read.
    fn begin(&mut self, header: &Header<'_>, span: Span) -> Step {
        self.parts += 1;
        let is_digest = matches!(self.stack.last(), Some(Frame { kind: Kind::Multipart { is_digest: true, .. }, .. }));
        let part = header.part(span, is_digest);
        let body = span.end as usize;
        let first_line = self.lines.at(body);
        let kind = match container_kind(&part) {
            Some(_) if self.stack.len() >= DEPTH_MAX || self.parts >= PARTS_MAX => {
                return Step::Leaf { part: Box::new(opaque(part)), first_line };
            }
            Some(kind) => kind,
            None => return Step::Leaf { part: Box::new(plain_if_broken(part)), first_line },
        };
        let next = match &kind {
            Kind::Multipart { boundary, .. } => {
                self.delimiters.open(boundary, self.stack.len());
                Step::Between { from: body, floor: body }
            }
            Kind::Message { .. } => Step::Header(body),
        };
        self.stack.push(Frame { part, first_line, kind });
        next
    }

    /// Finds the next delimiter whose line begins at an offset or later. Once there are too many parts, there is none.
    fn next_delimiter(&self, from: usize) -> Option<Found> {
        if self.parts >= PARTS_MAX {
            return None;
        }
        let mut start = from;
        loop {
            let rest = &self.message[start..];
            let next = start + line_length(rest);
            if let Some(delimiter) = self.delimiters.find(&self.message[start..next]) {
                return Some(Found { delimiter, start, next });
            }
            // To the next line that begins with two dashes.
            start += self.dashes.find(rest)? + 1;
        }
    }

    /// Where a body ends before a delimiter: the line end in front of the delimiter belongs to it (RFC 2046 §5.1.1).
    fn end_before(&self, floor: usize, delimiter: usize) -> usize {
        floor + without_line_end(&self.message[floor..delimiter]).len()
    }

    /// Goes on after a delimiter, whose multipart is now the innermost frame.
    fn after(&mut self, found: &Found) -> Step {
        if !found.delimiter.is_close {
            return Step::Header(found.next);
        }
        if let Some(Frame { kind: Kind::Multipart { boundary, .. }, .. }) = self.stack.last() {
            self.delimiters.close(boundary, found.delimiter.level);
        }
        let line = &self.message[found.start..found.next];
        Step::Between { from: found.next, floor: found.start + without_line_end(line).len() }
    }

    /// Ends everything at the message's end.
    fn finish(&mut self, leaf: Option<(Box<Part>, u32)>) -> Part {
        let end = self.message.len();
        let mut ended = leaf.map(|(part, first_line)| self.end_part(*part, first_line, end));
        while let Some(frame) = self.stack.pop() {
            ended = Some(self.end_frame(frame, ended, end));
        }
        // There is always a part: the walk began with one.
        ended.unwrap_or_else(|| Header::default().part(Span::default(), false))
    }

    /// Ends the leaf and all frames above a level.
    fn end_down_to(&mut self, level: usize, leaf: Option<(Box<Part>, u32)>, end: usize) {
        let mut ended = leaf.map(|(part, first_line)| self.end_part(*part, first_line, end));
        while self.stack.len() > level + 1 {
            let Some(frame) = self.stack.pop() else { break };
            ended = Some(self.end_frame(frame, ended, end));
        }
        if let (Some(part), Some(frame)) = (ended, self.stack.last_mut()) {
            frame.take(part);
        }
    }

    fn end_frame(&mut self, mut frame: Frame, inner: Option<Part>, end: usize) -> Part {
        if let Kind::Multipart { boundary, .. } = &frame.kind {
            self.delimiters.close(boundary, self.stack.len());
        }
        if let Some(part) = inner {
            frame.take(part);
        }
        let part = self.end_part(frame.part, frame.first_line, end);
        match frame.kind {
            Kind::Multipart { children, .. } if children.is_empty() => plain_if_broken(part),
            Kind::Multipart { children, .. } => Part { content: Content::Multipart(children), ..part },
            Kind::Message { envelope, inner: Some(inner) } => {
                Part { content: Content::Message(Box::new((*envelope, *inner))), ..part }
            }
            Kind::Message { inner: None, .. } => opaque(part),
        }
    }

    fn end_part(&mut self, mut part: Part, first_line: u32, end: usize) -> Part {
        part.body.end = offset(end).max(part.body.start);
        let is_unfinished = !part.body.is_empty() && !self.message[part.body.range()].ends_with(b"\n");
        part.lines = self.lines.at(part.body.end as usize).saturating_sub(first_line) + u32::from(is_unfinished);
        part
    }
}

impl Frame {
    fn take(&mut self, part: Part) {
        match &mut self.kind {
            Kind::Multipart { children, .. } => children.push(part),
            Kind::Message { inner, .. } => *inner = Some(Box::new(part)),
        }
    }
}

/// Whether a part holds others, and which kind.
fn container_kind(part: &Part) -> Option<Kind> {
    if part.media_type.is("message") && (part.subtype.is("rfc822") || part.subtype.is("global")) {
        return is_unencoded(part).then(|| Kind::Message { envelope: Box::default(), inner: None });
    }
    if !part.media_type.is("multipart") {
        return None;
    }
    let boundary = part.parameters.iter().find(|parameter| parameter.name.is("boundary"))?;
    let boundary = boundary.value.as_bytes().trim_ascii_end();
    let is_valid = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len());
    let is_digest = part.subtype.is("digest");
    is_valid.then(|| Kind::Multipart { boundary: boundary.to_vec(), is_digest, children: Vec::new() })
}

/// An encoded message cannot be looked into without decoding (RFC 2046 §5.2.1 forbids it, RFC 6532 §3.7 does not).
fn is_unencoded(part: &Part) -> bool {
    !part.encoding.is("base64") && !part.encoding.is("quoted-printable")
}

/// A part that is not looked into, and not told to be what would have to be.
fn opaque(part: Part) -> Part {
    Part { media_type: "application".into(), subtype: "octet-stream".into(), parameters: Vec::new(), ..part }
}

/// A multipart without parts is shown as text, which is what there is to see; an encoded message as data.
fn plain_if_broken(part: Part) -> Part {
    if part.media_type.is("multipart") {
        return Part { media_type: "text".into(), subtype: "plain".into(), parameters: Vec::new(), ..part };
    }
    let is_message = part.media_type.is("message") && (part.subtype.is("rfc822") || part.subtype.is("global"));
    if is_message { opaque(part) } else { part }
}

fn without_line_end(text: &[u8]) -> &[u8] {
    let Some(text) = text.strip_suffix(b"\n") else { return text };
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// Messages are no longer than an offset can say: [`MESSAGE_BYTES_MAX`](crate::mailbox::message::MESSAGE_BYTES_MAX).
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Counts line feeds up to offsets that only rise, each byte once.
struct LineCounter<'a> {
    message: &'a [u8],
    offset: usize,
    lines: u32,
}

impl LineCounter<'_> {
    fn at(&mut self, offset: usize) -> u32 {
        let between = self.message.get(self.offset..offset).unwrap_or_default();
        let lines = memchr::memchr_iter(b'\n', between).count();
        self.lines = self.lines.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.offset = self.offset.max(offset);
        self.lines
    }
}
