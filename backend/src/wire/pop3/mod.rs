//! POP3 after login: the commands of the TRANSACTION state (RFC 1939 §5 and §7, RFC 2449 §5).

mod transparency;

pub use self::transparency::Transparency;

/// Longest command, CRLF included; RFC 2449 §4 asks for 255.
pub const COMMAND_BYTES_MAX: usize = 512;

/// A command of the TRANSACTION state. Messages are named by their numbers, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `STAT`
    Stat,
    /// `LIST`, of all messages or one.
    List(Option<u32>),
    /// `UIDL`, of all messages or one.
    Uidl(Option<u32>),
    /// `RETR`
    Retr(u32),
    /// `TOP`
    Top {
        /// Which message.
        message: u32,
        /// How many lines of its body.
        lines: u32,
    },
    /// `DELE`
    Dele(u32),
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `CAPA`
    Capa,
    /// `QUIT`
    Quit,
}

/// A command that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There is no such command in this state.
    #[error("unknown command")]
    Unknown,
    /// Arguments are missing, too many, or no numbers.
    #[error("malformed arguments")]
    Arguments,
}

/// Reads one line, without its CRLF.
///
/// # Errors
///
/// If it is no command of this state.
pub fn parse(line: &[u8]) -> Result<Command, Malformed> {
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Unknown)?;
    // Some clients put spaces behind a command; none means anything by it.
    let mut words = line.trim_end_matches(' ').split(' ');
    let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
    let arguments: Option<Vec<u32>> = words.map(number).collect();
    let Some(arguments) = arguments else { return Err(complaint(&keyword)) };
    match (keyword.as_str(), arguments.as_slice()) {
        ("STAT", []) => Ok(Command::Stat),
        ("LIST", []) => Ok(Command::List(None)),
        ("LIST", [message]) => Ok(Command::List(Some(*message))),
        ("UIDL", []) => Ok(Command::Uidl(None)),
        ("UIDL", [message]) => Ok(Command::Uidl(Some(*message))),
        ("RETR", [message]) => Ok(Command::Retr(*message)),
        ("TOP", [message, lines]) => Ok(Command::Top { message: *message, lines: *lines }),
        ("DELE", [message]) => Ok(Command::Dele(*message)),
        ("RSET", []) => Ok(Command::Rset),
        ("NOOP", []) => Ok(Command::Noop),
        ("CAPA", []) => Ok(Command::Capa),
        ("QUIT", []) => Ok(Command::Quit),
        _ => Err(complaint(&keyword)),
    }
}

/// What is no command at all is not told that its arguments are wrong.
fn complaint(keyword: &str) -> Malformed {
    let known = ["STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "RSET", "NOOP", "CAPA", "QUIT"];
    if known.contains(&keyword) { Malformed::Arguments } else { Malformed::Unknown }
}

/// A number as RFC 1939 has them; no sign, no blank. One too large for any message is as good as the largest.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_without_case_and_with_spaces_behind() {
        assert_eq!(parse(b"stat"), Ok(Command::Stat));
        assert_eq!(parse(b"Retr 7 "), Ok(Command::Retr(7)));
        assert_eq!(parse(b"TOP 1 0"), Ok(Command::Top { message: 1, lines: 0 }));
        assert_eq!(parse(b"UIDL"), Ok(Command::Uidl(None)));
        assert_eq!(parse(b"LIST 2"), Ok(Command::List(Some(2))));
        assert_eq!(parse(b"DELE 99999999999"), Ok(Command::Dele(u32::MAX)));
    }

    #[test]
    fn what_does_not_fit_is_malformed() {
        for line in ["RETR", "RETR +1", "RETR -1", "RETR 1 2", "TOP 1", "LIST x", "STAT 1", "RETR  1", "DELE 0x1"] {
            assert_eq!(parse(line.as_bytes()), Err(Malformed::Arguments), "{line}");
        }
        for line in ["", " ", "LAST", "USER eve", "APOP a b", "\u{fe}", "RETR\t1"] {
            assert_eq!(parse(line.as_bytes()), Err(Malformed::Unknown), "{line}");
        }
        assert_eq!(parse(b"\xff"), Err(Malformed::Unknown));
    }
}
