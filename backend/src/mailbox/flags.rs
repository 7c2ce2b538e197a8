//! Flags: the five of the system and the keywords users invent (RFC 9051 §2.3.2).
//!
//! `\Recent` is not here: it belongs to a session, not to a message.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest keyword, in bytes. Keywords are kept in every index entry that has them.
pub const KEYWORD_BYTES_MAX: usize = 100;

/// One flag of a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flag {
    /// A flag the standard defines.
    System(SystemFlag),
    /// A flag somebody chose, such as `$Forwarded`.
    Keyword(Keyword),
}

/// A flag the standard defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SystemFlag {
    /// The message has been answered.
    Answered = 1,
    /// The message is marked for attention.
    Flagged = 2,
    /// The message goes with the next EXPUNGE.
    Deleted = 4,
    /// The message has been read.
    Seen = 8,
    /// The message is not finished.
    Draft = 16,
}

impl SystemFlag {
    /// All of them, in the order they are printed.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Flagged, Self::Deleted, Self::Seen, Self::Draft];

    /// The flag as IMAP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Seen => "\\Seen",
            Self::Draft => "\\Draft",
        }
    }
}

/// Why a word is no flag that can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FlagError {
    /// Begins with a backslash, but is none of the system's; `\Recent` included.
    #[error("no such system flag")]
    UnknownSystemFlag,
    /// Empty, longer than [`KEYWORD_BYTES_MAX`], or not an atom.
    #[error("not a keyword")]
    NotAKeyword,
}

impl Flag {
    /// Reads a flag as IMAP spells it.
    pub fn parse(word: &str) -> Result<Self, FlagError> {
        if !word.starts_with('\\') {
            return Keyword::parse(word).map(Self::Keyword);
        }
        let system = SystemFlag::ALL.into_iter().find(|flag| flag.as_str().eq_ignore_ascii_case(word));
        system.map(Self::System).ok_or(FlagError::UnknownSystemFlag)
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(flag) => f.write_str(flag.as_str()),
            Self::Keyword(keyword) => f.write_str(keyword.as_str()),
        }
    }
}

/// A keyword: an atom. Compared without regard to case and shown as it was first spelt.
#[derive(Debug, Clone)]
pub struct Keyword(Arc<str>);

impl Keyword {
    /// Reads a keyword.
    pub fn parse(word: &str) -> Result<Self, FlagError> {
        let fits = (1..=KEYWORD_BYTES_MAX).contains(&word.len());
        if fits && word.bytes().all(is_atom_char) { Ok(Self(word.into())) } else { Err(FlagError::NotAKeyword) }
    }

    /// The keyword as it was spelt.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn folded(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

/// RFC 9051 §9, `ATOM-CHAR`.
fn is_atom_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte)
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl PartialOrd for Keyword {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keyword {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl Hash for Keyword {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|byte| state.write_u8(byte));
        state.write_u8(0xff);
    }
}

/// A set of flags. 16 bytes; messages without keywords, nearly all, need no allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// Bits of [`SystemFlag`].
    system: u8,
    /// Sorted, without repetition; `None` rather than empty.
    keywords: Option<Arc<Vec<Keyword>>>,
}

/// The bits that mean something.
const SYSTEM_BITS: u8 = 0b1_1111;

impl Flags {
    /// No flags.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the system flag is set.
    pub fn has(&self, flag: SystemFlag) -> bool {
        self.system & flag as u8 != 0
    }

    /// Whether `\Seen` is set.
    pub fn is_seen(&self) -> bool {
        self.has(SystemFlag::Seen)
    }

    /// Whether `\Deleted` is set.
    pub fn is_deleted(&self) -> bool {
        self.has(SystemFlag::Deleted)
    }

    /// Whether the flag is set.
    pub fn contains(&self, flag: &Flag) -> bool {
        match flag {
            Flag::System(flag) => self.has(*flag),
            Flag::Keyword(keyword) => self.keywords().binary_search(keyword).is_ok(),
        }
    }

    /// Whether no flag is set.
    pub fn is_empty(&self) -> bool {
        self.system == 0 && self.keywords.is_none()
    }

    /// The keywords, sorted.
    pub fn keywords(&self) -> &[Keyword] {
        self.keywords.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The flags in the order they are printed.
    pub fn iter(&self) -> impl Iterator<Item = Flag> + '_ {
        let system = SystemFlag::ALL.into_iter().filter(|flag| self.has(*flag)).map(Flag::System);
        system.chain(self.keywords().iter().cloned().map(Flag::Keyword))
    }

    /// These flags and those.
    pub fn union(&self, other: &Self) -> Self {
        if other.keywords.is_none() {
            return Self { system: self.system | other.system, keywords: self.keywords.clone() };
        }
        let keywords = self.keywords().iter().chain(other.keywords()).cloned().collect();
        Self::from_parts(self.system | other.system, keywords)
    }

