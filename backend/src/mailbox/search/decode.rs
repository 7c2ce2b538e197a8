//! From what was sent to what it says. Lenient: what cannot be decoded stays as it is, for a search had better find too
//! much than miss a message.

use mail_parser::decoders::charsets::map::charset_decoder;

use crate::mailbox::mime::{Octets, Part};

/// Longest encoded-word that is decoded. RFC 2047 §2 says 75; some write longer ones.
const ENCODED_WORD_BYTES_MAX: usize = 4096;

/// The text of a `text/*` part.
pub(super) fn decode_text(part: &Part, body: &[u8]) -> String {
    let charset = part.parameters.iter().find(|parameter| parameter.name.is("charset"));
    let charset = charset.map_or(&b""[..], |parameter| parameter.value.as_bytes());
    if part.encoding.is("base64") {
        decode_charset(charset, &decode_base64(body))
    } else if part.encoding.is("quoted-printable") {
        decode_charset(charset, &decode_quoted(body))
    } else {
        decode_charset(charset, body)
    }
}

/// The text of an unfolded header field with its encoded-words decoded (RFC 2047).
pub(super) fn decode_octets(value: &Octets) -> String {
    decode_header(value.as_bytes())
}

fn decode_header(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    let mut after_word = false;
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        let (before, candidate) = rest.split_at(at);
        let Some((word, length)) = decode_word(candidate) else {
            out.push_str(&lossy(&rest[..at + 2]));
            rest = &rest[at + 2..];
            after_word = false;
            continue;
        };
        // White space between two encoded-words is not shown (RFC 2047 §6.2).
        if !(after_word && before.iter().all(u8::is_ascii_whitespace)) {
            out.push_str(&lossy(before));
        }
        out.push_str(&word);
        rest = &candidate[length..];
        after_word = true;
    }
    out.push_str(&lossy(rest));
    out
}

/// Decodes the encoded-word that `bytes` begin with: its text and its length.
fn decode_word(bytes: &[u8]) -> Option<(String, usize)> {
    let bytes = bytes.get(..ENCODED_WORD_BYTES_MAX).unwrap_or(bytes);
    let charset_end = 2 + memchr::memchr(b'?', bytes.get(2..)?)?;
    let encoding = *bytes.get(charset_end + 1)?;
    let text_start = charset_end + 3;
    if bytes.get(charset_end + 2) != Some(&b'?') {
        return None;
    }
    let text_end = text_start + memchr::memchr(b'?', bytes.get(text_start..)?)?;
    if bytes.get(text_end + 1) != Some(&b'=') {
        return None;
    }
    let text = &bytes[text_start..text_end];
    let decoded = match encoding {
        b'B' | b'b' => decode_base64(text),
        b'Q' | b'q' => decode_q(text),
        _ => return None,
    };
    // A language tag may follow the charset (RFC 2231 §5).
    let charset = bytes[2..charset_end].split(|byte| *byte == b'*').next().unwrap_or_default();
    Some((decode_charset(charset, &decoded), text_end + 2))
}

/// Text in a charset; in an unknown one, UTF-8 as far as it goes.
fn decode_charset(charset: &[u8], bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes)
        && (text.is_ascii() && !is_stateful(charset) || charset.eq_ignore_ascii_case(b"utf-8"))
    {
        return text.to_owned();
    }
    match charset_decoder(charset) {
        Some(decode) if !is_ascii_name(charset) => decode(bytes),
        Some(_) | None => lossy(bytes),
    }
}

/// Charsets that write other characters in ASCII bytes.
fn is_stateful(charset: &[u8]) -> bool {
    let starts_with = |prefix: &[u8]| charset.get(..prefix.len()).is_some_and(|own| own.eq_ignore_ascii_case(prefix));
    [&b"iso-2022"[..], b"utf-7", b"utf-16", b"utf16", b"hz", b"csiso2022"].iter().any(|prefix| starts_with(prefix))
}

/// 8-bit text that claims to be ASCII, or claims nothing, is more often UTF-8 than anything else.
fn is_ascii_name(charset: &[u8]) -> bool {
    charset.is_empty() || charset.eq_ignore_ascii_case(b"us-ascii") || charset.eq_ignore_ascii_case(b"ascii")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Base64 (RFC 2045 §6.8); other characters are passed over, and after padding a new text may begin.
fn decode_base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u32);
    for &byte in text {
        if byte == b'=' {
            count = 0;
        }
        let Some(sextet) = base64_sextet(byte) else { continue };
        bits = (bits << 6) | sextet;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

fn base64_sextet(byte: u8) -> Option<u32> {
    let sextet = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(sextet))
}

/// Quoted-printable (RFC 2045 §6.7).
fn decode_quoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'=', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let (byte, length) = match rest {
            [b'\r', b'\n', ..] => (None, 2),
            [b'\n', ..] => (None, 1),
            [high, low, ..] => (hex_byte(*high, *low), 2),
            _ => (Some(b'='), 0),
        };
        match byte {
            Some(byte) => out.push(byte),
            None if rest[..length].ends_with(b"\n") => {}
            None => {
                out.push(b'=');
                continue;
            }
        }
        rest = &rest[length..];
    }
    out.extend_from_slice(rest);
    out
}

/// The Q encoding of encoded-words (RFC 2047 §4.2).
fn decode_q(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'_' { b' ' } else { byte }).collect();
    decode_quoted(&spaced)
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_rfc_2047() {
        for (encoded, text) in [
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=  \r\n =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            ("=?ISO-8859-1?Q?Patrik_F=E4ltstr=F6m?= <paf@nada.kth.se>", "Patrik F\u{e4}ltstr\u{f6}m <paf@nada.kth.se>"),
            ("=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"),
            ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "\u{65e5}\u{672c}"),
        ] {
            assert_eq!(decode_header(encoded.as_bytes()), text, "{encoded}");
        }
    }

    #[test]
    fn what_is_no_encoded_word_stays() {
        for text in ["=?", "=?a?b", "=?utf-8?x?y?=", "a =?=? b", "=?utf-8?q?no end", "1=?2"] {
            assert_eq!(decode_header(text.as_bytes()), text);
        }
    }

    #[test]
    fn broken_encodings_are_read_as_far_as_they_go() {
        assert_eq!(decode_quoted(b"a=\r\nb=3D=zz=C3=A4=\n="), "ab==zz\u{e4}=".as_bytes());
        assert_eq!(decode_base64(b"aGVs\r\nbG8=!aGk="), b"hellohi");
        assert_eq!(decode_charset(b"unheard-of", b"gr\xc3\xbcn"), "gr\u{fc}n");
        assert_eq!(decode_charset(b"us-ascii", b"gr\xc3\xbcn"), "gr\u{fc}n");
        assert_eq!(decode_charset(b"iso-8859-1", b"gr\xfcn"), "gr\u{fc}n");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_decoded(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[=?a-qB8_ -]{0,80}") {
            decode_header(&bytes);
            decode_header(text.as_bytes());
            decode_quoted(&bytes);
            decode_base64(&bytes);
            for charset in ["utf-7", "utf-16", "iso-2022-jp", "big5", "gb18030", "utf-8"] {
                decode_charset(charset.as_bytes(), &bytes);
            }
        }
    }
}
