//! IMAP commands with their literals: announced, accepted or refused (RFC 9051 §4.3, RFC 7888).
//!
//! A command is collected whole, its literals in place as `{3}CRLF` and three bytes, for a parser to read in one go. So
//! every limit is one on memory: of a whole command, and of one literal. Bodies of messages never come this way.

use super::line::{LineBuffer, LineError};

/// Bounds on one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandLimits {
    /// Longest command, literals and line ends included.
    pub command_bytes_max: usize,
    /// Longest literal.
    pub literal_bytes_max: usize,
}

impl CommandLimits {
    /// What anybody may send before login. The longest literal is also what LITERAL- allows (RFC 7888 §5).
    pub const BEFORE_LOGIN: Self = Self { command_bytes_max: 8192, literal_bytes_max: 4096 };
}

/// Collects commands.
#[derive(Debug)]
pub struct CommandReader {
    lines: LineBuffer,
    limits: CommandLimits,
    /// What has been collected of the current command.
    command: Vec<u8>,
    /// Bytes of the current literal that have not come yet.
    literal: Option<usize>,
}

/// What the reader found.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole command, without its last CRLF.
    Command(Vec<u8>),
    /// A literal that the client sends only when asked to: say `+`.
    Announced,
}

/// Why a command cannot be collected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A line that cannot be used. The command was dropped, unless the line is too long: that ends the connection.
    #[error("{0}")]
    Line(#[from] LineError),
    /// The client asks to send a literal beyond the limit. Its command was dropped, and nothing was asked for.
    #[error("literal too long")]
    LiteralRefused {
        /// What was collected of the command: its tag is in it.
        command: Vec<u8>,
    },
    /// The client sends such a literal without asking. The connection must end (RFC 7888 §4).
    #[error("literal too long")]
    LiteralTooLong {
        /// What was collected of the command: its tag is in it.
        command: Vec<u8>,
    },
}

impl CommandError {
    /// Whether the connection must end, because where the next command begins is unknown or too far away.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Line(LineError::TooLong) | Self::LiteralTooLong { .. })
    }
}

impl CommandReader {
    /// Makes a reader.
    #[must_use]
    pub fn new(limits: CommandLimits) -> Self {
        let lines = LineBuffer::new(limits.command_bytes_max);
        Self { lines, limits, command: Vec::new(), literal: None }
    }

    /// Goes on collecting; `None` asks for more bytes.
    ///
    /// # Errors
    ///
    /// If the command breaks a limit or holds what no command may hold.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, CommandError> {
        loop {
            if !self.fill_literal() {
                return Ok(None);
            }
            let Some(line) = self.lines.next_line().inspect_err(|_| self.command.clear())? else { return Ok(None) };
            self.check_room(line.len())?;
            self.command.extend_from_slice(&line);
            let Some(announced) = Announcement::at_end_of(&line) else {
                return Ok(Some(Piece::Command(std::mem::take(&mut self.command))));
            };
            self.accept(&announced)?;
            if announced.waits {
                return Ok(Some(Piece::Announced));
            }
        }
    }

    /// What the client sent and nobody has read; also for lines that belong to no command, as in a SASL exchange.
    pub fn lines(&mut self) -> &mut LineBuffer {
        &mut self.lines
    }

    /// As [`Self::lines`], at the end.
    #[must_use]
    pub fn into_lines(self) -> LineBuffer {
        self.lines
    }

    /// Moves what has come of the current literal; whether it is whole.
    fn fill_literal(&mut self) -> bool {
        let Some(missing) = self.literal else { return true };
        let bytes = self.lines.take_up_to(missing);
        self.command.extend_from_slice(&bytes);
        let missing = missing - bytes.len();
        self.literal = (missing > 0).then_some(missing);
        missing == 0
    }

    fn accept(&mut self, announced: &Announcement) -> Result<(), CommandError> {
        let whole = self.command.len() + 2 + announced.bytes;
        if announced.bytes > self.limits.literal_bytes_max || whole > self.limits.command_bytes_max {
            let command = std::mem::take(&mut self.command);
            return Err(if announced.waits {
                CommandError::LiteralRefused { command }
            } else {
                CommandError::LiteralTooLong { command }
            });
        }
        self.command.extend_from_slice(b"\r\n");
        self.literal = Some(announced.bytes);
        Ok(())
    }

    /// The lines of a command together must keep to the limit, too.
    fn check_room(&mut self, more: usize) -> Result<(), CommandError> {
        if self.command.len() + more + 2 > self.limits.command_bytes_max {
            self.command.clear();
            return Err(LineError::TooLong.into());
        }
        Ok(())
    }
}

