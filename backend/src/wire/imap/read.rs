//! Whole commands out of a byte stream, however the stream is cut.
//!
//! A command is one line, or several joined by literals (RFC 3501 §4.3, RFC 7888). The reader
//! knows just enough grammar to find its end: CRLF, and `{n}` or `{n+}` before a CRLF. Everything
//! a client can make us hold is bounded here, before any parser runs:
//!
//! - a bare LF ends a line but spoils its command, so that no two readers of one stream can
//!   disagree about where a command ends;
//! - a synchronising literal over a limit is refused *instead of* the continuation request, and
//!   costs the client nothing;
//! - a non-synchronising one is on its way already: it is read and thrown away, up to
//!   [`DISCARD_BYTES_MAX`], and its command is refused at its end (RFC 7888 §4).

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// All lines of one command together, literals not counted. Room for a sequence set of 10,000
/// scattered numbers, which real clients send.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// One literal that is not a message: a mailbox name, a search string.
pub const LITERAL_BYTES_MAX: u64 = 64 * 1024;
/// All such literals of one command.
pub const LITERALS_BYTES_MAX: u64 = 256 * 1024;
/// The number of literals in one command, empty ones too (Cyrus CVE-2024-34055).
pub const LITERALS_MAX: usize = 256;
/// What is read and thrown away of a refused command before the connection is given up.
pub const DISCARD_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// One command as it came: its lines with the literal markers left in, and the literals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Raw {
    /// The lines, each literal's `{n}CRLF` included, the last CRLF not.
    pub text: Vec<u8>,
    /// The literals in order of their markers.
    pub literals: Vec<Bytes>,
}

/// What the reader found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole command.
    Command(Raw),
    /// A synchronising literal may come: send the continuation request.
    Continue,
    /// A command that broke a limit; the next one follows.
    Refused {
        /// Its tag, where one could be made out.
        tag: Option<String>,
        /// What it broke.
        why: Refusal,
    },
    /// The stream cannot be followed any further.
    Fatal(Refusal),
}

/// The limit or rule a command broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More than [`LINE_BYTES_MAX`].
    #[error("command line too long")]
    LineTooLong,
    /// A line ended by LF alone.
    #[error("lines must end with CR LF")]
    BareLineFeed,
    /// More than [`LITERAL_BYTES_MAX`] or [`LITERALS_BYTES_MAX`].
    #[error("literal too large")]
    LiteralTooLarge,
    /// More than [`LITERALS_MAX`].
    #[error("too many literals")]
    TooManyLiterals,
    /// An APPEND of more than a message may have.
    #[error("message too large")]
    MessageTooLarge,
}

/// Cuts a byte stream into commands.
#[derive(Debug)]
pub struct Reader {
    message_bytes_max: u64,
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no LF.
    scanned: usize,
    state: State,
    command: Raw,
    /// Literal bytes of `command` that are no message, and those that are.
    literal_bytes: u64,
    message_bytes: u64,
    /// Set once the command is to be refused at its end.
    refusal: Option<Refusal>,
    /// What was read since the command was last in order.
    discarded: u64,
}

#[derive(Debug)]
enum State {
    Line,
    Literal { left: u64, data: BytesMut },
    Discard { left: u64 },
    Lost(Refusal),
}

/// A literal's announcement at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marker {
    bytes: u64,
    synchronising: bool,
}

impl Reader {
    /// A reader that has seen nothing but `unread`.
    pub fn new(message_bytes_max: u64, unread: Vec<u8>) -> Reader {
        Reader {
            message_bytes_max,
            buffer: BytesMut::from(unread.as_slice()),
            scanned: 0,
            state: State::Line,
            command: Raw::default(),
            literal_bytes: 0,
            message_bytes: 0,
            refusal: None,
            discarded: 0,
        }
    }

