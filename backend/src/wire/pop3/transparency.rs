//! A message on its way to a POP3 client: every line ends with CRLF, a line that begins with a dot gets another, and a
//! dot alone ends it all (RFC 1939 §3).

/// Converts a message that comes in pieces, cut anywhere.
#[derive(Debug)]
pub struct Transparency {
    /// Bytes of the present line so far.
    line_bytes: usize,
    /// The last byte was a CR.
    after_cr: bool,
    /// Within the header, if only part of the message is wanted.
    in_header: bool,
    /// How many lines of the body are still wanted; `None` for all.
    lines_left: Option<u32>,
}

impl Transparency {
    /// Sends the whole message.
    #[must_use]
    pub fn whole() -> Self {
        Self { line_bytes: 0, after_cr: false, in_header: false, lines_left: None }
    }

    /// Sends the header, the blank line and so many lines of the body.
    #[must_use]
    pub fn top(lines: u32) -> Self {
        Self { in_header: true, lines_left: Some(lines), ..Self::whole() }
    }

    /// Takes the next piece. Returns whether all that is wanted has been seen.
    pub fn feed(&mut self, mut piece: &[u8], out: &mut Vec<u8>) -> bool {
        out.reserve(piece.len());
        while !piece.is_empty() && !self.is_enough() {
            let end = memchr::memchr(b'\n', piece);
            let (text, rest) = piece.split_at_checked(end.unwrap_or(piece.len())).unwrap_or((piece, &[]));
            self.put_text(text, out);
            if end.is_some() {
                self.end_line(out);
            }
            piece = rest.get(1..).unwrap_or_default();
        }
        self.is_enough()
    }

    /// Ends the message.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if self.line_bytes > 0 {
            self.end_line(out);
        }
        out.extend_from_slice(b".\r\n");
    }

    fn is_enough(&self) -> bool {
        !self.in_header && self.line_bytes == 0 && self.lines_left == Some(0)
    }

    fn put_text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if self.line_bytes == 0 && text.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(text);
        self.line_bytes += text.len();
        if let Some(last) = text.last() {
            self.after_cr = *last == b'\r';
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        let is_blank = self.line_bytes == usize::from(self.after_cr);
        out.extend_from_slice(if self.after_cr { b"\n" } else { b"\r\n" });
        (self.line_bytes, self.after_cr) = (0, false);
        if self.in_header {
            self.in_header = !is_blank;
        } else if let Some(left) = &mut self.lines_left {
            *left = left.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the message whole, and byte by byte; both have to come out the same.
    fn sent(begin: fn() -> Transparency, message: &[u8]) -> String {
        let [mut at_once, mut by_byte] = [begin(), begin()];
        let (mut one, mut other) = (Vec::new(), Vec::new());
        at_once.feed(message, &mut one);
        for byte in message {
            if by_byte.feed(&[*byte], &mut other) {
                break;
            }
        }
        at_once.finish(&mut one);
        by_byte.finish(&mut other);
        assert_eq!(one, other);
        String::from_utf8(one).unwrap()
    }

    #[test]
    fn lines_that_begin_with_a_dot_get_another() {
        assert_eq!(sent(Transparency::whole, b".\r\n..a\r\nb.\r\n"), "..\r\n...a\r\nb.\r\n.\r\n");
    }

    #[test]
    fn every_line_ends_with_crlf_also_the_last() {
        assert_eq!(sent(Transparency::whole, b"a\nb\r\nc"), "a\r\nb\r\nc\r\n.\r\n");
        assert_eq!(sent(Transparency::whole, b"a\r"), "a\r\n.\r\n");
        assert_eq!(sent(Transparency::whole, b""), ".\r\n");
        assert_eq!(sent(Transparency::whole, b"\n"), "\r\n.\r\n");
    }

    #[test]
    fn a_dot_behind_a_bare_line_feed_cannot_end_the_message() {
        assert_eq!(sent(Transparency::whole, b"a\n.\nQUIT\r\n"), "a\r\n..\r\nQUIT\r\n.\r\n");
    }

    #[test]
    fn top_sends_the_header_and_so_many_lines() {
        let message = b"From: a\r\n\r\none\r\n.two\r\nthree\r\n";
        assert_eq!(sent(|| Transparency::top(0), message), "From: a\r\n\r\n.\r\n");
        assert_eq!(sent(|| Transparency::top(2), message), "From: a\r\n\r\none\r\n..two\r\n.\r\n");
        assert_eq!(sent(|| Transparency::top(9), message), "From: a\r\n\r\none\r\n..two\r\nthree\r\n.\r\n");
        assert_eq!(sent(|| Transparency::top(0), b"From: a"), "From: a\r\n.\r\n");
        assert_eq!(sent(|| Transparency::top(1), b"\nbody"), "\r\nbody\r\n.\r\n");
    }

    proptest::proptest! {
        #[test]
        fn a_client_reads_back_what_was_stored_up_to_line_ends(message in "[.\r\nab]{0,40}") {
            let text = sent(Transparency::whole, message.as_bytes());
            let body = text.strip_suffix(".\r\n").unwrap();
            // Only the end may be a dot alone.
            proptest::prop_assert!(!body.split("\r\n").any(|line| line == "."));
            let read: Vec<&str> =
                body.split_terminator("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line)).collect();
            let mut stored: Vec<&str> = message.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
            if message.is_empty() || message.ends_with('\n') {
                stored.pop();
            }
            proptest::prop_assert_eq!(read, stored);
        }
    }
}
