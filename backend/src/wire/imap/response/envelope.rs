//! ENVELOPE (RFC 3501 §7.4.2).

use super::text::{nil, nstring, string};
use crate::mailbox::mime::{Address, Envelope};

/// Writes the ten fields in parentheses.
pub fn envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    let field = |field: &Option<crate::mailbox::mime::Octets>, out: &mut Vec<u8>| {
        nstring(out, field.as_ref().map(|octets| octets.as_bytes()));
    };
    out.push(b'(');
    field(&envelope.date, out);
    out.push(b' ');
    field(&envelope.subject, out);
    let lists = [
        envelope.from.as_slice(),
        envelope.sender_or_from(),
        envelope.reply_to_or_from(),
        &envelope.to,
        &envelope.cc,
        &envelope.bcc,
    ];
    for list in lists {
        out.push(b' ');
        addresses(out, list);
    }
    out.push(b' ');
    field(&envelope.in_reply_to, out);
    out.push(b' ');
    field(&envelope.message_id, out);
    out.push(b')');
}

/// Writes an address list, NIL if it names nobody.
fn addresses(out: &mut Vec<u8>, list: &[Address]) {
    if list.is_empty() {
        return nil(out);
    }
    out.push(b'(');
    for one in list {
        address(out, one);
    }
    out.push(b')');
}

fn address(out: &mut Vec<u8>, address: &Address) {
    out.push(b'(');
    match address {
        Address::One { name, route, mailbox, host } => {
            nstring(out, name.as_ref().map(|octets| octets.as_bytes()));
            out.push(b' ');
            nstring(out, route.as_ref().map(|octets| octets.as_bytes()));
            out.push(b' ');
            string(out, mailbox.as_bytes());
            out.push(b' ');
            // A NIL host would begin or end a group.
            string(out, host.as_bytes());
        }
        Address::GroupStart(name) => {
            out.extend_from_slice(b"NIL NIL ");
            string(out, name.as_bytes());
            out.extend_from_slice(b" NIL");
        }
        Address::GroupEnd => out.extend_from_slice(b"NIL NIL NIL NIL"),
    }
    out.push(b')');
}
