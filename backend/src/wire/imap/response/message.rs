//! What FETCH tells of a message, but for its bytes (RFC 3501 §7.4.2).

use super::text::{print, string};
use crate::mailbox::{Flags, InternalDate, UidSet};
use crate::wire::imap::command::{CivilDate, Label, MONTHS, Section, SectionText};

/// Whether `\Recent` is among a message's flags in this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recency {
    /// It is.
    Recent,
    /// It is not.
    Old,
}

/// Writes `FLAGS (…)`.
pub fn flags(out: &mut Vec<u8>, flags: &Flags, recency: Recency) {
    let recent = match (recency, flags.is_empty()) {
        (Recency::Old, _) => "",
        (Recency::Recent, true) => "\\Recent",
        (Recency::Recent, false) => " \\Recent",
    };
    print(out, format_args!("FLAGS ({flags}{recent})"));
}

/// Writes `INTERNALDATE "…"` or the like, in the zone the date was told in.
pub fn date(out: &mut Vec<u8>, item: &str, date: InternalDate) {
    let local = date.at.0 + i64::from(date.offset_minutes) * 60;
    let day = CivilDate::from_unix_days(local.div_euclid(86_400));
    let seconds = local.rem_euclid(86_400);
    let sign = if date.offset_minutes < 0 { '-' } else { '+' };
    let offset = date.offset_minutes.unsigned_abs();
    let month = MONTHS.get(usize::from(day.month) - 1).unwrap_or(&"Jan");
    print(
        out,
        format_args!(
            "{item} \"{:2}-{month}-{:04} {:02}:{:02}:{:02} {sign}{:02}{:02}\"",
            day.day,
            day.year,
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            offset / 60,
            offset % 60,
        ),
    );
}

/// Ranges in one VANISHED response; more of them make more responses.
const VANISHED_RANGES_MAX: usize = 1000;

/// Writes `* VANISHED uids`, or `* VANISHED (EARLIER) uids` (RFC 7162 §3.2.10); nothing for no UIDs.
pub fn vanished(out: &mut Vec<u8>, earlier: &str, uids: &UidSet) {
    for ranges in uids.ranges().chunks(VANISHED_RANGES_MAX) {
        let uids: UidSet = ranges.iter().copied().collect();
        print(out, format_args!("* VANISHED {earlier}{uids}\r\n"));
    }
}

/// Writes the name under which bytes are answered: without `.PEEK`, and of a partial fetch only
/// the offset (RFC 3501 §7.4.2).
pub fn section_label(out: &mut Vec<u8>, section: &Section) {
    match section.label {
        Label::Rfc822 => return out.extend_from_slice(b"RFC822"),
        Label::Rfc822Header => return out.extend_from_slice(b"RFC822.HEADER"),
        Label::Rfc822Text => return out.extend_from_slice(b"RFC822.TEXT"),
        Label::Body => out.extend_from_slice(b"BODY["),
    }
    for (index, number) in section.part.iter().enumerate() {
        let dot = if index == 0 { "" } else { "." };
        print(out, format_args!("{dot}{number}"));
    }
    if !section.part.is_empty() && section.text != SectionText::Whole {
        out.push(b'.');
    }
    section_text(out, &section.text);
    out.push(b']');
    if let Some(partial) = section.partial {
        print(out, format_args!("<{}>", partial.offset));
    }
}

fn section_text(out: &mut Vec<u8>, text: &SectionText) {
    let (name, fields) = match text {
        SectionText::Whole => return,
        SectionText::Header => ("HEADER", None),
        SectionText::HeaderFields(fields) => ("HEADER.FIELDS", Some(fields)),
        SectionText::HeaderFieldsNot(fields) => ("HEADER.FIELDS.NOT", Some(fields)),
        SectionText::Text => ("TEXT", None),
        SectionText::Mime => ("MIME", None),
    };
    out.extend_from_slice(name.as_bytes());
    for (index, field) in fields.into_iter().flatten().enumerate() {
        out.extend_from_slice(if index == 0 { b" (" } else { b" " });
        field_name(out, field);
    }
    if fields.is_some() {
        out.push(b')');
    }
}

/// Field names are printable and hold no colon; most are atoms.
fn field_name(out: &mut Vec<u8>, field: &[u8]) {
    match field.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)) {
        true => out.extend_from_slice(field),
        false => string(out, field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Timestamp;

    #[test]
    fn the_internal_date_is_told_in_its_own_zone() {
        let mut out = Vec::new();
        let date = InternalDate { at: Timestamp(760_686_745), offset_minutes: -480 };
        super::date(&mut out, "INTERNALDATE", date);
        assert_eq!(out, b"INTERNALDATE \" 7-Feb-1994 21:52:25 -0800\"");
    }
}
