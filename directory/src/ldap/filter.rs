//! Search filters that cannot be injected into: the only way to a [`Filter`] escapes every value (RFC 4515 §3).

use std::fmt::{self, Write};

/// A search filter in its string form, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter(String);

impl Filter {
    /// The attribute has this value.
    pub(crate) fn equal(attribute: &str, value: impl AsRef<[u8]>) -> Self {
        let mut text = String::new();
        push_name(&mut text, attribute);
        text.push('=');
        push_escaped(&mut text, value.as_ref());
        Self(format!("({text})"))
    }

    /// The attribute has any value.
    pub(crate) fn present(attribute: &str) -> Self {
        let mut text = String::new();
        push_name(&mut text, attribute);
        Self(format!("({text}=*)"))
    }

    /// Every one of these matches.
    pub(crate) fn all(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::join('&', filters)
    }

    /// At least one of these matches.
    pub(crate) fn any(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::join('|', filters)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn join(operator: char, filters: impl IntoIterator<Item = Self>) -> Self {
        let inner: String = filters.into_iter().map(|filter| filter.0).collect();
        Self(format!("({operator}{inner})"))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Attribute names come from the configuration; whatever else stands in one is left out.
fn push_name(text: &mut String, attribute: &str) {
    text.extend(attribute.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ';')));
}

/// RFC 4515 §3 demands escapes for `*`, `(`, `)`, `\` and NUL and allows them for every byte.
fn push_escaped(text: &mut String, value: &[u8]) {
    for byte in value {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'.' | b'-' | b'_' | b'+') {
            text.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_stay_readable() {
        let filter = Filter::all([
            Filter::equal("objectClass", "inetOrgPerson"),
            Filter::any([Filter::equal("uid", "eve"), Filter::equal("mail", "eve+x@example.org")]),
            Filter::present("mailHost"),
        ]);
        assert_eq!(filter.as_str(), "(&(objectClass=inetOrgPerson)(|(uid=eve)(mail=eve+x@example.org))(mailHost=*))");
    }

    #[test]
    fn hostile_names_are_harmless() {
        assert_eq!(Filter::equal("uid", "*)(uid=*").as_str(), "(uid=\\2a\\29\\28uid\\3d\\2a)");
        assert_eq!(Filter::equal("uid", "\0\\é").as_str(), "(uid=\\00\\5c\\c3\\a9)");
        assert_eq!(Filter::equal("u)(id", "x").as_str(), "(uid=x)");
    }

    proptest! {
        /// Whatever the value is, the filter parses as one equality with exactly that value.
        #[test]
        fn every_value_stays_one_value(value in prop::collection::vec(any::<u8>(), 1..40)) {
            let filter = Filter::equal("uid", &value);
            prop_assert!(ldap3::parse_filter(filter.as_str()).is_ok());
            let inner = filter.as_str().strip_prefix("(uid=").and_then(|rest| rest.strip_suffix(')')).unwrap();
            prop_assert!(!inner.contains(['*', '(', ')', '\0']));
        }
    }
}