    /// Takes bytes as they came.
    pub fn feed(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Lost(_) => {}
            State::Line | State::Literal { .. } | State::Discard { .. } => {
                self.buffer.extend_from_slice(bytes);
            }
        }
    }

    /// How many bytes wait to be looked at.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Gives the memory of an empty buffer back: most connections are idle most of the time.
    pub fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// The next command or what stands in its place; `None` until more bytes come.
    pub fn command(&mut self) -> Option<Event> {
        loop {
            let event = match &mut self.state {
                State::Line => {
                    let line = match self.next_line()? {
                        Ok(line) => line,
                        Err(why) => return Some(self.lose(why)),
                    };
                    self.on_line(line)
                }
                State::Literal { .. } => self.fill_literal()?,
                State::Discard { left } => {
                    let taken = (*left).min(self.buffer.len() as u64);
                    *left -= taken;
                    let done = *left == 0;
                    self.buffer.advance(taken as usize);
                    if !done {
                        return None;
                    }
                    self.state = State::Line;
                    None
                }
                State::Lost(why) => return Some(Event::Fatal(*why)),
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// The next line as it is, for IDLE's `DONE` (RFC 2177): no literals, no grammar.
    ///
    /// The line ending is removed, whichever it was.
    pub fn line(&mut self) -> Option<Result<Bytes, Refusal>> {
        let line = match self.next_line()? {
            Ok(line) => line,
            Err(why) => {
                self.lose(why);
                return Some(Err(why));
            }
        };
        Some(Ok(line.content))
    }

    fn next_line(&mut self) -> Option<Result<Line, Refusal>> {
        let found = memchr(b'\n', self.buffer.get(self.scanned..).unwrap_or_default());
        let length = found.map_or(self.buffer.len(), |at| self.scanned + at + 1);
        if self.command.text.len() + length > LINE_BYTES_MAX {
            return Some(Err(Refusal::LineTooLong));
        }
        if found.is_none() {
            self.scanned = length;
            return None;
        }
        self.scanned = 0;
        let mut content = self.buffer.split_to(length).freeze();
        content.truncate(length - 1);
        let has_cr = content.last() == Some(&b'\r');
        if has_cr {
            content.truncate(length - 2);
        }
        Some(Ok(Line { content, has_cr }))
    }

    fn on_line(&mut self, line: Line) -> Option<Event> {
        if !line.has_cr {
            self.refusal.get_or_insert(Refusal::BareLineFeed);
        }
        let marker = literal_marker(&line.content);
        // The first line is kept in any case: it has the tag.
        if self.refusal.is_none() || self.command.text.is_empty() {
            self.command.text.extend_from_slice(&line.content);
        }
        self.discarded += line.content.len() as u64 + 2;
        match marker {
            Some(marker) => self.on_marker(marker),
            None => Some(self.finish()),
        }
    }

    fn on_marker(&mut self, marker: Marker) -> Option<Event> {
        if self.refusal.is_none() {
            self.refusal = self.check_literal(marker).err();
        }
        match (self.refusal, marker.synchronising) {
            // RFC 3501 §4.3: without a continuation request the literal never comes.
            (Some(_), true) => Some(self.finish()),
            (Some(why), false) => {
                self.discarded = self.discarded.saturating_add(marker.bytes);
                if self.discarded > DISCARD_BYTES_MAX {
                    return Some(self.lose(why));
                }
                self.state = State::Discard { left: marker.bytes };
                None
            }
            (None, synchronising) => {
                self.discarded = 0;
                self.command.text.extend_from_slice(b"\r\n");
                self.state = State::Literal { left: marker.bytes, data: BytesMut::new() };
                synchronising.then_some(Event::Continue)
            }
        }
    }

    /// Holds a literal against the limits and counts it.
    fn check_literal(&mut self, marker: Marker) -> Result<(), Refusal> {
        if self.command.literals.len() >= LITERALS_MAX {
            return Err(Refusal::TooManyLiterals);
        }
        if is_message_literal(&self.command.text) {
            let total = self.message_bytes.saturating_add(marker.bytes);
            if total > self.message_bytes_max {
                return Err(Refusal::MessageTooLarge);
            }
            self.message_bytes = total;
            return Ok(());
        }
        let total = self.literal_bytes.saturating_add(marker.bytes);
        if marker.bytes > LITERAL_BYTES_MAX || total > LITERALS_BYTES_MAX {
            return Err(Refusal::LiteralTooLarge);
        }
        self.literal_bytes = total;
        Ok(())
    }

    /// Moves bytes into the literal; the outer `None` means that more are needed.
    #[expect(clippy::option_option, reason = "waiting and going on without an event differ")]
    fn fill_literal(&mut self) -> Option<Option<Event>> {
        let State::Literal { left, data } = &mut self.state else {
            return Some(None);
        };
        let taken = (*left).min(self.buffer.len() as u64) as usize;
        *left -= taken as u64;
        let bytes = self.buffer.split_to(taken);
        if data.is_empty() {
            *data = bytes;
        } else {
            data.extend_from_slice(&bytes);
        }
        if *left > 0 {
            return None;
        }
        let literal = std::mem::take(data).freeze();
        self.command.literals.push(literal);
        self.state = State::Line;
        Some(None)
    }

    /// Ends the command and is ready for the next.
    fn finish(&mut self) -> Event {
        let raw = std::mem::take(&mut self.command);
        self.state = State::Line;
        self.literal_bytes = 0;
        self.message_bytes = 0;
        self.discarded = 0;
        match self.refusal.take() {
            Some(why) => Event::Refused { tag: tag_of(&raw.text), why },
            None => Event::Command(raw),
        }
    }

    fn lose(&mut self, why: Refusal) -> Event {
        self.state = State::Lost(why);
        self.buffer = BytesMut::new();
        self.command = Raw::default();
        Event::Fatal(why)
    }
}

#[derive(Debug)]
struct Line {
    content: Bytes,
    has_cr: bool,
}

/// The literal a line announces at its end, if it does.
///
/// A number too large for us is still a literal, of the largest size: it must be refused, not
/// mistaken for text.
fn literal_marker(line: &[u8]) -> Option<Marker> {
    let inner = line.strip_suffix(b"}")?;
    let at = memchr::memrchr(b'{', inner)?;
    let digits = inner.get(at + 1..)?;
    let (digits, synchronising) = match digits.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (digits, true),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let bytes = digits.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Marker { bytes, synchronising })
}

/// Whether the literal announced at the end of `text` is a message: any literal of an APPEND but
/// one that stands for the mailbox name, its first argument.
fn is_message_literal(text: &[u8]) -> bool {
    const VERB: &[u8] = b"APPEND ";
    let Some(space) = memchr(b' ', text) else {
        return false;
    };
    let command = text.get(space + 1..).unwrap_or_default();
    let Some((verb, arguments)) = command.split_at_checked(VERB.len()) else {
        return false;
    };
    let names_mailbox = arguments.starts_with(b"{") && !arguments.contains(&b'\n');
    verb.eq_ignore_ascii_case(VERB) && !names_mailbox
}

/// The tag at the start of a command, if it is one (RFC 3501 §9, `tag`).
pub(super) fn tag_of(text: &[u8]) -> Option<String> {
    let end = text.iter().position(|byte| !is_tag_byte(*byte));
    let tag = text.get(..end.unwrap_or(text.len()))?;
    let follows = end.and_then(|end| text.get(end));
    if tag.is_empty() || follows.is_some_and(|byte| *byte != b' ') {
        return None;
    }
    String::from_utf8(tag.to_vec()).ok()
}

/// `tag = 1*<any ASTRING-CHAR except "+">`.
fn is_tag_byte(byte: u8) -> bool {
    byte != b'+' && super::cursor::is_astring_byte(byte)
}

#[cfg(test)]
#[path = "read_test.rs"]
mod tests;
