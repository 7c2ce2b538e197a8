//! IMAP commands before login: tags, strings, and what may be said (RFC 9051 §6.1, §6.2, §9).

use laniakea_directory::Secret;

use super::claims::Claims;

/// Longest tag; clients use four or so.
const TAG_BYTES_MAX: usize = 64;
/// Fields of one ID command (RFC 2971 §3.3 allows 30 pairs).
const ID_STRINGS_MAX: usize = 60;

/// A command that may come before login.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `CAPABILITY`
    Capability,
    /// `NOOP`
    Noop,
    /// `LOGOUT`
    Logout,
    /// `STARTTLS`
    StartTls,
    /// `ID` (RFC 2971); what a client says of itself is not kept, what a proxy says of its client is.
    Id(Box<Claims>),
    /// `LOGIN`
    Login {
        /// The name, any bytes a string may hold.
        name: Vec<u8>,
        /// The password.
        secret: Secret,
    },
    /// `AUTHENTICATE`
    Authenticate {
        /// The mechanism, in upper case.
        mechanism: String,
        /// The initial response, still encoded (RFC 4959).
        initial: Option<Vec<u8>>,
    },
    /// A command that needs a login, or that nobody knows; its arguments were not read.
    Other,
}

/// A command that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed command")]
pub struct Malformed {
    /// Its tag, if that much could be read.
    pub tag: Option<String>,
}

/// Reads a whole command, its literals in place.
///
/// # Errors
///
/// If it breaks the grammar.
pub fn parse(command: &[u8]) -> Result<(String, Command), Malformed> {
    let mut words = Words(command);
    let tag = words.tag().ok_or(Malformed { tag: None })?;
    match words.command() {
        Some(command) => Ok((tag, command)),
        None => Err(Malformed { tag: Some(tag) }),
    }
}

/// Finds the tag of a command that was not collected whole.
#[must_use]
pub fn tag_of(command: &[u8]) -> Option<String> {
    Words(command).tag()
}

