//! POP3 commands of the AUTHORIZATION state (RFC 1939 §4, RFC 2449, RFC 2595, RFC 5034).

use laniakea_directory::Secret;

use super::claims::Claims;

/// Longest command; RFC 2449 §4 asks for 255.
pub const COMMAND_BYTES_MAX: usize = 512;
/// Longest line of a SASL exchange, and of an AUTH command from a router (RFC 5034 §4 asks for 12,288).
pub const LINE_BYTES_MAX: usize = 12_288;

/// A command that may come before login.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `CAPA`
    Capa,
    /// `STLS`
    Stls,
    /// `QUIT`
    Quit,
    /// `USER`
    User(Vec<u8>),
    /// `PASS`: everything behind the first space.
    Pass(Secret),
    /// `AUTH`
    Auth {
        /// The mechanism, in upper case; empty if the client asks which there are.
        mechanism: String,
        /// The initial response, still encoded.
        initial: Option<Vec<u8>>,
    },
    /// `XCLIENT`, as Dovecot's proxies send it.
    Xclient(Claims),
    /// A command that needs a login, or that nobody knows.
    Other,
}

/// A command that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than [`COMMAND_BYTES_MAX`].
    #[error("command too long")]
    TooLong,
    /// Arguments are missing, or too many.
    #[error("malformed command")]
    Arguments,
}

/// Reads one line.
///
/// # Errors
///
/// If it is too long for its command, or the arguments do not fit.
pub fn parse(line: &[u8]) -> Result<Command, Malformed> {
    let (keyword, argument) = split(line);
    let keyword = keyword.to_ascii_uppercase();
    if keyword != b"AUTH" && line.len() + 2 > COMMAND_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    match (keyword.as_slice(), argument) {
        (b"CAPA", None) => Ok(Command::Capa),
        (b"STLS", None) => Ok(Command::Stls),
        (b"QUIT", None) => Ok(Command::Quit),
        (b"USER", Some(name)) if !name.is_empty() => Ok(Command::User(name.to_vec())),
        // A password may hold spaces, also at its ends (RFC 1939 §7 PASS).
        (b"PASS", Some(secret)) => Ok(Command::Pass(Secret::new(secret.to_vec()))),
        (b"AUTH", None) => Ok(Command::Auth { mechanism: String::new(), initial: None }),
        (b"AUTH", Some(argument)) => parse_auth(argument),
        (b"XCLIENT", Some(attributes)) => {
            let claims = std::str::from_utf8(attributes).ok().and_then(Claims::of_xclient);
            claims.map(Command::Xclient).ok_or(Malformed::Arguments)
        }
        (b"CAPA" | b"STLS" | b"QUIT" | b"USER" | b"PASS" | b"XCLIENT", _) => Err(Malformed::Arguments),
        _ => Ok(Command::Other),
    }
}

/// `"AUTH" SP mechanism [SP initial-response]`.
fn parse_auth(argument: &[u8]) -> Result<Command, Malformed> {
    let (mechanism, initial) = split(argument);
    let is_name = !mechanism.is_empty() && mechanism.iter().all(u8::is_ascii_graphic);
    let mechanism = String::from_utf8(mechanism.to_ascii_uppercase()).ok().filter(|_| is_name);
    let initial = initial.map(<[u8]>::to_vec);
    Ok(Command::Auth { mechanism: mechanism.ok_or(Malformed::Arguments)?, initial })
}

fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b' ', text).and_then(|at| text.split_at_checked(at)) {
        Some((word, rest)) => (word, rest.strip_prefix(b" ")),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_without_case() {
        assert_eq!(parse(b"capa"), Ok(Command::Capa));
        assert_eq!(parse(b"User eve"), Ok(Command::User(b"eve".to_vec())));
        assert_eq!(parse(b"STAT"), Ok(Command::Other));
    }

    #[test]
    fn a_password_keeps_its_spaces() {
        assert_eq!(parse(b"PASS  a b "), Ok(Command::Pass(Secret::new(b" a b ".to_vec()))));
        assert_eq!(parse(b"PASS "), Ok(Command::Pass(Secret::new(Vec::new()))));
    }

    #[test]
    fn auth_names_a_mechanism_and_perhaps_answers_it() {
        let auth = |mechanism: &str, initial: Option<&str>| {
            Ok(Command::Auth { mechanism: mechanism.into(), initial: initial.map(|text| text.into()) })
        };
        assert_eq!(parse(b"AUTH"), auth("", None));
        assert_eq!(parse(b"AUTH plain"), auth("PLAIN", None));
        assert_eq!(parse(b"AUTH PLAIN ="), auth("PLAIN", Some("=")));
        assert_eq!(parse(b"AUTH  PLAIN"), Err(Malformed::Arguments));
    }

    #[test]
    fn what_does_not_fit_is_malformed() {
        for line in ["QUIT now", "USER", "USER ", "PASS", "CAPA x", "STLS x"] {
            assert_eq!(parse(line.as_bytes()), Err(Malformed::Arguments), "{line}");
        }
        assert_eq!(parse(&[b'A'; 511]), Err(Malformed::TooLong));
        assert_eq!(parse(&[b"AUTH PLAIN ", [b'A'; 4096].as_slice()].concat()).map(|_| ()), Ok(()));
    }
}
