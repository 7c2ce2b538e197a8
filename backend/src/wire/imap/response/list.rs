//! `LIST`, `LSUB` and `STATUS` responses.

use super::text::{mailbox, print, wire_name};
use crate::mailbox::{MailboxName, name::SEPARATOR};

/// Writes `* LIST (attributes) "/" name`, with `CHILDINFO` for a RECURSIVEMATCH (RFC 5258 §4).
pub fn list(out: &mut Vec<u8>, attributes: &[&str], name: &MailboxName, child_info: bool) {
    line(out, "LIST", attributes, name);
    if child_info {
        out.extend_from_slice(b" (CHILDINFO (SUBSCRIBED))");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes `* LSUB (attributes) "/" name`.
pub fn lsub(out: &mut Vec<u8>, attributes: &[&str], name: &MailboxName) {
    line(out, "LSUB", attributes, name);
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, response: &str, attributes: &[&str], name: &MailboxName) {
    print(out, format_args!("* {response} ({}) \"{SEPARATOR}\" ", attributes.join(" ")));
    mailbox(out, name);
}

/// Writes the answer to an empty pattern: the separator and the root (RFC 3501 §6.3.8).
pub fn root(out: &mut Vec<u8>, response: &str) {
    print(out, format_args!("* {response} (\\Noselect) \"{SEPARATOR}\" "));
    wire_name(out, b"");
    out.extend_from_slice(b"\r\n");
}

/// Writes `* STATUS name (figures)`.
pub fn status(out: &mut Vec<u8>, name: &MailboxName, figures: &[String]) {
    out.extend_from_slice(b"* STATUS ");
    mailbox(out, name);
    print(out, format_args!(" ({})\r\n", figures.join(" ")));
}