/// What is left of a command. Each method reads one thing, or returns `None` where the grammar is broken.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// `tag = 1*<any ASTRING-CHAR except "+">`, and the space behind it.
    fn tag(&mut self) -> Option<String> {
        let tag = self.take_while(|byte| is_astring_char(byte) && byte != b'+');
        let tag = String::from_utf8(tag.to_vec()).ok()?;
        (!tag.is_empty() && tag.len() <= TAG_BYTES_MAX && self.eat(b' ')).then_some(tag)
    }

    fn command(&mut self) -> Option<Command> {
        let name = self.atom()?.to_ascii_uppercase();
        match name.as_slice() {
            b"CAPABILITY" => self.end(Command::Capability),
            b"NOOP" => self.end(Command::Noop),
            b"LOGOUT" => self.end(Command::Logout),
            b"STARTTLS" => self.end(Command::StartTls),
            b"ID" => self.id(),
            b"LOGIN" => self.login(),
            b"AUTHENTICATE" => self.authenticate(),
            _ => Some(Command::Other),
        }
    }

    /// `"LOGIN" SP userid SP password`, both astrings.
    fn login(&mut self) -> Option<Command> {
        let name = self.argument(Self::astring)?;
        let secret = Secret::new(self.argument(Self::astring)?);
        self.end(Command::Login { name, secret })
    }

    /// `"AUTHENTICATE" SP auth-type [SP initial-resp]`.
    fn authenticate(&mut self) -> Option<Command> {
        let mechanism = self.argument(Self::atom)?.to_ascii_uppercase();
        let mechanism = String::from_utf8(mechanism).ok()?;
        let initial = if self.eat(b' ') { Some(std::mem::take(&mut self.0).to_vec()) } else { None };
        self.end(Command::Authenticate { mechanism, initial })
    }

    /// `"ID" SP ("NIL" / "(" [string SP nstring *(SP string SP nstring)] ")")`.
    fn id(&mut self) -> Option<Command> {
        if !self.eat(b' ') {
            return None;
        }
        if !self.eat(b'(') {
            let nil = self.atom()?;
            return if nil.eq_ignore_ascii_case(b"NIL") { self.end(Command::Id(Box::default())) } else { None };
        }
        let mut claims = Box::<Claims>::default();
        let (mut strings, mut field) = (0, None::<Vec<u8>>);
        while !self.eat(b')') {
            if strings > ID_STRINGS_MAX || (strings > 0 && !self.eat(b' ')) {
                return None;
            }
            let string = self.astring()?;
            strings += 1;
            match field.take() {
                Some(field) => claims.on_id(field.as_slice(), &string),
                None => field = Some(string),
            }
        }
        self.end(Command::Id(claims))
    }

    fn argument<T>(&mut self, read: fn(&mut Self) -> Option<T>) -> Option<T> {
        if self.eat(b' ') { read(self) } else { None }
    }

    /// `astring = 1*ASTRING-CHAR / string`.
    fn astring(&mut self) -> Option<Vec<u8>> {
        match self.0.first()? {
            b'"' => self.quoted(),
            b'{' => self.literal(),
            _ => {
                let text = self.take_while(is_astring_char);
                (!text.is_empty()).then(|| text.to_vec())
            }
        }
    }

    /// `quoted = DQUOTE *QUOTED-CHAR DQUOTE`; only `"` and `\` may follow a backslash.
    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let mut bytes = self.0.iter().enumerate().skip(1);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.0 = self.0.get(at + 1..)?;
                    return Some(text);
                }
                b'\\' => text.push(*bytes.next().map(|(_, byte)| byte).filter(|byte| matches!(byte, b'"' | b'\\'))?),
                b'\r' | b'\n' | 0 => return None,
                byte => text.push(*byte),
            }
        }
        None
    }

    /// `literal = "{" number64 ["+"] "}" CRLF *CHAR8`; a NUL is no CHAR8.
    fn literal(&mut self) -> Option<Vec<u8>> {
        let end = memchr::memmem::find(self.0, b"}\r\n")?;
        let digits = self.0.get(1..end)?;
        let digits = digits.strip_suffix(b"+").unwrap_or(digits);
        let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (text, rest) = self.0.get(end + 3..)?.split_at_checked(length)?;
        self.0 = rest;
        (!text.contains(&0)).then(|| text.to_vec())
    }

    fn atom(&mut self) -> Option<&'a [u8]> {
        let atom = self.take_while(|byte| is_astring_char(byte) && byte != b']');
        (!atom.is_empty()).then_some(atom)
    }

    fn end(&self, command: Command) -> Option<Command> {
        self.0.is_empty().then_some(command)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn take_while(&mut self, is_part: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.0.iter().position(|byte| !is_part(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}

/// `ASTRING-CHAR = ATOM-CHAR / resp-specials`: printable ASCII without `( ) { SP % * " \`.
fn is_astring_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"(){%*\"\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(name: &str, password: &str) -> Command {
        Command::Login { name: name.into(), secret: Secret::new(password.into()) }
    }

    fn parsed(text: &str) -> Command {
        let (tag, command) = parse(text.as_bytes()).unwrap();
        assert_eq!(tag, "a1");
        command
    }

    #[test]
    fn login_takes_atoms_quoted_strings_and_literals() {
        assert_eq!(parsed("a1 LOGIN eve@example.org wonder]"), login("eve@example.org", "wonder]"));
        assert_eq!(parsed(r#"a1 login "eve x" "a\"b\\c""#), login("eve x", r#"a"b\c"#));
        assert_eq!(parsed("a1 Login {3}\r\neve {8+}\r\nwo nd\"er"), login("eve", "wo nd\"er"));
        assert_eq!(parsed("a1 LOGIN {5}\r\na\r\nb! \"\""), login("a\r\nb!", ""));
    }

    #[test]
    fn broken_strings_are_malformed() {
        for text in [
            "a1 LOGIN",
            "a1 LOGIN eve",
            "a1 LOGIN eve ",
            "a1 LOGIN  eve x",
            "a1 LOGIN eve x ",
            "a1 LOGIN eve \"x",
            r#"a1 LOGIN eve "\x""#,
            "a1 LOGIN (eve) x",
            "a1 LOGIN * x",
            "a1 LOGIN {4}\r\neve x",
            "a1 LOGIN {3}\r\ne\0e x",
            "a1 NOOP x",
            "a1 ID",
            "a1 ID (\"name\"",
            "a1 ",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Malformed { tag: Some("a1".into()) }), "{text}");
        }
        for text in ["", " ", "a1", "+ NOOP", "\"a1\" NOOP", "a+1 NOOP", "a\u{e9} NOOP"] {
            assert_eq!(parse(text.as_bytes()), Err(Malformed { tag: None }), "{text}");
        }
    }

    #[test]
    fn a_tag_has_a_limit() {
        assert!(parse([&[b'a'; 64][..], b" NOOP"].concat().as_slice()).is_ok());
        assert!(parse([&[b'a'; 65][..], b" NOOP"].concat().as_slice()).is_err());
    }

    #[test]
    fn authenticate_keeps_the_initial_response_encoded() {
        let authenticate = |initial: Option<&str>| Command::Authenticate {
            mechanism: "PLAIN".into(),
            initial: initial.map(|text| text.as_bytes().to_vec()),
        };
        assert_eq!(parsed("a1 AUTHENTICATE plain"), authenticate(None));
        assert_eq!(parsed("a1 AUTHENTICATE PLAIN ="), authenticate(Some("=")));
        assert_eq!(parsed("a1 AUTHENTICATE PLAIN AGEAYg=="), authenticate(Some("AGEAYg==")));
    }

    #[test]
    fn id_is_read_and_what_a_proxy_says_is_kept() {
        assert_eq!(parsed("a1 ID NIL"), Command::Id(Box::default()));
        assert_eq!(parsed("a1 ID ()"), Command::Id(Box::default()));
        assert_eq!(parsed(r#"a1 ID ("name" "x y" "version" NIL)"#), Command::Id(Box::default()));
        let Command::Id(claims) = parsed(r#"a1 ID ("x-proxy-ttl" "2" "x-originating-ip" "192.0.2.1")"#) else {
            panic!()
        };
        assert_eq!((claims.ttl, claims.client), (Some(2), Some("192.0.2.1".parse().unwrap())));
    }

    #[test]
    fn commands_for_later_are_not_read() {
        assert_eq!(parsed("a1 SELECT INBOX"), Command::Other);
        assert_eq!(parsed("a1 SEARCH ((((("), Command::Other);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
            let _ = parse(&[b"a1 LOGIN ", bytes.as_slice()].concat());
        }
    }
}
