//! `FETCH`: which messages, and what of each (RFC 3501 §6.4.5).

use bytes::Bytes;

use super::Numbering;
use crate::wire::imap::cursor::{Bad, Cursor, Parsed};
use crate::wire::imap::sequence::SequenceSet;

/// Items of one FETCH. Clients that ask for many sections ask for some dozens.
const ITEMS_MAX: usize = 256;
/// Numbers in a section's part path; no message we parse is deeper.
const PART_DEPTH_MAX: usize = 64;
/// Header fields in one section, and the length of their names together.
const FIELDS_MAX: usize = 256;

/// `FETCH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// What the set's numbers are.
    pub numbering: Numbering,
    /// Which messages.
    pub set: SequenceSet,
    /// What of each, macros spelt out.
    pub items: Vec<FetchItem>,
    /// `CHANGEDSINCE` (RFC 7162 §3.1.4.1).
    pub changed_since: Option<u64>,
    /// `VANISHED`: which of the messages are gone since (RFC 7162 §3.2.6).
    pub vanished: bool,
}

/// One thing to tell of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchItem {
    /// `FLAGS`.
    Flags,
    /// `UID`.
    Uid,
    /// `INTERNALDATE`.
    InternalDate,
    /// `RFC822.SIZE`.
    Size,
    /// `MODSEQ` (RFC 7162 §3.1.4).
    ModSeq,
    /// `SAVEDATE` (RFC 8514 §4.2).
    SaveDate,
    /// `EMAILID` (RFC 8474 §5.1).
    EmailId,
    /// `THREADID`, which we do not have and say so (RFC 8474 §5.2).
    ThreadId,
    /// `ENVELOPE`.
    Envelope,
    /// `BODY`: the structure without extension data.
    Body,
    /// `BODYSTRUCTURE`: the structure with it.
    BodyStructure,
    /// Bytes of the message.
    Section(Section),
}

/// Bytes of a message, and how they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The item's name in the answer.
    pub label: Label,
    /// Which part: the numbers in front of the text; empty for the message itself.
    pub part: Vec<u32>,
    /// Which text of that part.
    pub text: SectionText,
    /// Which bytes of that text.
    pub partial: Option<Partial>,
    /// Whether `\Seen` stays as it is.
    pub peek: bool,
}

/// The names under which bytes of a message can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// `BODY[…]` and `BODY.PEEK[…]`.
    Body,
    /// `RFC822`, which is `BODY[]`.
    Rfc822,
    /// `RFC822.HEADER`, which is `BODY.PEEK[HEADER]`.
    Rfc822Header,
    /// `RFC822.TEXT`, which is `BODY[TEXT]`.
    Rfc822Text,
}

/// Which text of a part (RFC 3501 §9, `section-text`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionText {
    /// All of it.
    Whole,
    /// `HEADER`.
    Header,
    /// `HEADER.FIELDS (…)`: the names as the client spelt them.
    HeaderFields(Vec<Bytes>),
    /// `HEADER.FIELDS.NOT (…)`.
    HeaderFieldsNot(Vec<Bytes>),
    /// `TEXT`.
    Text,
    /// `MIME`.
    Mime,
}

/// `<offset.length>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// The first byte.
    pub offset: u32,
    /// How many at most; at least 1.
    pub length: u32,
}

impl Fetch {
    pub(super) fn parse(numbering: Numbering, cursor: &mut Cursor<'_>) -> Parsed<Fetch> {
        cursor.space()?;
        let set = SequenceSet::parse(cursor)?;
        cursor.space()?;
        let mut items = parse_items(cursor)?;
        let (mut changed_since, mut vanished) = (None, false);
        if cursor.take(b' ') {
            cursor.list1(|cursor| {
                match cursor.take_keyword("VANISHED") {
                    true => vanished = true,
                    false => changed_since = Some(parse_changed_since(cursor)?),
                }
                Ok(())
            })?;
        }
        // RFC 7162 §3.2.6.
        if vanished && (changed_since.is_none() || numbering == Numbering::Sequence) {
            return Err(Bad("VANISHED goes with UID FETCH and CHANGEDSINCE alone"));
        }
        let implied = [
            // RFC 3501 §6.4.8: UID FETCH tells the UID, asked for or not.
            (numbering == Numbering::Uid).then_some(FetchItem::Uid),
            // RFC 7162 §3.1.4.1: so does CHANGEDSINCE the mod-sequence.
            changed_since.is_some().then_some(FetchItem::ModSeq),
        ];
        for item in implied.into_iter().flatten() {
            if !items.contains(&item) {
                items.insert(0, item);
            }
        }
        Ok(Fetch { numbering, set, items, changed_since, vanished })
    }
}

fn parse_changed_since(cursor: &mut Cursor<'_>) -> Parsed<u64> {
    if !cursor.take_keyword("CHANGEDSINCE") {
        return Err(Bad("unknown FETCH modifier"));
    }
    cursor.space()?;
    cursor.number64()
}

