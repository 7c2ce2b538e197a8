//! Fuzz targets: plain functions that take any bytes, for every parser and session that faces the network.
//!
//! What a target asserts is what must hold for *any* input. No input may make one panic, run for long, or take much memory.
//! `cargo test -p laniakea-fuzz` runs each over its corpus, over what clients say in the dialogues, and over mutations of
//! both; the program `fuzz` runs one under libFuzzer for as long as one likes.

mod after_login;
mod before_login;
mod directory;
mod foreign;
mod handoff;
mod http;
mod mail;

/// One thing to be fuzzed.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its corpus's folder.
    pub name: &'static str,
    /// Takes anything.
    pub run: fn(&[u8]),
    /// Folders of dialogues whose clients say what it understands.
    pub dialogues: &'static [&'static str],
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "imap-prelogin", run: before_login::imap, dialogues: &["imap-prelogin", "imap"] },
    Target { name: "pop3-prelogin", run: before_login::pop3, dialogues: &["pop3-prelogin", "pop3"] },
    Target { name: "submission-prelogin", run: before_login::submission, dialogues: &["submission-prelogin"] },
    Target { name: "sasl", run: before_login::sasl, dialogues: &[] },
    Target { name: "imap-foreign", run: foreign::imap, dialogues: &["imap-foreign"] },
    Target { name: "pop3-foreign", run: foreign::pop3, dialogues: &["pop3-foreign"] },
    Target { name: "imap", run: after_login::imap, dialogues: &["imap", "imap-prelogin"] },
    Target { name: "pop3", run: after_login::pop3, dialogues: &["pop3"] },
    Target { name: "mailbox-name", run: after_login::mailbox_name, dialogues: &["imap"] },
    Target { name: "message", run: mail::message, dialogues: &["smtp", "lmtp"] },
    Target { name: "smtp", run: mail::session, dialogues: &["smtp", "lmtp"] },
    Target { name: "smtp-reply", run: mail::reply, dialogues: &["smtp", "lmtp"] },
    Target { name: "proxy", run: handoff::proxy, dialogues: &[] },
    Target { name: "preamble", run: handoff::preamble, dialogues: &[] },
    Target { name: "moved", run: handoff::moved, dialogues: &[] },
    Target { name: "ticket", run: handoff::ticket, dialogues: &[] },
    Target { name: "http-credentials", run: http::credentials, dialogues: &[] },
    Target { name: "jmap", run: http::jmap, dialogues: &[] },
    Target { name: "control", run: handoff::control, dialogues: &[] },
    Target { name: "ldap-answer", run: directory::answer, dialogues: &[] },
    Target { name: "ldap-request", run: directory::request, dialogues: &[] },
    Target { name: "ldap-text", run: directory::text, dialogues: &[] },
];

/// Cuts `bytes` into packets whose size the first byte decides, so that every boundary is tried.
fn packets(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (first, rest) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
    let size = match first {
        0..64 => 1 + usize::from(first),
        64..128 => 1 << (first % 16),
        128.. => usize::MAX,
    };
    rest.chunks(size)
}
