//! Header fields: where each begins and ends, and what it says on one line (RFC 5322 §2.2).

use super::octets::Octets;

/// One field of a header, or a line that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name; empty if the line is no field.
    pub name: &'a [u8],
    /// What follows the colon, folded as it was.
    pub value: &'a [u8],
    /// The field's lines as they are, line ends included.
    pub lines: &'a [u8],
}

/// The fields of a header, in order, up to the empty line.
pub fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = header;
    std::iter::from_fn(move || {
        let length = field_length(rest);
        let (lines, after) = rest.split_at(length);
        rest = after;
        (length > 0).then(|| split_field(lines))
    })
}

impl Field<'_> {
    /// The value on one line, without white space around it (RFC 5322 §2.2.3).
    pub fn unfolded(&self) -> Octets {
        let value = self.value.trim_ascii();
        if memchr::memchr2(b'\r', b'\n', value).is_none() {
            return value.into();
        }
        value.iter().copied().filter(|byte| !is_line_end(*byte)).collect::<Vec<u8>>().into()
    }
}

fn is_line_end(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n'
}

/// How many bytes the first field has, with the lines it is continued on; 0 at the header's end.
fn field_length(rest: &[u8]) -> usize {
    if is_empty_line(rest) {
        return 0;
    }
    let mut length = 0;
    loop {
        length += line_length(&rest[length..]);
        if !matches!(rest.get(length), Some(b' ' | b'\t')) {
            return length;
        }
    }
}

/// How many bytes the first line has, its end included.
pub(super) fn line_length(rest: &[u8]) -> usize {
    memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1)
}

/// Whether the bytes begin with an empty line.
pub(super) fn is_empty_line(rest: &[u8]) -> bool {
    rest.starts_with(b"\r\n") || rest.starts_with(b"\n")
}

fn split_field(lines: &[u8]) -> Field<'_> {
    let nameless = Field { name: b"", value: lines, lines };
    let Some(colon) = memchr::memchr(b':', lines) else { return nameless };
    // White space before the colon is obsolete, but sent (RFC 5322 §4.5).
    let name = lines[..colon].trim_ascii_end();
    if !name.iter().all(u8::is_ascii_graphic) {
        return nameless;
    }
    Field { name, value: &lines[colon + 1..], lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_unfolded_and_end_at_the_empty_line() {
        let header = b"Subject: a\r\n b\r\n\tc\r\nX-Empty:\r\nFrom : me\n\nTo: body";
        let found: Vec<_> = fields(header).map(|field| (field.name, field.unfolded().to_string())).collect();
        assert_eq!(
            found,
            [(&b"Subject"[..], "a b\tc".to_owned()), (b"X-Empty", String::new()), (b"From", "me".to_owned())]
        );
    }

    #[test]
    fn lines_that_are_no_fields_have_no_name() {
        let found: Vec<_> = fields(b" leading\r\nFrom me Mon\r\nbad name: x\r\nA:b").map(|field| field.name).collect();
        assert_eq!(found, [&b""[..], b"", b"", b"A"]);
    }

    #[test]
    fn nothing_has_no_fields() {
        assert_eq!(fields(b"").count() + fields(b"\r\n").count() + fields(b"\nA: b").count(), 0);
    }
}
