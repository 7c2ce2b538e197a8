//! Modified UTF-7 (RFC 3501 §5.1.3): how IMAP4rev1 writes mailbox names beyond ASCII.
//!
//! Reading is strict: a text has one encoding, so that no name can hide behind another spelling.

use thiserror::Error;

/// The text is not the one modified UTF-7 encoding of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not modified UTF-7")]
pub struct Utf7Error;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Writes a text in modified UTF-7.
pub fn encode_utf7(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let plain = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
        if c == '&' {
            out.push_str("&-");
            rest = &rest[1..];
        } else if plain > 0 {
            out.push_str(&rest[..plain]);
            rest = &rest[plain..];
        } else {
            let shifted = rest.find(|c| c == '&' || is_plain(c)).unwrap_or(rest.len());
            push_shifted(&mut out, &rest[..shifted]);
            rest = &rest[shifted..];
        }
    }
    out
}

/// Reads a text in modified UTF-7.
///
/// # Errors
/// Bytes beyond printable ASCII, shifts that do not end, that follow each other, that spell what needs no shift, half
/// surrogates, and stray bits.
pub fn decode_utf7(encoded: &str) -> Result<String, Utf7Error> {
    let mut out = String::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some(at) = rest.find('&') {
        let (before, shifted) = rest.split_at(at);
        out.push_str(before);
        let (code, after) = shifted[1..].split_once('-').ok_or(Utf7Error)?;
        if code.is_empty() {
            out.push('&')
        } else {
            out.push_str(&decode_shifted(code)?)
        }
        rest = after;
    }
    out.push_str(rest);
    // Only now is it known to be what we would write: no 8-bit, nothing shifted in vain, no two shifts in a row.
    if encode_utf7(&out) == encoded { Ok(out) } else { Err(Utf7Error) }
}

/// Written as itself.
fn is_plain(c: char) -> bool {
    matches!(c, ' '..='~') && c != '&'
}

fn push_shifted(out: &mut String, text: &str) {
    let (mut bits, mut count) = (0u32, 0u32);
    out.push('&');
    for unit in text.encode_utf16() {
        bits = (bits << 16) | u32::from(unit);
        count += 16;
        while count >= 6 {
            count -= 6;
            push_sextet(out, bits >> count);
        }
    }
    if count > 0 {
        push_sextet(out, bits << (6 - count));
    }
    out.push('-');
}

fn push_sextet(out: &mut String, bits: u32) {
    out.push(char::from(ALPHABET[(bits & 63) as usize]));
}

fn decode_shifted(code: &str) -> Result<String, Utf7Error> {
    let (mut bits, mut count) = (0u32, 0u32);
    let mut units = Vec::new();
    for byte in code.bytes() {
        bits = (bits << 6) | u32::from(sextet(byte).ok_or(Utf7Error)?);
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push((bits >> count) as u16);
        }
    }
    String::from_utf16(&units).map_err(|_| Utf7Error)
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b',' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_rfc_3501() {
        for (text, encoded) in [
            ("~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("\u{263a}!", "&Jjo-!"),
            ("\u{53f0}\u{5317}\u{65e5}\u{672c}\u{8a9e}", "&U,BTF2XlZyyKng-"),
            ("R&D", "R&-D"),
            ("\u{1f600}", "&2D3eAA-"),
        ] {
            assert_eq!(encode_utf7(text), encoded);
            assert_eq!(decode_utf7(encoded).as_deref(), Ok(text));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        // A shift that never ends, two in a row, ASCII in a shift ("."), half a surrogate, a stray bit, 8-bit.
        for encoded in ["a&", "&AOQ", "&U,BTFw-&ZeVnLIqe-", "&AC4-", "&2D0-", "&AOR-", "&AO!-", "\u{e4}"] {
            assert_eq!(decode_utf7(encoded), Err(Utf7Error), "{encoded}");
        }
    }

    proptest! {
        #[test]
        fn every_text_survives(text in any::<String>()) {
            prop_assert_eq!(decode_utf7(&encode_utf7(&text)), Ok(text));
        }
    }
}
