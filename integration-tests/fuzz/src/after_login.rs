//! What a logged-in client may say.

use laniakea_backend::{
    mailbox::name::{ListPattern, MailboxName},
    wire::{
        imap::fuzz_commands,
        pop3::{self, Transparency},
    },
};

use crate::mail::unstuffed;

/// IMAP commands with their literals.
pub(crate) fn imap(bytes: &[u8]) {
    fuzz_commands(bytes);
}

/// POP3 commands, and messages on their way out.
pub(crate) fn pop3(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = pop3::parse(line);
    }
    let mut out = Vec::new();
    let mut way = Transparency::whole();
    for piece in bytes.chunks(7) {
        way.feed(piece, &mut out);
    }
    way.finish(&mut out);
    assert!(unstuffed(&out).is_some(), "a message ends before its end: {}", out.escape_ascii());
}

/// Names of mailboxes, as clients write them, and patterns.
pub(crate) fn mailbox_name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (name, pattern) = text.split_once('\n').unwrap_or((&text, "%*"));
    for parsed in [MailboxName::parse(name), MailboxName::parse_utf7(name)].into_iter().flatten() {
        assert_eq!(MailboxName::parse(parsed.as_str()).as_ref(), Ok(&parsed));
        assert_eq!(MailboxName::parse_utf7(&parsed.to_utf7()).as_ref(), Ok(&parsed));
        assert!(!parsed.as_str().chars().any(char::is_control));
        assert!(parsed.ancestors().all(|above| parsed.is_below(&above)));
        ListPattern::new("", pattern).matches(&parsed);
        assert!(ListPattern::new("", "*").matches(&parsed));
    }
}
