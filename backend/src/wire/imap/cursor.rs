//! Walks over one command: the tokens of RFC 3501 §9.
//!
//! No token can run over a literal: its marker begins with `{`, which ends every atom, and CR,
//! which no quoted string may hold.

use bytes::Bytes;

use super::read::Raw;

/// Parentheses within parentheses in one command. The deepest any command needs is 4; search
/// programs of real clients stay below 8.
pub const NESTING_MAX: usize = 16;

/// A command that is not one, with a text that may be shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Bad(pub &'static str);

/// The result of every parser here.
pub type Parsed<T> = Result<T, Bad>;

/// A position in a command.
#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    literals: std::slice::Iter<'a, Bytes>,
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `raw`.
    pub fn new(raw: &'a Raw) -> Cursor<'a> {
        Cursor { text: &raw.text, at: 0, literals: raw.literals.iter(), depth: 0 }
    }

    /// The next byte, not taken.
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Takes `byte` if it is next.
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes `byte`, which must be next.
    pub fn expect(&mut self, byte: u8, otherwise: &'static str) -> Parsed<()> {
        if self.take(byte) { Ok(()) } else { Err(Bad(otherwise)) }
    }

    /// Takes the one space between arguments.
    pub fn space(&mut self) -> Parsed<()> {
        self.expect(b' ', "missing argument")
    }

    /// Checks that the command is over.
    pub fn end(&self) -> Parsed<()> {
        if self.at == self.text.len() { Ok(()) } else { Err(Bad("unexpected characters after the command")) }
    }

    /// Takes `(`, within the nesting limit; every one needs its [`Cursor::close`].
    pub fn open(&mut self) -> Parsed<()> {
        self.expect(b'(', "expected (")?;
        self.deepen()
    }

    /// Takes `)`.
    pub fn close(&mut self) -> Parsed<()> {
        self.expect(b')', "expected )")?;
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    fn deepen(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(Bad("too many nested parentheses"));
        }
        Ok(())
    }

    /// Takes `(item item …)`, which may be empty.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.open()?;
        let mut items = Vec::new();
        while self.peek() != Some(b')') {
            if !items.is_empty() {
                self.space()?;
            }
            items.push(item(self)?);
        }
        self.close()?;
        Ok(items)
    }

    /// Takes `(item item …)` with at least one item.
    pub fn list1<T>(&mut self, item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let items = self.list(item)?;
        if items.is_empty() {
            return Err(Bad("empty list"));
        }
        Ok(items)
    }

    /// Takes the bytes for which `belongs` holds, perhaps none.
    pub fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| !belongs(*byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// Takes an atom.
    pub fn atom(&mut self) -> Parsed<&'a str> {
        self.word(is_atom_byte, "expected an atom")
    }

    /// Takes a command name, data item name or the like: letters, digits and `. - _ =`.
    pub fn keyword(&mut self) -> Parsed<&'a str> {
        let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b".-_=".contains(&byte);
        self.word(belongs, "expected a keyword")
    }

    /// Takes `keyword`, whatever its case, if it is next and ends there.
    pub fn take_keyword(&mut self, keyword: &str) -> bool {
        let start = self.at;
        let found = self.keyword().is_ok_and(|word| word.eq_ignore_ascii_case(keyword));
        if !found {
            self.at = start;
        }
        found
    }

    fn word(&mut self, belongs: impl Fn(u8) -> bool, otherwise: &'static str) -> Parsed<&'a str> {
        let word = self.run(belongs);
        match std::str::from_utf8(word) {
            Ok(word) if !word.is_empty() => Ok(word),
            Ok(_) | Err(_) => Err(Bad(otherwise)),
        }
    }

    /// Takes `number`: 0 to 2^32 - 1.
    pub fn number(&mut self) -> Parsed<u32> {
        let number = self.number64()?;
        u32::try_from(number).map_err(|_| Bad("number too large"))
    }

    /// Takes a number of up to 63 bits (RFC 7162 §7, `mod-sequence-value`).
    pub fn number64(&mut self) -> Parsed<u64> {
        let digits = self.word(|byte| byte.is_ascii_digit(), "expected a number")?;
        digits.parse().ok().filter(|number| *number <= i64::MAX as u64).ok_or(Bad("number too large"))
    }

    /// Takes `astring`: an atom (with `]`), a quoted string or a literal.
    pub fn astring(&mut self) -> Parsed<Bytes> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => {
                let word = self.word(is_astring_byte, "expected a string")?;
                Ok(Bytes::copy_from_slice(word.as_bytes()))
            }
        }
    }

    /// Takes `list-mailbox`: an astring that may hold wildcards.
    pub fn pattern(&mut self) -> Parsed<Bytes> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => {
                let belongs = |byte: u8| is_astring_byte(byte) || byte == b'%' || byte == b'*';
                let word = self.word(belongs, "expected a mailbox pattern")?;
                Ok(Bytes::copy_from_slice(word.as_bytes()))
            }
        }
    }

    /// Takes `nstring`: a string or NIL.
    pub fn nstring(&mut self) -> Parsed<Option<Bytes>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string().map(Some),
            _ if self.take_keyword("NIL") => Ok(None),
            _ => Err(Bad("expected a string or NIL")),
        }
    }

    /// Takes `string`: quoted or literal.
    pub fn string(&mut self) -> Parsed<Bytes> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            _ => Err(Bad("expected a string")),
        }
    }

    fn quoted(&mut self) -> Parsed<Bytes> {
        self.expect(b'"', "expected a quoted string")?;
        let mut content = Vec::new();
        loop {
            content.extend_from_slice(self.run(is_quoted_byte));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Bytes::from(content));
                }
                Some(b'\\') => {
                    self.at += 1;
                    content.push(self.escaped()?);
                }
                // CR, LF and NUL, or the end (RFC 3501 §9, TEXT-CHAR).
                _ => return Err(Bad("unterminated quoted string")),
            }
        }
    }

    /// `quoted-specials` are the only bytes that may be escaped.
    fn escaped(&mut self) -> Parsed<u8> {
        let byte = self.peek().filter(|byte| matches!(byte, b'"' | b'\\'));
        self.at += 1;
        byte.ok_or(Bad("only \" and \\ may be escaped"))
    }

    /// Takes a literal: its marker in the text, its bytes beside it.
    pub fn literal(&mut self) -> Parsed<Bytes> {
        self.expect(b'{', "expected a literal")?;
        self.run(|byte| byte.is_ascii_digit() || byte == b'+');
        self.expect(b'}', "expected a literal")?;
        self.expect(b'\r', "expected a literal")?;
        self.expect(b'\n', "expected a literal")?;
        let literal = self.literals.next().ok_or(Bad("expected a literal"))?;
        Ok(literal.clone())
    }
}

/// `ATOM-CHAR` (RFC 3501 §9): no controls, no 8-bit, no atom-specials.
pub fn is_atom_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !b"(){%*\"\\]".contains(&byte)
}

/// `ASTRING-CHAR`: an atom's, or `]`.
pub fn is_astring_byte(byte: u8) -> bool {
    is_atom_byte(byte) || byte == b']'
}

/// What may stand in a quoted string unescaped. Bytes above 127 are none of RFC 3501's, but
/// clients send UTF-8 there (RFC 6855 §3); whoever uses the string judges them.
fn is_quoted_byte(byte: u8) -> bool {
    !matches!(byte, 0 | b'\r' | b'\n' | b'"' | b'\\')
}
