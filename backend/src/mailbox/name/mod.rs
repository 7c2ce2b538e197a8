//! Mailbox names: a hierarchy with `/` between its levels, in Unicode, in one spelling each.
//!
//! A name is never a path: mailboxes lie in the account's index under their ids, and no file is called after them.
//! What could be mistaken for a path (`..`, an empty level, a control character) is refused all the same.

mod pattern;
mod utf7;

use std::fmt;
use std::sync::Arc;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::pattern::ListPattern;
pub use self::utf7::{Utf7Error, decode_utf7, encode_utf7};

/// Stands between the levels of a name.
pub const SEPARATOR: char = '/';
/// Longest name in bytes, in UTF-8.
pub const NAME_BYTES_MAX: usize = 255;
/// Most levels of a name.
pub const NAME_DEPTH_MAX: usize = 16;

const INBOX: &str = "INBOX";

/// The name of a mailbox, valid and in its one spelling: composed (NFC), with the first level `INBOX` in capitals.
///
/// Ordered by bytes, so that all names below `a` lie together, from `a/` on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct MailboxName(Arc<str>);

/// Why a string is no name of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// No name, or a level without a name: `a//b`, `/a`, `a/`.
    #[error("a level of the mailbox name is empty")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("the mailbox name is too long")]
    TooLong,
    /// More than [`NAME_DEPTH_MAX`] levels.
    #[error("the mailbox name has too many levels")]
    TooDeep,
    /// A control character, a wildcard of LIST, or a line or paragraph separator.
    #[error("the mailbox name holds a character it may not")]
    Character,
    /// `.`, `..`, or a name beginning with `#`, which RFC 9051 §5.1.2 keeps for namespaces.
    #[error("the mailbox name is reserved")]
    Reserved,
    /// Not valid modified UTF-7 (RFC 3501 §5.1.3).
    #[error("the mailbox name is wrongly encoded")]
    Encoding,
}

impl From<Utf7Error> for NameError {
    fn from(_: Utf7Error) -> Self {
        Self::Encoding
    }
}

impl MailboxName {
    /// The name every account has a mailbox of.
    pub fn inbox() -> Self {
        Self(INBOX.into())
    }

    /// Reads a name in UTF-8.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // Composing shortens a text to no less than a third, so this bounds the work without refusing a good name.
        if text.len() > 3 * NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let composed = compose(text);
        check_name(&composed)?;
        Ok(Self(capitalise_inbox(&composed).into()))
    }

    /// Reads a name in modified UTF-7, as IMAP4rev1 clients send it.
    pub fn parse_utf7(text: &str) -> Result<Self, NameError> {
        Self::parse(&decode_utf7(text)?)
    }

    /// The name in UTF-8.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in modified UTF-7.
    pub fn to_utf7(&self) -> String {
        encode_utf7(&self.0)
    }

    /// Whether this is INBOX itself.
    pub fn is_inbox(&self) -> bool {
        &*self.0 == INBOX
    }

    /// Whether INBOX is this name's first level.
    fn is_within_inbox(&self) -> bool {
        self.0.split(SEPARATOR).next() == Some(INBOX)
    }

    /// The name one level up, unless this is at the top.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once(SEPARATOR).map(|(parent, _)| Self(parent.into()))
    }

    /// The names above this one, the nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// The last level.
    pub fn leaf(&self) -> &str {
        self.0.rsplit_once(SEPARATOR).map_or(&self.0, |(_, leaf)| leaf)
    }

    /// Whether this name lies below `other`, at any depth.
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.starts_with(SEPARATOR))
    }

    /// Where the names below this one begin in their order. No name itself.
    pub(in crate::mailbox) fn below_bound(&self) -> Self {
        Self(format!("{}{SEPARATOR}", self.0).into())
    }

    /// The name this mailbox has once `from`, itself or a name above it, is called `to`.
    ///
    /// # Errors
    /// The new name may be too long or too deep.
    pub fn renamed(&self, from: &Self, to: &Self) -> Result<Self, NameError> {
        let rest = self.0.strip_prefix(&*from.0).unwrap_or_default();
        Self::parse(&format!("{}{rest}", to.0))
    }
}

