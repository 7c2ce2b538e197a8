//! The patterns of LIST and LSUB (RFC 9051 §6.3.9): `*` stands for anything, `%` for anything within a level.
//!
//! All ways to match are followed at once, as bits: a name of n bytes costs n steps whatever the wildcards.

use super::{MailboxName, SEPARATOR, compose};

/// Most elements of a pattern, wildcards in a row counted once. With more it cannot match any name we hold.
const ELEMENTS_MAX: usize = 64 * WORDS - 1;
const WORDS: usize = 8;

/// A set of places in the pattern.
type Places = [u64; WORDS];

/// A compiled LIST pattern.
#[derive(Debug, Clone)]
pub struct ListPattern {
    elements: Vec<Element>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    /// `*`
    Anything,
    /// `%`
    WithinLevel,
    Byte(u8),
}

impl ListPattern {
    /// Compiles the pattern that LIST's two arguments spell together, in UTF-8. The reference is simply put in front.
    pub fn new(reference: &str, pattern: &str) -> Self {
        let mut elements: Vec<Element> = Vec::new();
        for byte in compose(&format!("{reference}{pattern}")).bytes() {
            let element = Element::from(byte);
            match (elements.last_mut(), element) {
                (Some(Element::Anything), Element::Anything | Element::WithinLevel) => {}
                (Some(last @ Element::WithinLevel), Element::Anything | Element::WithinLevel) => *last = element,
                _ => elements.push(element),
            }
        }
        Self { elements }
    }

    /// Whether the name matches.
    pub fn matches(&self, name: &MailboxName) -> bool {
        if self.elements.len() > ELEMENTS_MAX {
            return false;
        }
        let folded = if name.is_within_inbox() { super::INBOX.len() } else { 0 };
        let mut places = self.closure([1, 0, 0, 0, 0, 0, 0, 0]);
        for (index, byte) in name.as_str().bytes().enumerate() {
            places = self.closure(self.step(&places, byte, index < folded));
        }
        has(&places, self.elements.len())
    }

    /// The places after one more byte.
    fn step(&self, places: &Places, byte: u8, any_case: bool) -> Places {
        let mut next = [0; WORDS];
        for place in members(places) {
            match self.elements.get(place) {
                Some(Element::Anything) => add(&mut next, place),
                Some(Element::WithinLevel) if !is_separator(byte) => add(&mut next, place),
                Some(Element::Byte(own)) if *own == byte || any_case && own.eq_ignore_ascii_case(&byte) => {
                    add(&mut next, place + 1);
                }
                Some(Element::WithinLevel | Element::Byte(_)) | None => {}
            }
        }
        next
    }

    /// Adds the places reached by letting a wildcard stand for nothing. No two wildcards follow each other.
    fn closure(&self, places: Places) -> Places {
        let mut all = places;
        for place in members(&places) {
            if matches!(self.elements.get(place), Some(Element::Anything | Element::WithinLevel)) {
                add(&mut all, place + 1);
            }
        }
        all
    }
}

impl From<u8> for Element {
    fn from(byte: u8) -> Self {
        match byte {
            b'*' => Self::Anything,
            b'%' => Self::WithinLevel,
            byte => Self::Byte(byte),
        }
    }
}

fn is_separator(byte: u8) -> bool {
    char::from(byte) == SEPARATOR
}

fn has(places: &Places, place: usize) -> bool {
    places[place / 64] & (1 << (place % 64)) != 0
}

fn add(places: &mut Places, place: usize) {
    places[place / 64] |= 1 << (place % 64);
}

fn members(places: &Places) -> impl Iterator<Item = usize> + '_ {
    places.iter().enumerate().flat_map(|(word, &bits)| {
        std::iter::successors((bits != 0).then_some(bits), |bits| Some(bits & (bits - 1)).filter(|left| *left != 0))
            .map(move |bits| word * 64 + bits.trailing_zeros() as usize)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        ListPattern::new("", pattern).matches(&MailboxName::parse(name).unwrap())
    }

    #[test]
    fn percent_stays_within_a_level() {
        assert!(matches("%", "a") && !matches("%", "a/b"));
        assert!(matches("a/%", "a/b") && !matches("a/%", "a") && !matches("a/%", "a/b/c"));
        assert!(matches("%/%", "a/b") && matches("a%c/*", "abc/d/e"));
    }

    #[test]
    fn star_crosses_levels() {
        assert!(matches("*", "a/b/c") && matches("a*c", "a/b/c") && !matches("a*d", "a/b/c"));
        assert!(matches("*/%", "a/b") && matches("%*%", "a/b/c"));
    }

    #[test]
    fn the_reference_comes_in_front() {
        let pattern = ListPattern::new("Archive/", "%");
        assert!(pattern.matches(&MailboxName::parse("Archive/2026").unwrap()));
        assert!(!pattern.matches(&MailboxName::parse("Archive").unwrap()));
    }

    #[test]
    fn inbox_matches_in_any_case_and_others_do_not() {
        assert!(matches("inbox", "INBOX") && matches("iN%", "INBOX") && matches("inbox/*", "INBOX/Work"));
        assert!(!matches("inbox/work", "INBOX/Work") && !matches("sent", "Sent"));
    }

    #[test]
    fn decomposed_patterns_match_composed_names() {
        assert!(matches("Entwu\u{308}rfe", "Entw\u{fc}rfe"));
    }

    #[test]
    fn an_endless_pattern_matches_nothing() {
        assert!(!matches(&"a*".repeat(100_000), "a"));
        assert!(matches(&"*".repeat(100_000), "a"));
    }

    /// The definition, exponential and plain.
    fn model(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                model(rest, name) || name.split_first().is_some_and(|(_, name)| model(pattern, name))
            }
            ([b'%', rest @ ..], _) => {
                model(rest, name)
                    || name.split_first().is_some_and(|(&first, name)| first != b'/' && model(pattern, name))
            }
            ([own, rest @ ..], [byte, name @ ..]) => own == byte && model(rest, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_as_defined(pattern in "[ab/%*]{0,8}", name in "[ab]{1,3}(/[ab]{1,3}){0,2}") {
            prop_assert_eq!(matches(&pattern, &name), model(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
