//! Lines that end with CRLF, within a limit.
//!
//! A line ends with CRLF and nothing else. A bare LF, a bare CR or a NUL makes the line a fault that the session
//! counts as a bad command; a line beyond the limit ends the connection, because where the next one begins is unknown.

/// Collects what a client sent and hands it out line by line.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Where unread bytes begin.
    start: usize,
    /// How far a line end was looked for, so that a dribbled line is scanned once.
    scanned: usize,
    /// Longest line, CRLF included.
    limit: usize,
}

/// Proof that nothing the client sent is left unread.
///
/// Needed to begin TLS: bytes that came before the handshake must not be taken for bytes from inside (CVE-2011-0411).
#[derive(Debug, PartialEq, Eq)]
pub struct Drained(());

/// Why the next line cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Longer than the limit. The line is not taken; the connection must end.
    #[error("line too long")]
    TooLong,
    /// A LF without CR, or a CR without LF. The line was taken away.
    #[error("line does not end with CRLF")]
    BareLineBreak,
    /// A NUL, which no line may hold (RFC 9051 §9, RFC 5321 §2.3.8). The line was taken away.
    #[error("NUL in a line")]
    Nul,
}

impl LineBuffer {
    /// Makes an empty buffer for lines of at most `limit` bytes, CRLF included.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, scanned: 0, limit }
    }

    /// Makes a buffer that begins with bytes read elsewhere.
    #[must_use]
    pub fn with_unread(limit: usize, unread: Vec<u8>) -> Self {
        Self { bytes: unread, start: 0, scanned: 0, limit }
    }

    /// Changes the limit, for a protocol whose lines differ in it.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes in what the client sent.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            (self.start, self.scanned) = (0, 0);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next line, without its CRLF; `None` asks for more bytes.
    ///
    /// # Errors
    ///
    /// If the line is too long or holds what no line may hold.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        let Some(end) = self.find_line_feed() else {
            // One more byte could only make it too long.
            return if self.unread().len() >= self.limit { Err(LineError::TooLong) } else { Ok(None) };
        };
        if end + 1 - self.start > self.limit {
            return Err(LineError::TooLong);
        }
        let line = self.take(end + 1 - self.start);
        check_line(line).map(Some)
    }

    /// Takes exactly `length` bytes if they are there.
    pub fn take_exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        (self.unread().len() >= length).then(|| self.take(length))
    }

    /// Takes at most `length` bytes of what is there.
    pub fn take_up_to(&mut self, length: usize) -> Vec<u8> {
        self.take(length.min(self.unread().len()))
    }

    /// Returns what the client sent and nobody read.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Returns the proof that nothing is left unread, if so.
    #[must_use]
    pub fn drained(&self) -> Option<Drained> {
        self.unread().is_empty().then_some(Drained(()))
    }

    /// Gives up the buffer and returns what nobody read.
    #[must_use]
    pub fn into_unread(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    fn find_line_feed(&mut self) -> Option<usize> {
        let from = self.scanned.max(self.start);
        let found = memchr::memchr(b'\n', self.bytes.get(from..).unwrap_or_default());
        self.scanned = found.map_or(self.bytes.len(), |at| from + at);
        found.map(|at| from + at)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let taken = self.unread().get(..length).unwrap_or_default().to_vec();
        self.start += taken.len();
        self.scanned = self.scanned.max(self.start);
        if self.start == self.bytes.len() {
            // An idle connection keeps no buffer.
            self.bytes = Vec::new();
            (self.start, self.scanned) = (0, 0);
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        taken
    }
}

fn check_line(mut line: Vec<u8>) -> Result<Vec<u8>, LineError> {
    line.pop();
    if line.pop() != Some(b'\r') {
        return Err(LineError::BareLineBreak);
    }
    match memchr::memchr2(b'\r', 0, &line).and_then(|at| line.get(at)) {
        None => Ok(line),
        Some(0) => Err(LineError::Nul),
        Some(_) => Err(LineError::BareLineBreak),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(limit: usize, bytes: &[u8]) -> LineBuffer {
        LineBuffer::with_unread(limit, bytes.to_vec())
    }

    #[test]
    fn lines_come_out_whole_however_they_came_in() {
        let mut buffer = LineBuffer::new(16);
        let mut lines = Vec::new();
        for byte in b"NOOP\r\n\r\nQUIT\r\nrest" {
            buffer.push(&[*byte]);
            lines.extend(buffer.next_line().unwrap());
        }
        assert_eq!(lines, [b"NOOP".to_vec(), vec![], b"QUIT".to_vec()]);
        assert_eq!(buffer.into_unread(), b"rest");
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes() {
        assert_eq!(buffer(6, b"NOOP\r\n").next_line(), Ok(Some(b"NOOP".to_vec())));
        assert_eq!(buffer(5, b"NOOP\r\n").next_line(), Err(LineError::TooLong));
        assert_eq!(buffer(6, b"NOOP\r").next_line(), Ok(None));
        assert_eq!(buffer(6, b"NOOPED").next_line(), Err(LineError::TooLong));
    }

    #[test]
    fn pipelined_bytes_leave_no_proof() {
        let mut buffer = buffer(64, b"STLS\r\nUSER eve\r\n");
        buffer.next_line().unwrap();
        assert_eq!(buffer.drained(), None);
        buffer.next_line().unwrap();
        assert_eq!(buffer.drained(), Some(Drained(())));
    }

    #[test]
    fn bare_line_breaks_and_nul_cost_the_line() {
        for bytes in [b"a\nQUIT\r\n".as_slice(), b"a\rb\r\nQUIT\r\n", b"\nQUIT\r\n", b"a\r\r\nQUIT\r\n"] {
            let mut buffer = buffer(64, bytes);
            assert_eq!(buffer.next_line(), Err(LineError::BareLineBreak));
            assert_eq!(buffer.next_line(), Ok(Some(b"QUIT".to_vec())));
        }
        let mut buffer = buffer(64, b"\0\r\nQUIT\r\n");
        assert_eq!(buffer.next_line(), Err(LineError::Nul));
        assert_eq!(buffer.next_line(), Ok(Some(b"QUIT".to_vec())));
    }

    #[test]
    fn literals_are_taken_by_length() {
        let mut buffer = buffer(64, b"a\r\nwith\nall\0 bytes\r\n");
        buffer.next_line().unwrap();
        assert_eq!(buffer.take_exactly(99), None);
        assert_eq!(buffer.take_exactly(8), Some(b"with\nall".to_vec()));
        assert_eq!(buffer.take_up_to(2), b"\0 ");
        assert_eq!(buffer.next_line(), Ok(Some(b"bytes".to_vec())));
    }

    proptest::proptest! {
        #[test]
        fn splitting_input_differently_changes_nothing(input: Vec<u8>, cut in 1usize..9) {
            let whole = drain(buffer(32, &input));
            let mut pieces = LineBuffer::new(32);
            input.chunks(cut).for_each(|piece| pieces.push(piece));
            proptest::prop_assert_eq!(whole, drain(pieces));
        }
    }

    fn drain(mut buffer: LineBuffer) -> Vec<Result<Option<Vec<u8>>, LineError>> {
        let mut lines = Vec::new();
        loop {
            lines.push(buffer.next_line());
            if matches!(lines.last(), Some(Ok(None) | Err(LineError::TooLong))) {
                return lines;
            }
        }
    }
}