/// One item, a macro, or a list of items. Items given twice are told once.
fn parse_items(cursor: &mut Cursor<'_>) -> Parsed<Vec<FetchItem>> {
    use FetchItem::{Body, Envelope, Flags, InternalDate, Size};
    if cursor.peek() != Some(b'(') {
        let macros = [
            ("ALL", vec![Flags, InternalDate, Size, Envelope]),
            ("FAST", vec![Flags, InternalDate, Size]),
            ("FULL", vec![Flags, InternalDate, Size, Envelope, Body]),
        ];
        for (name, items) in macros {
            if cursor.take_keyword(name) {
                return Ok(items);
            }
        }
        return Ok(vec![FetchItem::parse(cursor)?]);
    }
    let mut items = Vec::new();
    cursor.list1(|cursor| {
        let item = FetchItem::parse(cursor)?;
        if items.len() == ITEMS_MAX {
            return Err(Bad("too many FETCH items"));
        }
        if !items.contains(&item) {
            items.push(item);
        }
        Ok(())
    })?;
    Ok(items)
}

impl FetchItem {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<FetchItem> {
        let name = cursor.keyword()?.to_ascii_uppercase();
        let bytes = |label, text, peek| {
            let part = Vec::new();
            FetchItem::Section(Section { label, part, text, partial: None, peek })
        };
        Ok(match name.as_str() {
            "FLAGS" => FetchItem::Flags,
            "UID" => FetchItem::Uid,
            "INTERNALDATE" => FetchItem::InternalDate,
            "RFC822.SIZE" => FetchItem::Size,
            "MODSEQ" => FetchItem::ModSeq,
            "SAVEDATE" => FetchItem::SaveDate,
            "EMAILID" => FetchItem::EmailId,
            "THREADID" => FetchItem::ThreadId,
            "ENVELOPE" => FetchItem::Envelope,
            "BODYSTRUCTURE" => FetchItem::BodyStructure,
            "RFC822" => bytes(Label::Rfc822, SectionText::Whole, false),
            "RFC822.HEADER" => bytes(Label::Rfc822Header, SectionText::Header, true),
            "RFC822.TEXT" => bytes(Label::Rfc822Text, SectionText::Text, false),
            "BODY.PEEK" => FetchItem::Section(Section::parse(cursor, true)?),
            "BODY" if cursor.peek() == Some(b'[') => FetchItem::Section(Section::parse(cursor, false)?),
            "BODY" => FetchItem::Body,
            _ => return Err(Bad("unknown FETCH item")),
        })
    }
}

impl Section {
    /// Takes `[…]` and perhaps `<…>`.
    fn parse(cursor: &mut Cursor<'_>, peek: bool) -> Parsed<Section> {
        cursor.expect(b'[', "expected a section")?;
        let part = parse_part(cursor)?;
        let text = parse_text(cursor, &part)?;
        cursor.expect(b']', "expected ]")?;
        let partial = match cursor.peek() {
            Some(b'<') => Some(Partial::parse(cursor)?),
            _ => None,
        };
        Ok(Section { label: Label::Body, part, text, partial, peek })
    }
}

/// The numbers of a section, with the dot that ends them where a text follows.
fn parse_part(cursor: &mut Cursor<'_>) -> Parsed<Vec<u32>> {
    let mut part = Vec::new();
    while cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        let number = cursor.number()?;
        if number == 0 || part.len() == PART_DEPTH_MAX {
            return Err(Bad("no such part number"));
        }
        part.push(number);
        if !cursor.take(b'.') {
            return match cursor.peek() {
                Some(b']') => Ok(part),
                _ => Err(Bad("expected a part number")),
            };
        }
        if cursor.peek() == Some(b']') {
            return Err(Bad("expected a part number"));
        }
    }
    Ok(part)
}

fn parse_text(cursor: &mut Cursor<'_>, part: &[u32]) -> Parsed<SectionText> {
    if cursor.peek() == Some(b']') {
        return Ok(SectionText::Whole);
    }
    Ok(match cursor.keyword()?.to_ascii_uppercase().as_str() {
        "HEADER" => SectionText::Header,
        "HEADER.FIELDS" => SectionText::HeaderFields(parse_fields(cursor)?),
        "HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(parse_fields(cursor)?),
        "TEXT" => SectionText::Text,
        // RFC 3501 §6.4.5: MIME MUST be prefixed by numbers.
        "MIME" if !part.is_empty() => SectionText::Mime,
        _ => return Err(Bad("unknown section")),
    })
}

fn parse_fields(cursor: &mut Cursor<'_>) -> Parsed<Vec<Bytes>> {
    cursor.space()?;
    let fields = cursor.list1(Cursor::astring)?;
    if fields.len() > FIELDS_MAX {
        return Err(Bad("too many header fields"));
    }
    let is_name =
        |field: &Bytes| !field.is_empty() && field.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':');
    match fields.iter().all(is_name) {
        true => Ok(fields),
        false => Err(Bad("not a header field name")),
    }
}

impl Partial {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Partial> {
        cursor.expect(b'<', "expected <")?;
        let offset = cursor.number()?;
        cursor.expect(b'.', "expected a length")?;
        let length = cursor.number()?;
        cursor.expect(b'>', "expected >")?;
        // RFC 3501 §9: `nz-number`.
        match length {
            0 => Err(Bad("a partial fetch of nothing")),
            length => Ok(Partial { offset, length }),
        }
    }
}
