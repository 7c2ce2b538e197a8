//! Message content after DATA, read and written (RFC 5321 §4.1.1.4, §4.5.2).
//!
//! **Invariant: only CRLF "." CRLF ends the content.** A bare CR or LF, or a NUL, poisons it: the reader goes on to the
//! real end, so that what follows is never taken for commands, and then refuses the message. A server that takes
//! `LF.LF` or `CR.CR` for the end lets a sender smuggle a second message past the one before it (CVE-2023-51764).

/// Longest line accepted; RFC 5321 §4.5.3.1.6 asks for 1000 at least.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Why content is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentFault {
    /// A CR that no LF follows (RFC 5321 §2.3.8).
    #[error("bare CR in message")]
    BareCr,
    /// A LF that no CR precedes (RFC 5321 §2.3.8).
    #[error("bare LF in message")]
    BareLf,
    /// A NUL (RFC 5321 §4.5.2 speaks of ASCII text; RFC 5322 §4 made NUL obsolete).
    #[error("NUL in message")]
    Nul,
    /// A line longer than a mebibyte.
    #[error("line too long in message")]
    LineTooLong,
    /// More bytes than the limit.
    #[error("message too large")]
    TooLarge,
}

/// What one call of [`ContentReader::read`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that belong to the content, or to its end.
    pub used: usize,
    /// Whether the end was reached.
    pub ended: bool,
}

/// Where in a line the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Behind CRLF, or at the very beginning.
    LineStart,
    /// Behind a dot at the start of a line.
    Dot,
    /// Behind a dot and CR at the start of a line.
    DotCr,
    /// Within a line.
    Text,
    /// Behind a CR within a line.
    Cr,
}

/// Reads content up to its real end and takes off the stuffed dots.
#[derive(Debug)]
pub struct ContentReader {
    state: State,
    bytes: u64,
    bytes_max: u64,
    line_bytes: usize,
    fault: Option<ContentFault>,
}

impl ContentReader {
    /// A reader for content of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self { state: State::LineStart, bytes: 0, bytes_max, line_bytes: 0, fault: None }
    }

    /// Reads from `input` and appends content to `out`; stops behind the end. Once a fault is found, nothing more is
    /// appended.
    pub fn read(&mut self, input: &[u8], out: &mut Vec<u8>) -> Progress {
        let mut used = 0;
        while let Some(&byte) = input.get(used) {
            if self.state == State::Text {
                let rest = input.get(used..).unwrap_or_default();
                let plain = memchr::memchr3(b'\r', b'\n', b'\0', rest).unwrap_or(rest.len());
                self.keep(rest.get(..plain).unwrap_or_default(), out);
                used += plain;
                if plain == rest.len() {
                    break;
                }
                self.step(input.get(used).copied().unwrap_or_default(), out);
                used += 1;
                continue;
            }
            used += 1;
            if self.state == State::DotCr && byte == b'\n' {
                return Progress { used, ended: true };
            }
            self.step(byte, out);
        }
        Progress { used, ended: false }
    }

    /// The size of the content, or why it is refused. Final once the end was reached.
    ///
    /// # Errors
    /// The first [`ContentFault`].
    pub fn verdict(&self) -> Result<u64, ContentFault> {
        self.fault.map_or(Ok(self.bytes), Err)
    }

    /// One byte, in any state but [`State::DotCr`] before LF.
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.state = match (self.state, byte) {
            (State::LineStart, b'.') => State::Dot,
            // RFC 5321 §4.5.2: a dot that other characters follow was added by the sender.
            (State::Dot, b'\r') => State::DotCr,
            (State::Cr, b'\n') => {
                self.keep(b"\r\n", out);
                self.line_bytes = 0;
                State::LineStart
            }
            (State::Cr | State::DotCr, _) => {
                self.blame(ContentFault::BareCr);
                self.within_line(byte, out)
            }
            (State::LineStart | State::Dot | State::Text, _) => self.within_line(byte, out),
        };
    }

    fn within_line(&mut self, byte: u8, out: &mut Vec<u8>) -> State {
        match byte {
            b'\r' => return State::Cr,
            b'\n' => self.blame(ContentFault::BareLf),
            b'\0' => self.blame(ContentFault::Nul),
            _ => self.keep(&[byte], out),
        }
        State::Text
    }

    fn keep(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.line_bytes += bytes.len();
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.line_bytes > LINE_BYTES_MAX {
            self.blame(ContentFault::LineTooLong);
        }
        if self.bytes > self.bytes_max {
            self.blame(ContentFault::TooLarge);
        }
        if self.fault.is_none() {
            out.extend_from_slice(bytes);
        }
    }

    fn blame(&mut self, fault: ContentFault) {
        self.fault.get_or_insert(fault);
    }
}

