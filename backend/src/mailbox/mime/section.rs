//! Sections of a message by number (RFC 9051 §6.4.5.1): `HEADER`, `TEXT`, `1.2`, `3.HEADER.FIELDS (SUBJECT)`.

use std::collections::HashSet;

use super::field::fields;
use super::summary::{Content, Part, Span, Summary};

/// Which part of a section is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// The part itself: `BODY[]`, `BODY[1.2]`.
    Whole,
    /// The header of a message, the outermost or one inside: `HEADER`. Also what `HEADER.FIELDS` selects from.
    Header,
    /// What follows the header of a message: `TEXT`.
    Text,
    /// The header of a part: `1.MIME`.
    Mime,
}

impl Summary {
    /// Where the section lies, or `None` if the message has no such section.
    pub fn section(&self, path: &[u32], kind: SectionKind) -> Option<Span> {
        let part = self.part(path)?;
        match kind {
            SectionKind::Whole if path.is_empty() => Some(Span { start: part.header.start, end: part.body.end }),
            SectionKind::Whole => Some(part.body),
            SectionKind::Header => Some(self.message_at(path)?.header),
            SectionKind::Text => Some(self.message_at(path)?.body),
            SectionKind::Mime => (!path.is_empty()).then_some(part.header),
        }
    }

    /// The part with this number; the message itself for the empty path.
    ///
    /// A message counts as what it consists of: the parts of a multipart, or else itself as part 1
    /// (RFC 9051 §6.4.5.1).
    pub fn part(&self, path: &[u32]) -> Option<&Part> {
        let Some((&first, rest)) = path.split_first() else {
            return Some(&self.structure);
        };
        rest.iter().try_fold(part_of_message(&self.structure, first)?, |part, &number| match &part.content {
            Content::Multipart(parts) => nth(parts, number),
            Content::Message(inner) => part_of_message(&inner.1, number),
            Content::Leaf => None,
        })
    }

    /// The message that a path leads to: the outermost, or the one inside a `message/rfc822`.
    fn message_at(&self, path: &[u32]) -> Option<&Part> {
        if path.is_empty() {
            return Some(&self.structure);
        }
        match &self.part(path)?.content {
            Content::Message(inner) => Some(&inner.1),
            Content::Leaf | Content::Multipart(_) => None,
        }
    }
}

fn part_of_message(message: &Part, number: u32) -> Option<&Part> {
    match &message.content {
        Content::Multipart(parts) => nth(parts, number),
        Content::Leaf | Content::Message(_) => (number == 1).then_some(message),
    }
}

fn nth(parts: &[Part], number: u32) -> Option<&Part> {
    parts.get((number as usize).checked_sub(1)?)
}

/// The fields of a header with these names, or, `without` them, all others; as `HEADER.FIELDS` and `HEADER.FIELDS.NOT`
/// send them: unchanged, in their order, with the empty line at the end (RFC 9051 §6.4.5.1).
pub fn header_fields(header: &[u8], names: &[&str], without: bool) -> Vec<u8> {
    let names: HashSet<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_ascii_lowercase()).collect();
    let mut selected = Vec::new();
    for field in fields(header) {
        if names.contains(&field.name.to_ascii_lowercase()) != without {
            selected.extend_from_slice(field.lines);
        }
    }
    if !selected.is_empty() && !selected.ends_with(b"\n") {
        selected.extend_from_slice(b"\r\n");
    }
    selected.extend_from_slice(b"\r\n");
    selected
}

#[cfg(test)]
mod tests {
    use super::super::walk::summarise;
    use super::*;

    /// The example of RFC 9051 §6.4.5.1, as a message.
    const NESTED: &str = "Subject: top\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n\
        --a\r\nContent-Type: text/plain\r\n\r\none\r\n\
        --a\r\nContent-Type: application/octet-stream\r\n\r\ntwo\r\n\
        --a\r\nContent-Type: message/rfc822\r\n\r\n\
        Subject: three\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\n\r\nthree.one\r\n--b\r\nX: y\r\n\r\nthree.two\r\n--b--\r\n\
        --a\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n\
        --c\r\nContent-Type: image/gif\r\n\r\nfour.one\r\n\
        --c\r\nContent-Type: message/rfc822\r\n\r\nSubject: four.two\r\n\r\nfour.two.one\r\n--c--\r\n--a--\r\n";

    fn section(path: &[u32], kind: SectionKind) -> Option<&'static str> {
        Some(&NESTED[summarise(NESTED.as_bytes()).section(path, kind)?.range()])
    }

    #[test]
    fn sections_have_the_numbers_of_the_standard() {
        use SectionKind::{Header, Mime, Text, Whole};
        assert_eq!(section(&[], Whole), Some(NESTED));
        assert_eq!(section(&[], Header).unwrap().len() + section(&[], Text).unwrap().len(), NESTED.len());
        assert_eq!(section(&[1], Whole), Some("one"));
        assert_eq!(section(&[1], Mime), Some("Content-Type: text/plain\r\n\r\n"));
        assert_eq!(section(&[2], Whole), Some("two"));
        assert_eq!(section(&[3], Header), Some("Subject: three\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"));
        assert!(section(&[3], Text).unwrap().starts_with("--b") && section(&[3], Text).unwrap().ends_with("--b--"));
        assert_eq!(section(&[3, 1], Whole), Some("three.one"));
        assert_eq!(section(&[3, 1], Mime), Some("\r\n"));
        assert_eq!(section(&[3, 2], Whole), Some("three.two"));
        assert_eq!(section(&[4, 1], Whole), Some("four.one"));
        assert_eq!(section(&[4, 2], Header), Some("Subject: four.two\r\n\r\n"));
        assert_eq!(section(&[4, 2], Text), Some("four.two.one"));
        assert_eq!(section(&[4, 2, 1], Whole), Some("four.two.one"));
    }

    #[test]
    fn sections_that_are_not_there_are_none() {
        for path in [&[0][..], &[5], &[1, 1], &[3, 3], &[4, 2, 2], &[u32::MAX]] {
            assert_eq!(section(path, SectionKind::Whole), None, "{path:?}");
        }
        assert_eq!(section(&[1], SectionKind::Header), None);
        assert_eq!(section(&[4], SectionKind::Text), None);
        assert_eq!(section(&[], SectionKind::Mime), None);
    }

    #[test]
    fn a_plain_message_is_its_own_part_one() {
        let message = b"Subject: x\r\n\r\nbody";
        let summary = summarise(message);
        assert_eq!(&message[summary.section(&[1], SectionKind::Whole).unwrap().range()], b"body");
        assert_eq!(summary.section(&[1], SectionKind::Header), None);
        assert_eq!(summary.section(&[1, 1], SectionKind::Whole), None);
        assert_eq!(summary.section(&[2], SectionKind::Whole), None);
    }

    #[test]
    fn fields_are_selected_as_they_are() {
        let header = b"From: a\r\nSUBJECT : b\r\n folded\r\nno field\r\nFrom: c\r\n\r\nbody";
        assert_eq!(header_fields(header, &["subject", "x"], false), b"SUBJECT : b\r\n folded\r\n\r\n");
        assert_eq!(header_fields(header, &["Subject"], true), b"From: a\r\nno field\r\nFrom: c\r\n\r\n");
        assert_eq!(header_fields(b"A: b", &["a"], false), b"A: b\r\n\r\n");
        assert_eq!(header_fields(header, &[], false), b"\r\n");
    }
}