/// `{bytes}` or `{bytes+}` at the end of a line.
#[derive(Debug, PartialEq, Eq)]
struct Announcement {
    bytes: usize,
    /// Whether the client waits for `+` (a synchronizing literal).
    waits: bool,
}

impl Announcement {
    fn at_end_of(line: &[u8]) -> Option<Self> {
        let inner = line.strip_suffix(b"}")?;
        let start = inner.iter().rposition(|byte| *byte == b'{')?;
        let inner = inner.get(start + 1..)?;
        let (digits, waits) = inner.strip_suffix(b"+").map_or((inner, true), |digits| (digits, false));
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        // A number too large to read is a number too large to accept.
        let bytes = std::str::from_utf8(digits).ok()?.parse().unwrap_or(usize::MAX / 2);
        Some(Self { bytes: bytes.min(usize::MAX / 2), waits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> CommandReader {
        let mut reader = CommandReader::new(CommandLimits::BEFORE_LOGIN);
        reader.lines().push(bytes);
        reader
    }

    fn command(bytes: &[u8]) -> Result<Option<Piece>, CommandError> {
        Ok(Some(Piece::Command(bytes.to_vec())))
    }

    #[test]
    fn a_synchronizing_literal_is_asked_for() {
        let mut reader = reader(b"a1 LOGIN {11}\r\n");
        assert_eq!(reader.next_piece(), Ok(Some(Piece::Announced)));
        assert_eq!(reader.next_piece(), Ok(None));
        reader.lines().push(b"FRED FOO");
        assert_eq!(reader.next_piece(), Ok(None));
        reader.lines().push(b"BAR {7}\r\n");
        assert_eq!(reader.next_piece(), Ok(Some(Piece::Announced)));
        reader.lines().push(b"fat man\r\na2 NOOP\r\n");
        assert_eq!(reader.next_piece(), command(b"a1 LOGIN {11}\r\nFRED FOOBAR {7}\r\nfat man"));
        assert_eq!(reader.next_piece(), command(b"a2 NOOP"));
    }

    #[test]
    fn a_non_synchronizing_literal_is_not() {
        // The example of RFC 7888 §3.
        let mut reader = reader(b"A001 LOGIN {11+}\r\nFRED FOOBAR {7+}\r\nfat man\r\n");
        assert_eq!(reader.next_piece(), command(b"A001 LOGIN {11+}\r\nFRED FOOBAR {7+}\r\nfat man"));
    }

    #[test]
    fn an_absurd_literal_is_refused_before_it_is_sent() {
        for size in ["4097", "2147483647", "4294967296", "99999999999999999999999999"] {
            let line = format!("a1 LOGIN {{{size}}}\r\n");
            let mut reader = reader(line.as_bytes());
            let refused = reader.next_piece().unwrap_err();
            assert!(!refused.is_fatal(), "{size}");
            reader.lines().push(b"a2 NOOP\r\n");
            assert_eq!(reader.next_piece(), command(b"a2 NOOP"));
        }
    }

    #[test]
    fn an_absurd_literal_that_comes_unasked_is_fatal() {
        let mut reader = reader(b"a1 LOGIN {2147483647+}\r\nxxxx");
        let command = b"a1 LOGIN {2147483647+}".to_vec();
        assert_eq!(reader.next_piece(), Err(CommandError::LiteralTooLong { command }));
    }

    #[test]
    fn many_empty_literals_meet_the_limit_of_the_command() {
        let mut reader = reader(&b"a {0+}\r\n".repeat(2000));
        let error = loop {
            match reader.next_piece() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no limit was met"),
                Err(error) => break error,
            }
        };
        assert!(error.is_fatal());
    }

    #[test]
    fn braces_that_announce_nothing_are_text() {
        for line in ["a1 LOGIN x {}", "a1 LOGIN x {+}", "a1 LOGIN x {a}", "a1 LOGIN x {1}x", "a1 x}", "a1 {-1}"] {
            assert_eq!(reader(format!("{line}\r\n").as_bytes()).next_piece(), command(line.as_bytes()));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_grow(input: Vec<Vec<u8>>) {
            let mut reader = CommandReader::new(CommandLimits::BEFORE_LOGIN);
            for bytes in input {
                reader.lines().push(&bytes);
                while let Ok(Some(_)) = reader.next_piece() {}
                proptest::prop_assert!(reader.command.len() <= CommandLimits::BEFORE_LOGIN.command_bytes_max);
            }
        }
    }
}