    /// These flags without those.
    pub fn difference(&self, other: &Self) -> Self {
        let system = self.system & !other.system;
        if other.keywords.is_none() {
            return Self { system, keywords: self.keywords.clone() };
        }
        let kept = self.keywords().iter().filter(|keyword| other.keywords().binary_search(keyword).is_err());
        Self::from_parts(system, kept.cloned().collect())
    }

    /// The bits of the system flags, as they are stored.
    pub(super) fn system_bits(&self) -> u8 {
        self.system
    }

    /// Flags from stored bits and keywords in any order. Unknown bits are dropped.
    pub(super) fn from_parts(system: u8, mut keywords: Vec<Keyword>) -> Self {
        keywords.sort();
        keywords.dedup();
        let keywords = if keywords.is_empty() { None } else { Some(Arc::new(keywords)) };
        Self { system: system & SYSTEM_BITS, keywords }
    }
}

impl From<SystemFlag> for Flags {
    fn from(flag: SystemFlag) -> Self {
        Self { system: flag as u8, keywords: None }
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<I: IntoIterator<Item = Flag>>(flags: I) -> Self {
        let (mut system, mut keywords) = (0, Vec::new());
        for flag in flags {
            match flag {
                Flag::System(flag) => system |= flag as u8,
                Flag::Keyword(keyword) => keywords.push(keyword),
            }
        }
        Self::from_parts(system, keywords)
    }
}

impl fmt::Display for Flags {
    /// Prints the flags with spaces between them, without parentheses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, flag) in self.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{flag}")?;
        }
        Ok(())
    }
}

/// What STORE does to flags (RFC 9051 §6.4.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlagChange {
    /// `FLAGS`: these and no others.
    Replace(Flags),
    /// `+FLAGS`: these as well.
    Add(Flags),
    /// `-FLAGS`: these no longer.
    Remove(Flags),
}

impl FlagChange {
    /// The flags after the change.
    pub fn apply_to(&self, flags: &Flags) -> Flags {
        match self {
            Self::Replace(new) => new.clone(),
            Self::Add(new) => flags.union(new),
            Self::Remove(old) => flags.difference(old),
        }
    }

    /// The flags it sets, if it sets any.
    pub fn sets(&self) -> Option<&Flags> {
        match self {
            Self::Replace(flags) | Self::Add(flags) => Some(flags),
            Self::Remove(_) => None,
        }
    }
}

/// The form of [`Flags`] on disk.
#[derive(Serialize, Deserialize)]
struct StoredFlags {
    system: u8,
    keywords: Vec<String>,
}

impl Serialize for Flags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let keywords = self.keywords().iter().map(|keyword| keyword.as_str().to_owned()).collect();
        StoredFlags { system: self.system, keywords }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = StoredFlags::deserialize(deserializer)?;
        let keywords = stored.keywords.iter().map(|word| Keyword::parse(word)).collect::<Result<_, _>>();
        Ok(Self::from_parts(stored.system, keywords.map_err(serde::de::Error::custom)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &str) -> Flags {
        words.split_whitespace().map(|word| Flag::parse(word).unwrap()).collect()
    }

    #[test]
    fn flags_print_in_one_order_and_without_repetition() {
        assert_eq!(flags("$Junk \\seen \\ANSWERED $junk a").to_string(), "\\Answered \\Seen $Junk a");
    }

    #[test]
    fn recent_cannot_be_stored() {
        assert_eq!(Flag::parse("\\Recent"), Err(FlagError::UnknownSystemFlag));
    }

    #[test]
    fn a_keyword_is_an_atom_of_limited_length() {
        for word in ["", "a b", "a(b", "a\\b", "a]b", "a%", "\u{e4}", "a\r\nb", &"x".repeat(101)] {
            assert_eq!(Flag::parse(word), Err(FlagError::NotAKeyword), "{word:?}");
        }
        assert!(Flag::parse("$MDNSent").is_ok());
    }

    #[test]
    fn changes_replace_add_and_remove() {
        let old = flags("\\Seen $a $b");
        assert_eq!(FlagChange::Replace(flags("\\Draft")).apply_to(&old), flags("\\Draft"));
        assert_eq!(FlagChange::Add(flags("\\Deleted $C")).apply_to(&old), flags("\\Deleted \\Seen $a $b $c"));
        assert_eq!(FlagChange::Remove(flags("\\Seen $A")).apply_to(&old), flags("$b"));
    }

    #[test]
    fn flags_are_small() {
        assert_eq!(size_of::<Flags>(), 16);
    }

    #[test]
    fn flags_survive_their_encoding() {
        let all = flags("\\Seen \\Deleted $a $b");
        let bytes = postcard::to_stdvec(&all).unwrap();
        assert_eq!(postcard::from_bytes::<Flags>(&bytes).unwrap(), all);
    }
}
