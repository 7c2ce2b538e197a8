//! BODY and BODYSTRUCTURE (RFC 3501 §7.4.2).
//!
//! Recursive, which the walker's depth limit makes safe: a part deeper than that is a leaf.

use super::envelope::envelope;
use super::text::{nil, nstring, print, string};
use crate::mailbox::mime::{Content, Disposition, Octets, Parameter, Part};

/// Whether extension data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// `BODY`: it is not.
    Basic,
    /// `BODYSTRUCTURE`: it is.
    Extended,
}

/// Writes a part with everything inside it.
pub fn structure(out: &mut Vec<u8>, part: &Part, detail: Detail) {
    out.push(b'(');
    match &part.content {
        Content::Multipart(parts) => multipart(out, part, parts, detail),
        Content::Message(inner) => {
            basic_fields(out, part);
            out.push(b' ');
            envelope(out, &inner.0);
            out.push(b' ');
            structure(out, &inner.1, detail);
            print(out, format_args!(" {}", part.lines));
            leaf_extension(out, part, detail);
        }
        Content::Leaf => {
            basic_fields(out, part);
            if part.media_type.is("text") {
                print(out, format_args!(" {}", part.lines));
            }
            leaf_extension(out, part, detail);
        }
    }
    out.push(b')');
}

/// `body-type-mpart`: the parts, the subtype, `body-ext-mpart`.
fn multipart(out: &mut Vec<u8>, part: &Part, parts: &[Part], detail: Detail) {
    for inner in parts {
        structure(out, inner, detail);
    }
    out.push(b' ');
    string(out, part.subtype.as_bytes());
    if detail == Detail::Extended {
        out.push(b' ');
        parameters(out, &part.parameters);
        common_extension(out, part);
    }
}

/// Type, subtype and `body-fields`.
fn basic_fields(out: &mut Vec<u8>, part: &Part) {
    string(out, part.media_type.as_bytes());
    out.push(b' ');
    string(out, part.subtype.as_bytes());
    out.push(b' ');
    parameters(out, &part.parameters);
    out.push(b' ');
    optional(out, &part.id);
    out.push(b' ');
    optional(out, &part.description);
    out.push(b' ');
    string(out, part.encoding.as_bytes());
    print(out, format_args!(" {}", part.body.len()));
}

/// `body-ext-1part`.
fn leaf_extension(out: &mut Vec<u8>, part: &Part, detail: Detail) {
    if detail == Detail::Extended {
        out.push(b' ');
        optional(out, &part.md5);
        common_extension(out, part);
    }
}

/// Disposition, language and location, which both kinds of extension data end with.
fn common_extension(out: &mut Vec<u8>, part: &Part) {
    out.push(b' ');
    match &part.disposition {
        Some(found) => disposition(out, found),
        None => nil(out),
    }
    out.push(b' ');
    languages(out, &part.languages);
    out.push(b' ');
    optional(out, &part.location);
}

fn disposition(out: &mut Vec<u8>, disposition: &Disposition) {
    out.push(b'(');
    string(out, disposition.kind.as_bytes());
    out.push(b' ');
    parameters(out, &disposition.parameters);
    out.push(b')');
}

/// `body-fld-lang`: NIL, one string, or a list.
fn languages(out: &mut Vec<u8>, languages: &[Octets]) {
    match languages {
        [] => nil(out),
        [one] => string(out, one.as_bytes()),
        several => {
            for (index, language) in several.iter().enumerate() {
                out.push(if index == 0 { b'(' } else { b' ' });
                string(out, language.as_bytes());
            }
            out.push(b')');
        }
    }
}

/// `body-fld-param`: NIL, or names and values in turn.
fn parameters(out: &mut Vec<u8>, parameters: &[Parameter]) {
    if parameters.is_empty() {
        return nil(out);
    }
    for (index, parameter) in parameters.iter().enumerate() {
        out.push(if index == 0 { b'(' } else { b' ' });
        string(out, parameter.name.as_bytes());
        out.push(b' ');
        string(out, parameter.value.as_bytes());
    }
    out.push(b')');
}

fn optional(out: &mut Vec<u8>, octets: &Option<Octets>) {
    nstring(out, octets.as_ref().map(|octets| octets.as_bytes()));
}
