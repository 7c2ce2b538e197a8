//! Texts as SEARCH compares them: composed, without regard to case.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use memchr::memmem;

/// A text to look for, in the form texts are compared in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle(String);

impl Needle {
    /// Prepares a text to look for.
    pub fn new(text: &str) -> Self {
        Self(fold(text))
    }

    /// Whether a text, folded already, has it.
    pub(super) fn is_in(&self, folded: &str) -> bool {
        memmem::find(folded.as_bytes(), self.0.as_bytes()).is_some()
    }

    /// Whether any text has it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Brings a text into the form it is compared in.
pub(super) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let lower: String = text.chars().flat_map(fold_char).collect();
    match ComposingNormalizerBorrowed::new_nfc().normalize(&lower) {
        Cow::Borrowed(_) => lower,
        Cow::Owned(composed) => composed,
    }
}

/// Lower case, with the one common case that needs two steps: all sharp s and its capital become `ss`.
fn fold_char(c: char) -> impl Iterator<Item = char> {
    let (sharp, others) = match c {
        '\u{df}' | '\u{1e9e}' => (Some("ss"), None),
        'ς' => (Some("σ"), None),
        c => (None, Some(c.to_lowercase())),
    };
    sharp.unwrap_or_default().chars().chain(others.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(needle: &str, text: &str) -> bool {
        Needle::new(needle).is_in(&fold(text))
    }

    #[test]
    fn case_and_composition_do_not_matter() {
        assert!(is_in("HELLO", "well, hello there") && !is_in("hellos", "hello"));
        assert!(is_in("GR\u{dc}\u{df}E", "gru\u{308}sse") && is_in("strasse", "Stra\u{df}e"));
        assert!(is_in("\u{3a3}\u{399}\u{3a3}", "\u{3c3}\u{3b9}\u{3c2}"));
        assert!(is_in("", "") && is_in("", "x"));
    }
}
