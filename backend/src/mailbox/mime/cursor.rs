//! Reading a structured field from left to right. Every step goes forward, so that no input costs more than its length.

/// A place in the value of a field.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Whether all has been read.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Passes over the next byte.
    pub(super) fn bump(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// Passes over the next byte if it is this one.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.bump();
        }
        is_next
    }

    /// Takes bytes up to the first that is `end`.
    pub(super) fn until(&mut self, end: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().position(|byte| end(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    /// Passes over white space.
    pub(super) fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// Passes over white space and comments (RFC 5322 §3.2.2, CFWS).
    pub(super) fn skip_comments(&mut self) {
        self.skip_space();
        while self.peek() == Some(b'(') {
            self.comment();
            self.skip_space();
        }
    }

    /// Takes a comment with those inside it; without its outer parentheses, backslashes resolved.
    pub(super) fn comment(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut depth = 0usize;
        while let Some(byte) = self.peek() {
            self.bump();
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => text.extend(self.escaped()),
                _ => text.push(byte),
            }
            match (byte, depth) {
                (b')', 0) => break,
                (b'(', 2..) | (b')', _) => text.push(byte),
                _ => {}
            }
        }
        text
    }

    /// Takes a quoted string, quotes and backslashes resolved (RFC 5322 §3.2.4). One that does not end, ends here.
    pub(super) fn quoted(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        self.bump();
        while let Some(byte) = self.peek() {
            self.bump();
            match byte {
                b'"' => break,
                b'\\' => text.extend(self.escaped()),
                b'\r' | b'\n' => {}
                _ => text.push(byte),
            }
        }
        text
    }

    fn escaped(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.bump();
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_nest() {
        let mut cursor = Cursor::new(b"(a (b \\) c) d) rest");
        assert_eq!(cursor.comment(), b"a (b ) c) d");
        cursor.skip_space();
        assert_eq!(cursor.until(|_| false), b"rest");
    }

    #[test]
    fn what_does_not_end_ends_with_the_field() {
        assert_eq!(Cursor::new(b"\"a\\").quoted(), b"a");
        assert_eq!(Cursor::new(b"((a)").comment(), b"(a)");
        let mut cursor = Cursor::new(b"(((((");
        cursor.skip_comments();
        assert!(cursor.is_at_end());
    }
}