/// Writes content with dots stuffed and its end.
///
/// Stray CR and LF never leave: each becomes a space, as a receiver that is lax about line ends could take them for an end.
#[derive(Debug, Default)]
pub struct DotStuffer {
    within_line: bool,
    cr: bool,
}

impl DotStuffer {
    /// Appends `content` to `out`.
    pub fn write(&mut self, content: &[u8], out: &mut Vec<u8>) {
        out.reserve(content.len() + content.len() / 64);
        let mut rest = content;
        while !rest.is_empty() {
            if self.cr {
                rest = self.after_cr(rest, out);
                continue;
            }
            let plain = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            let (text, tail) = rest.split_at(plain);
            self.write_text(text, out);
            rest = tail;
            if let Some((&byte, tail)) = rest.split_first() {
                rest = tail;
                self.cr = byte == b'\r';
                if !self.cr {
                    self.write_text(b" ", out);
                }
            }
        }
    }

    /// Appends the end of the content, completing an unfinished line (RFC 5321 §4.1.1.4).
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if self.cr {
            self.cr = false;
            self.write_text(b" ", out);
        }
        if self.within_line {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }

    fn after_cr<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        self.cr = false;
        match rest.split_first() {
            Some((b'\n', tail)) => {
                out.extend_from_slice(b"\r\n");
                self.within_line = false;
                tail
            }
            Some(_) | None => {
                self.write_text(b" ", out);
                rest
            }
        }
    }

    fn write_text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if !self.within_line && text.first() == Some(&b'.') {
            out.push(b'.');
        }
        self.within_line = true;
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `input` in pieces of the given lengths; the content, the bytes used, the verdict.
    fn read(input: &[u8], cuts: &[usize], max: u64) -> (Vec<u8>, Option<usize>, Result<u64, ContentFault>) {
        let (mut reader, mut out, mut at) = (ContentReader::new(max), Vec::new(), 0);
        let mut cuts = cuts.iter().copied().cycle();
        while at < input.len() {
            let len = cuts.next().unwrap_or(usize::MAX).max(1).min(input.len() - at);
            let progress = reader.read(&input[at..at + len], &mut out);
            at += progress.used;
            if progress.ended {
                return (out, Some(at), reader.verdict());
            }
            assert_eq!(progress.used, len);
        }
        (out, None, reader.verdict())
    }

    #[test]
    fn only_crlf_dot_crlf_ends_the_content() {
        assert_eq!(read(b".\r\nQUIT", &[], 99), (vec![], Some(3), Ok(0)));
        assert_eq!(read(b"a\r\n.\r\nQUIT", &[], 99), (b"a\r\n".to_vec(), Some(6), Ok(3)));
        assert_eq!(read(b"..\r\n...\r\n.\r\n", &[], 99).0, b".\r\n..\r\n");
    }

    /// Everything that looks like an end to some server: each of these must neither end nor be accepted.
    #[test]
    fn no_smuggling_separator_ends_the_content() {
        let line_ends: [&[u8]; 8] = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\n", b"\r\0\n", b"\n\r", b"\0\r\n"];
        for before in line_ends {
            for after in line_ends {
                if before == b"\r\n" && after == b"\r\n" {
                    continue;
                }
                let smuggled = [b"a", before, b".", after, b"MAIL FROM:<x@y>\r\n.\r\nQUIT\r\n"].concat();
                for cut in 1..4 {
                    let (_, end, verdict) = read(&smuggled, &[cut], 1 << 20);
                    // CRLF "." CRLF may stand in there truly: then that is the end, and nothing before it was clean.
                    let true_end = memchr::memmem::find(&smuggled, b"\r\n.\r\n").unwrap() + 5;
                    assert_eq!(end, Some(true_end), "{before:?} . {after:?}");
                    assert!(verdict.is_err(), "{before:?} . {after:?}");
                }
            }
        }
    }

    #[test]
    fn too_much_is_read_to_its_end_and_not_kept() {
        let (out, end, verdict) = read(b"0123456789\r\n.\r\n", &[], 5);
        assert_eq!((end, verdict), (Some(15), Err(ContentFault::TooLarge)));
        assert!(out.len() <= 5);
        let long = [vec![b'x'; LINE_BYTES_MAX + 1], b"\r\n.\r\n".to_vec()].concat();
        assert_eq!(read(&long, &[4096], u64::MAX).2, Err(ContentFault::LineTooLong));
    }

    #[test]
    fn a_nul_is_refused_and_eight_bits_are_not() {
        assert_eq!(read(b"a\0b\r\n.\r\n", &[], 99).2, Err(ContentFault::Nul));
        assert_eq!(read(b"\xff\xfe\r\n.\r\n", &[], 99).2, Ok(4));
    }

    #[test]
    fn stray_line_ends_do_not_leave() {
        let mut out = Vec::new();
        let mut stuffer = DotStuffer::default();
        stuffer.write(b"a\n.\r.\r", &mut out);
        stuffer.write(b"\n.b\nc", &mut out);
        stuffer.finish(&mut out);
        assert_eq!(out, b"a . .\r\n..b c\r\n.\r\n");
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec("[.a\u{e9} ]{0,5}", 0..8)
            .prop_map(|lines| lines.iter().map(|l| format!("{l}\r\n")).collect::<String>().into_bytes())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(content in lines(), cuts in proptest::collection::vec(1usize..7, 1..8)) {
            let mut stuffer = DotStuffer::default();
            let (mut wire, mut at, mut pieces) = (Vec::new(), 0, cuts.iter().cycle());
            while at < content.len() {
                let len = (*pieces.next().unwrap()).min(content.len() - at);
                stuffer.write(&content[at..at + len], &mut wire);
                at += len;
            }
            stuffer.finish(&mut wire);
            let wire_len = wire.len();
            wire.extend_from_slice(b"RSET\r\n");
            let (out, end, verdict) = read(&wire, &cuts, 1 << 20);
            prop_assert_eq!(&out, &content);
            prop_assert_eq!(end, Some(wire_len));
            prop_assert_eq!(verdict, Ok(content.len() as u64));
        }

        #[test]
        fn the_cut_does_not_matter(input in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a'), Just(0u8)], 0..60), cut in 1usize..5) {
            let (whole, end, verdict) = read(&input, &[], 1 << 20);
            let (pieces, pieces_end, pieces_verdict) = read(&input, &[cut], 1 << 20);
            prop_assert_eq!((whole, end, verdict), (pieces, pieces_end, pieces_verdict));
        }

        #[test]
        fn whatever_is_stuffed_ends_once(content in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a')], 0..40)) {
            let mut wire = Vec::new();
            let mut stuffer = DotStuffer::default();
            stuffer.write(&content, &mut wire);
            stuffer.finish(&mut wire);
            let (_, end, verdict) = read(&wire, &[3], 1 << 20);
            prop_assert_eq!(end, Some(wire.len()));
            prop_assert!(verdict.is_ok());
        }
    }
}
