//! Entries as text (RFC 2849), read one by one however long the file is. Only what adds entries is read: a file of
//! changes is refused, and so are values that stand in other files.

use std::io::{self, BufRead};

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Bytes of one entry; the embedded server takes no larger ones.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LdifEntry {
    /// The line its `dn:` stands on, from 1.
    pub line: u64,
    /// Its name.
    pub dn: String,
    /// Attributes in the order of the file, each once.
    pub attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl LdifEntry {
    /// The values of an attribute, in whatever case its name is written.
    #[must_use]
    pub fn values(&self, attribute: &str) -> &[Vec<u8>] {
        let found = self.attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
        found.map_or(&[], |(_, values)| values)
    }

    fn push(&mut self, name: &str, value: Vec<u8>) {
        match self.attributes.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, values)) => values.push(value),
            None => self.attributes.push((name.to_owned(), vec![value])),
        }
    }
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum LdifError {
    /// The file itself.
    #[error("read the file")]
    Io(#[from] io::Error),
    /// A line that is not what RFC 2849 has there.
    #[error("line {line}: {what}")]
    Syntax {
        /// Which one, from 1.
        line: u64,
        /// What is wrong, and what to do.
        what: &'static str,
    },
}

/// Reads entries from a file.
#[derive(Debug)]
pub struct LdifReader<R> {
    file: R,
    /// Lines and bytes read so far, without the one read ahead.
    line: u64,
    offset: u64,
    /// The place in front of the entry read last.
    before: (u64, u64),
    ahead: Option<Vec<u8>>,
}

impl<R: BufRead> LdifReader<R> {
    /// Begins at the file's place, which must be between two entries: `offset` bytes and `line` lines from its beginning.
    pub fn new(file: R, offset: u64, line: u64) -> Self {
        Self { file, line, offset, before: (offset, line), ahead: None }
    }

    /// Bytes and lines of the file up to the end of the last entry read.
    #[must_use]
    pub fn place(&self) -> (u64, u64) {
        (self.offset, self.line)
    }

    /// Bytes and lines of the file up to the beginning of the last entry read.
    #[must_use]
    pub fn place_before(&self) -> (u64, u64) {
        self.before
    }

    /// Reads the next entry; `None` at the end.
    ///
    /// # Errors
    /// See [`LdifError`]; there is no reading on behind one.
    pub fn next_entry(&mut self) -> Result<Option<LdifEntry>, LdifError> {
        self.before = self.place();
        let mut entry = LdifEntry::default();
        let mut bytes = 0;
        loop {
            let Some((line, text)) = self.logical_line()? else {
                return Ok((entry.line > 0).then_some(entry));
            };
            if text.is_empty() {
                if entry.line > 0 {
                    return Ok(Some(entry));
                }
                continue;
            }
            bytes += text.len();
            if bytes > ENTRY_BYTES_MAX {
                return Err(LdifError::Syntax { line, what: "the entry is longer than 1 MiB" });
            }
            read_into(&mut entry, line, &text)?;
        }
    }

    /// One line with those that continue it, comments left out; empty between entries.
    fn logical_line(&mut self) -> Result<Option<(u64, Vec<u8>)>, LdifError> {
        loop {
            let Some(raw) = self.take_line()? else { return Ok(None) };
            let (first, mut text) = (self.line, without_end(&raw).to_vec());
            while let Some(next) = self.take_line()? {
                let Some(rest) = without_end(&next).strip_prefix(b" ") else {
                    self.give_back(next);
                    break;
                };
                if text.len() + rest.len() > ENTRY_BYTES_MAX {
                    return Err(LdifError::Syntax { line: self.line, what: "the value is longer than 1 MiB" });
                }
                text.extend_from_slice(rest);
            }
            if !text.starts_with(b"#") {
                return Ok(Some((first, text)));
            }
        }
    }

    /// One line with its end, or nothing at the end of the file.
    fn take_line(&mut self) -> Result<Option<Vec<u8>>, LdifError> {
        let mut raw = self.ahead.take().unwrap_or_default();
        if raw.is_empty() {
            let limit = ENTRY_BYTES_MAX as u64 + 2;
            io::Read::take(&mut self.file, limit).read_until(b'\n', &mut raw)?;
            if raw.len() as u64 == limit {
                return Err(LdifError::Syntax { line: self.line + 1, what: "the line is longer than 1 MiB" });
            }
        }
        if raw.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        self.offset += raw.len() as u64;
        Ok(Some(raw))
    }

    fn give_back(&mut self, raw: Vec<u8>) {
        self.line -= 1;
        self.offset -= raw.len() as u64;
        self.ahead = Some(raw);
    }
}

fn without_end(raw: &[u8]) -> &[u8] {
    let text = raw.strip_suffix(b"\n").unwrap_or(raw);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// Takes one line into the entry it belongs to: `dn: …` first, then `attribute: value`.
fn read_into(entry: &mut LdifEntry, line: u64, text: &[u8]) -> Result<(), LdifError> {
    let wrong = |what| LdifError::Syntax { line, what };
    let colon = text.iter().position(|byte| *byte == b':').ok_or_else(|| wrong("there is no colon"))?;
    let (name, rest) = text.split_at(colon);
    let name = std::str::from_utf8(name).map_err(|_| wrong("the attribute's name is not text"))?;
    let value = match rest.get(1) {
        Some(b'<') => return Err(wrong("values from other files are not read; put the value here")),
        Some(b':') => {
            let encoded = rest.get(2..).unwrap_or_default().trim_ascii();
            STANDARD.decode(encoded).map_err(|_| wrong("the value is not base64"))?
        }
        _ => rest.get(1..).unwrap_or_default().trim_ascii_start().to_vec(),
    };
    match (entry.line, name.to_ascii_lowercase().as_str()) {
        // The version stands in front of the first entry.
        (0, "version") if value == b"1" => {}
        (0, "version") => return Err(wrong("only version 1 of LDIF is known")),
        (0, "dn") => {
            entry.line = line;
            entry.dn = String::from_utf8(value).map_err(|_| wrong("the name is not UTF-8"))?;
        }
        (0, _) => return Err(wrong("an entry begins with dn:")),
        (_, "changetype") if value.eq_ignore_ascii_case(b"add") => {}
        (_, "changetype") => return Err(wrong("only additions are read; give changes to ldapmodify")),
        (_, "control") => return Err(wrong("controls are not read")),
        (_, "") => return Err(wrong("the attribute has no name")),
        (_, _) => entry.push(name, value),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Result<Vec<LdifEntry>, LdifError> {
        let mut reader = LdifReader::new(text, 0, 0);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            entries.push(entry);
        }
        assert_eq!(reader.place().0, text.len() as u64);
        Ok(entries)
    }

    #[test]
    fn folded_encoded_and_commented_entries_are_read() {
        let text = b"version: 1\r\n\r\n# Eve,\r\n  at work\r\ndn: uid=eve,\r\n dc=example,dc=org\r\ncn:: w4h2ZQ==\r\ncn: Eve\r\n\
                     mail:eve@example.org\r\n\r\n\r\ndn: uid=adam,dc=example,dc=org\nchangetype: add\nCN: Adam\ncn:A\ndescription:";
        let entries = read(text).unwrap();
        let (eve, adam) = (&entries[0], &entries[1]);
        assert_eq!((eve.line, eve.dn.as_str()), (5, "uid=eve,dc=example,dc=org"));
        assert_eq!(eve.values("CN"), ["Ève".as_bytes(), b"Eve"]);
        assert_eq!(eve.values("mail"), [b"eve@example.org"]);
        assert_eq!((adam.line, adam.attributes.len()), (12, 2));
        assert_eq!((adam.values("cn").len(), adam.values("description")), (2, &[Vec::new()][..]));
    }

    #[test]
    fn what_cannot_be_added_is_refused_with_its_line() {
        for (text, line) in [
            ("dn: a=b\nno colon", 2),
            ("cn: x", 1),
            ("\n\ndn: a=b\nx:: !!", 4),
            ("dn: a=b\nchangetype: delete\n", 2),
            ("dn: a=b\njpegPhoto:< file:///etc/passwd\n", 2),
            ("version: 2\n", 1),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(matches!(error, LdifError::Syntax { line: found, .. } if found == line), "{text}: {error}");
        }
        let long = [b"dn: a=b\ncn: ".to_vec(), vec![b'x'; ENTRY_BYTES_MAX + 9]].concat();
        assert!(read(&long).is_err());
        let folded = [b"dn: a=b\ncn: ".to_vec(), b"y\n ".repeat(ENTRY_BYTES_MAX)].concat();
        assert!(read(&folded).is_err());
    }

    #[test]
    fn reading_goes_on_where_it_was_left() {
        let text = b"dn: a=1\ncn: x\n\ndn: a=2\ncn: y\n";
        let mut reader = LdifReader::new(&text[..], 0, 0);
        reader.next_entry().unwrap();
        let (offset, line) = reader.place();
        let mut second = LdifReader::new(&text[usize::try_from(offset).unwrap()..], offset, line);
        let entry = second.next_entry().unwrap().unwrap();
        assert_eq!((entry.dn.as_str(), entry.line), ("a=2", 4));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = LdifReader::new(&bytes[..], 0, 0).next_entry();
        }
    }
}
