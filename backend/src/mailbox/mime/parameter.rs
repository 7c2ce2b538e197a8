//! Content-Type and Content-Disposition: a value and its parameters (RFC 2045 §5.1, RFC 2183, RFC 2231).

use super::cursor::Cursor;
use super::octets::Octets;
use super::summary::Parameter;

/// Most parameters of one field that are looked at.
const PARAMETERS_MAX: usize = 64;

/// A field such as `text/plain; charset=utf-8`: what comes first, and the parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameterized {
    pub(super) value: Octets,
    pub(super) parameters: Vec<Parameter>,
}

/// Reads a value with parameters.
pub(super) fn parse_parameterized(field: &[u8]) -> Parameterized {
    let mut cursor = Cursor::new(field);
    cursor.skip_comments();
    let value = cursor.until(|byte| byte == b';' || byte == b'(').trim_ascii();
    let raw = parse_parameters(&mut cursor);
    Parameterized { value: value.into(), parameters: join_continuations(raw) }
}

fn parse_parameters(cursor: &mut Cursor<'_>) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    while parameters.len() < PARAMETERS_MAX {
        cursor.until(|byte| byte == b';');
        if !cursor.eat(b';') {
            break;
        }
        cursor.skip_comments();
        let name = cursor.until(|byte| byte == b'=' || byte == b';').trim_ascii();
        if !cursor.eat(b'=') || name.is_empty() {
            continue;
        }
        cursor.skip_comments();
        parameters.push(Parameter { name: name.into(), value: parse_value(cursor) });
    }
    parameters
}

/// Reads a value: quoted, or anything up to a semicolon or comment. Strictly only a token may go without quotes, but
/// boundaries with `=` and file names with spaces are sent every day.
fn parse_value(cursor: &mut Cursor<'_>) -> Octets {
    match cursor.peek() {
        Some(b'"') => cursor.quoted().into(),
        _ => cursor.until(|byte| byte == b';' || byte == b'(').trim_ascii().into(),
    }
}

/// A piece of a parameter: `name*2*=value` (RFC 2231 §3 and §4).
struct Piece<'a> {
    name: &'a [u8],
    number: u32,
    is_extended: bool,
    value: &'a [u8],
}

/// Puts parameters together that were sent in pieces. A joined parameter stands where its first piece stood; one with an
/// extended piece keeps the extended form, `name*` and percent signs, for the client to decode.
fn join_continuations(raw: Vec<Parameter>) -> Vec<Parameter> {
    if raw.iter().all(|parameter| parse_piece(parameter).is_none()) {
        return raw;
    }
    let pieces: Vec<Piece<'_>> = raw.iter().filter_map(parse_piece).collect();
    let mut joined: Vec<Parameter> = Vec::new();
    for parameter in &raw {
        let Some(piece) = parse_piece(parameter) else {
            joined.push(parameter.clone());
            continue;
        };
        let whole = join_pieces(&pieces, piece.name);
        if !joined.iter().any(|other| other.name.as_bytes().eq_ignore_ascii_case(whole.name.as_bytes())) {
            joined.push(whole);
        }
    }
    joined
}

fn parse_piece(parameter: &Parameter) -> Option<Piece<'_>> {
    let name = parameter.name.as_bytes();
    let (name, is_extended) = match name.strip_suffix(b"*") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let star = name.iter().position(|byte| *byte == b'*')?;
    let number = std::str::from_utf8(name.get(star + 1..)?).ok()?.parse().ok()?;
    Some(Piece { name: name.get(..star)?, number, is_extended, value: parameter.value.as_bytes() })
}

/// Joins the pieces 0, 1, 2 … of a name, up to the first that is missing.
fn join_pieces(pieces: &[Piece<'_>], name: &[u8]) -> Parameter {
    let find = |number| pieces.iter().find(|p| p.number == number && p.name.eq_ignore_ascii_case(name));
    let found: Vec<&Piece<'_>> = (0..).map_while(find).collect();
    if !found.iter().any(|piece| piece.is_extended) {
        let value: Vec<u8> = found.iter().flat_map(|piece| piece.value).copied().collect();
        return Parameter { name: name.into(), value: value.into() };
    }
    let mut value = Vec::new();
    for piece in found {
        if piece.is_extended {
            value.extend_from_slice(piece.value)
        } else {
            push_percent_encoded(&mut value, piece.value)
        }
    }
    Parameter { name: [name, b"*"].concat().into(), value: value.into() }
}

/// Writes plain bytes in the extended form (RFC 2231 §7, `attribute-char`).
fn push_percent_encoded(out: &mut Vec<u8>, plain: &[u8]) {
    for &byte in plain {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(field: &str) -> String {
        let Parameterized { value, parameters } = parse_parameterized(field.as_bytes());
        let pairs = parameters.iter().map(|parameter| format!(" {}={}", parameter.name, parameter.value));
        format!("{value}{}", pairs.collect::<String>())
    }

    #[test]
    fn values_come_quoted_bare_and_with_comments() {
        assert_eq!(shown("text/plain; charset=us-ascii (Plain text)"), "text/plain charset=us-ascii");
        assert_eq!(shown("text/plain; charset=\"us-ascii\"; x=\"a;b\\\"\""), "text/plain charset=us-ascii x=a;b\"");
        assert_eq!(shown("(c) multipart/mixed;boundary=----=_Part=1 ;"), "multipart/mixed boundary=----=_Part=1");
        assert_eq!(shown("attachment; filename=My File.pdf"), "attachment filename=My File.pdf");
        assert_eq!(shown("text/plain;;charset;=x; a = b"), "text/plain a=b");
        assert_eq!(shown(""), "");
    }

    #[test]
    fn pieces_are_joined() {
        assert_eq!(shown("x; URL*0=\"ftp://\"; other=1; url*1=\"cs.utk.edu\""), "x URL=ftp://cs.utk.edu other=1");
        assert_eq!(
            shown("x; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*0*=us-ascii'en'This%20is%20; title*2=\"isn't it!\""),
            "x title*=us-ascii'en'This%20is%20%2A%2A%2Afun%2A%2A%2A%20isn%27t%20it!"
        );
        assert_eq!(shown("x; a*0=1; a*2=3"), "x a=1");
        assert_eq!(shown("x; name*=utf-8''%e2%82%ac"), "x name*=utf-8''%e2%82%ac");
    }

    #[test]
    fn a_flood_of_parameters_is_cut() {
        let flood: String = (0..100_000).map(|number| format!(";a*{number}*=x")).collect();
        let parsed = parse_parameterized(format!("x{flood}").as_bytes());
        assert_eq!(parsed.parameters.len(), 1);
        assert_eq!(parsed.parameters[0].value.as_bytes().len(), PARAMETERS_MAX);
    }
}
