//! Strings, in the shortest form that is right (RFC 3501 §4.3, §9).

use std::io::Write;

use crate::mailbox::MailboxName;

/// The longest string that is quoted; longer ones are literals, which clients read without
/// looking at each byte.
const QUOTED_BYTES_MAX: usize = 1024;

/// Writes `string`: quoted if it can be, else a literal.
///
/// NUL, which neither form may hold (RFC 3501 §9, CHAR8), becomes `?`.
pub fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= QUOTED_BYTES_MAX && bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        quoted(out, bytes);
        return;
    }
    literal_marker(out, bytes.len() as u64);
    out.extend(bytes.iter().map(|byte| match byte {
        0 => b'?',
        byte => *byte,
    }));
}

/// Writes `nstring`: a string, or NIL for nothing.
pub fn nstring(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => string(out, bytes),
        None => nil(out),
    }
}

/// Writes `NIL`.
pub fn nil(out: &mut Vec<u8>) {
    out.extend_from_slice(b"NIL");
}

/// Writes the announcement of a literal of `length` bytes, which must follow.
pub fn literal_marker(out: &mut Vec<u8>, length: u64) {
    print(out, format_args!("{{{length}}}\r\n"));
}

/// Writes a mailbox name: in modified UTF-7 (RFC 3501 §5.1.3), quoted unless an atom will do.
pub fn mailbox(out: &mut Vec<u8>, name: &MailboxName) {
    wire_name(out, name.to_utf7().as_bytes());
}

/// Writes a mailbox name that is in its wire form already.
pub fn wire_name(out: &mut Vec<u8>, name: &[u8]) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.&+,".contains(byte);
    if !name.is_empty() && name.iter().all(is_plain) && !name.eq_ignore_ascii_case(b"NIL") {
        out.extend_from_slice(name);
    } else {
        string(out, name);
    }
}

/// Writes what `format_args!` makes.
pub fn print(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = out.write_fmt(what);
}

fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        string(&mut out, bytes);
        out
    }

    #[test]
    fn printable_strings_are_quoted_and_others_are_literals() {
        assert_eq!(written(b"a \"b\" \\c"), b"\"a \\\"b\\\" \\\\c\"");
        assert_eq!(written(b""), b"\"\"");
        assert_eq!(written(b"a\r\nb"), b"{4}\r\na\r\nb");
        assert_eq!(written("é".as_bytes()), "{2}\r\né".as_bytes());
        assert_eq!(written(b"a\0b"), b"{3}\r\na?b");
    }

    #[test]
    fn a_mailbox_called_nil_is_not_taken_for_nothing() {
        let mut out = Vec::new();
        wire_name(&mut out, b"nil");
        wire_name(&mut out, b"Sent Items");
        wire_name(&mut out, b"a/b");
        assert_eq!(out, b"\"nil\"\"Sent Items\"a/b");
    }
}