fn compose(text: &str) -> std::borrow::Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

fn check_name(name: &str) -> Result<(), NameError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    if name.contains(is_forbidden) {
        return Err(NameError::Character);
    }
    if name.starts_with('#') || name.split(SEPARATOR).any(|level| level == "." || level == "..") {
        return Err(NameError::Reserved);
    }
    if name.split(SEPARATOR).any(str::is_empty) {
        return Err(NameError::Empty);
    }
    if name.split(SEPARATOR).count() > NAME_DEPTH_MAX {
        return Err(NameError::TooDeep);
    }
    Ok(())
}

/// RFC 9051 §5.1 advises against wildcards; RFC 5198 §2 forbids controls and the Unicode separators.
fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '*' | '%' | '\u{2028}' | '\u{2029}')
}

/// INBOX is the one name without regard to case (RFC 9051 §5.1), and so as the first level of others.
fn capitalise_inbox(name: &str) -> String {
    let (first, rest) = name.split_at(name.find(SEPARATOR).unwrap_or(name.len()));
    let first = if first.eq_ignore_ascii_case(INBOX) { INBOX } else { first };
    format!("{first}{rest}")
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

impl<'de> Deserialize<'de> for MailboxName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).unwrap()
    }

    #[test]
    fn inbox_is_one_name_in_any_case() {
        assert_eq!(name("iNbOx"), MailboxName::inbox());
        assert_eq!(name("inbox/Work").as_str(), "INBOX/Work");
        assert_eq!(name("inboxes").as_str(), "inboxes");
        assert_eq!(name("a/inbox").as_str(), "a/inbox");
    }

    #[test]
    fn composed_and_decomposed_spellings_are_one_name() {
        assert_eq!(name("Entwu\u{308}rfe"), name("Entw\u{fc}rfe"));
    }

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for text in ["..", "../../x", "a/../..", "a/./b", "."] {
            assert_eq!(MailboxName::parse(text), Err(NameError::Reserved), "{text:?}");
        }
        for text in ["", "/", "/etc", "a//b", "a/"] {
            assert_eq!(MailboxName::parse(text), Err(NameError::Empty), "{text:?}");
        }
    }

    #[test]
    fn control_characters_and_wildcards_are_refused() {
        for text in ["a\0b", "a\r\nb", "a\u{7f}", "a\u{85}", "a*", "a%b", "a\u{2028}b"] {
            assert_eq!(MailboxName::parse(text), Err(NameError::Character), "{text:?}");
        }
    }

    #[test]
    fn length_and_depth_are_limited() {
        assert!(MailboxName::parse(&"a".repeat(255)).is_ok());
        assert_eq!(MailboxName::parse(&"a".repeat(256)), Err(NameError::TooLong));
        assert_eq!(MailboxName::parse(&"a".repeat(1 << 20)), Err(NameError::TooLong));
        assert!(MailboxName::parse(&["a"; 16].join("/")).is_ok());
        assert_eq!(MailboxName::parse(&["a"; 17].join("/")), Err(NameError::TooDeep));
    }

    #[test]
    fn a_name_knows_what_is_above_and_below() {
        let deep = name("a/b/c");
        assert_eq!(deep.parent(), Some(name("a/b")));
        assert_eq!(deep.ancestors().collect::<Vec<_>>(), [name("a/b"), name("a")]);
        assert_eq!(deep.leaf(), "c");
        assert!(deep.is_below(&name("a")) && !name("ab").is_below(&name("a")) && !name("a").is_below(&name("a")));
        assert_eq!(deep.renamed(&name("a"), &name("x/y")), Ok(name("x/y/b/c")));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_has_one_spelling(text in "\\PC{0,40}|[a-zA-Z&/,.+-]{0,40}") {
            if let Ok(name) = MailboxName::parse(&text) {
                prop_assert_eq!(MailboxName::parse(name.as_str()), Ok(name.clone()));
                prop_assert_eq!(MailboxName::parse_utf7(&name.to_utf7()), Ok(name));
            }
            let _ = MailboxName::parse_utf7(&text);
        }
    }
}
