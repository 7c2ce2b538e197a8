//! Replies (RFC 5321 §4.2) with enhanced status codes (RFC 2034, RFC 3463), written and read.

use std::{borrow::Cow, fmt};

/// Longest reply that is read; the longest real one is to EHLO.
pub const REPLY_BYTES_MAX: usize = 64 << 10;
/// Longest text of one line that is written, so that code, text and CRLF fit 512 bytes (RFC 5321 §4.5.3.1.5).
const TEXT_BYTES_MAX: usize = 480;

/// Class, subject and detail (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enhanced(pub u8, pub u16, pub u16);

/// One reply, of one line or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// The enhanced code, which stands in front of every line.
    pub enhanced: Option<Enhanced>,
    /// The text of each line.
    pub lines: Vec<Cow<'static, str>>,
}

/// Bytes that are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyFault {
    /// A line without code, or lines with different codes.
    #[error("not an SMTP reply")]
    Syntax,
    /// More than [`REPLY_BYTES_MAX`].
    #[error("SMTP reply too long")]
    TooLong,
}

impl Reply {
    /// A reply of one line with an enhanced code.
    #[must_use]
    pub fn new(code: u16, enhanced: (u8, u16, u16), text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: Some(Enhanced(enhanced.0, enhanced.1, enhanced.2)), lines: vec![text.into()] }
    }

    /// A reply without an enhanced code: greetings, 354, and answers to EHLO (RFC 2034 §3).
    #[must_use]
    pub fn plain(code: u16, lines: Vec<Cow<'static, str>>) -> Self {
        Self { code, enhanced: None, lines }
    }

    /// The command was carried out.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code / 100 == 2
    }

    /// It may work later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.code / 100 == 4
    }

    /// It will never work.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Appends the reply as it goes over the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let last = self.lines.len().saturating_sub(1);
        for (at, line) in self.lines.iter().enumerate() {
            let separator = if at == last { ' ' } else { '-' };
            out.extend_from_slice(format!("{}{separator}", self.code).as_bytes());
            if let Some(enhanced) = self.enhanced {
                out.extend_from_slice(format!("{enhanced} ").as_bytes());
            }
            out.extend(line.bytes().take(TEXT_BYTES_MAX).map(printable));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// On one line, for logs and bounces.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        self.lines.iter().try_for_each(|line| write!(f, " {line}"))
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Reads one reply off the front of `buffer`: the reply and its length, or `None` when more bytes are needed.
///
/// # Errors
/// See [`ReplyFault`].
pub fn parse_reply(buffer: &[u8]) -> Result<Option<(Reply, usize)>, ReplyFault> {
    let (mut used, mut lines, mut code) = (0, Vec::new(), None);
    loop {
        let rest = buffer.get(used..).unwrap_or_default();
        let Some(end) = memchr::memmem::find(rest, b"\r\n") else {
            return if buffer.len() > REPLY_BYTES_MAX { Err(ReplyFault::TooLong) } else { Ok(None) };
        };
        let line = parse_line(rest.get(..end).unwrap_or_default())?;
        if code.is_some_and(|code| code != line.code) || used > REPLY_BYTES_MAX {
            return Err(ReplyFault::Syntax);
        }
        used += end + 2;
        code = Some(line.code);
        lines.push(line.text);
        if line.is_last {
            return Ok(Some((assemble(line.code, &lines), used)));
        }
    }
}

struct Line {
    code: u16,
    is_last: bool,
    text: String,
}

fn parse_line(line: &[u8]) -> Result<Line, ReplyFault> {
    let digits = line.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit)).ok_or(ReplyFault::Syntax)?;
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    // RFC 5321 §4.2: the first digit is 2 to 5; a reply may be the code alone (§4.2, "SHOULD accept").
    let is_last = match line.get(3) {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return Err(ReplyFault::Syntax),
    };
    if !(200..600).contains(&code) {
        return Err(ReplyFault::Syntax);
    }
    let text = line.get(4..).unwrap_or_default().iter().copied().map(printable).map(char::from).collect();
    Ok(Line { code, is_last, text })
}

fn assemble(code: u16, lines: &[String]) -> Reply {
    let enhanced = lines.first().and_then(|line| leading_enhanced(line)).filter(|e| u16::from(e.0) == code / 100);
    let strip = |line: &String| match enhanced {
        Some(_) => line.split_once(' ').map_or(String::new(), |(_, text)| text.to_owned()),
        None => line.clone(),
    };
    Reply { code, enhanced, lines: lines.iter().map(|line| Cow::Owned(strip(line))).collect() }
}

fn leading_enhanced(line: &str) -> Option<Enhanced> {
    let mut numbers = line.split(' ').next()?.split('.');
    let (class, subject, detail) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let extra = numbers.next().is_some();
    let enhanced = Enhanced(class.parse().ok()?, subject.parse().ok()?, detail.parse().ok()?);
    (!extra).then_some(enhanced)
}

/// Whatever is no printable ASCII becomes a question mark: a reply must stay one line (RFC 5321 §4.2).
fn printable(byte: u8) -> u8 {
    if matches!(byte, b' '..=b'~') { byte } else { b'?' }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_reply_is_read_as_it_was_written() {
        let one = Reply::new(550, (5, 1, 1), "no such account");
        assert_eq!(written(&one), "550 5.1.1 no such account\r\n");
        assert_eq!(parse_reply(written(&one).as_bytes()), Ok(Some((one, 27))));
        let many = Reply::plain(250, vec!["x.example".into(), "SIZE 10".into()]);
        assert_eq!(written(&many), "250-x.example\r\n250 SIZE 10\r\n");
        assert_eq!(parse_reply(written(&many).as_bytes()).unwrap().unwrap().0, many);
    }

    #[test]
    fn a_reply_cannot_carry_a_second_line() {
        assert_eq!(written(&Reply::new(550, (5, 0, 0), "a\r\n250 b")), "550 5.0.0 a??250 b\r\n");
    }

    #[test]
    fn a_code_alone_is_a_reply() {
        let (reply, used) = parse_reply(b"250\r\n").unwrap().unwrap();
        assert_eq!((reply.code, used), (250, 5));
    }

    #[test]
    fn an_unfinished_reply_waits_and_a_foreign_one_is_refused() {
        assert_eq!(parse_reply(b"250-a\r\n250"), Ok(None));
        assert_eq!(parse_reply(b"250-a\r\n251 b\r\n"), Err(ReplyFault::Syntax));
        assert_eq!(parse_reply(b"HTTP/1.1 200 OK\r\n"), Err(ReplyFault::Syntax));
        assert_eq!(parse_reply(&vec![b'2'; REPLY_BYTES_MAX + 1]), Err(ReplyFault::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_reply(&bytes);
        }
    }
}
