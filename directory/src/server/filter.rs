//! Search filters (RFC 4511 §4.5.1.7): prepared once, then true, false or undefined for each entry.

use ldap3_proto::proto::{LdapFilter, LdapMatchingRuleAssertion, LdapSubstringFilter};

use super::{
    access::Rights,
    entry::{Entry, normal},
    schema::{self, Matching},
};
use crate::dn::Dn;

/// A filter whose names and values are in their normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Present(String),
    Equal(String, Vec<u8>),
    AtLeast(String, Vec<u8>),
    AtMost(String, Vec<u8>),
    Substring(String, Parts),
    /// An extensible match that also looks at the values of the entry's name.
    InName(Option<String>, Vec<u8>),
    /// A matching rule we do not know.
    Undefined,
}

/// What a substring filter looks for, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) initial: Vec<u8>,
    any: Vec<Vec<u8>>,
    last: Vec<u8>,
}

impl Filter {
    pub(super) fn prepare(filter: LdapFilter) -> Self {
        match filter {
            LdapFilter::And(all) => Self::And(all.into_iter().map(Self::prepare).collect()),
            LdapFilter::Or(any) => Self::Or(any.into_iter().map(Self::prepare).collect()),
            LdapFilter::Not(inner) => Self::Not(Box::new(Self::prepare(*inner))),
            LdapFilter::Present(name) => Self::Present(schema::key(&name)),
            // RFC 4511 §4.5.1.7.6 lets a server treat an approximate match as equality.
            LdapFilter::Equality(name, value) | LdapFilter::Approx(name, value) => with(name, value, Self::Equal),
            LdapFilter::GreaterOrEqual(name, value) => with(name, value, Self::AtLeast),
            LdapFilter::LessOrEqual(name, value) => with(name, value, Self::AtMost),
            LdapFilter::Substring(name, parts) => {
                let key = schema::key(&name);
                let parts = Parts::prepare(&key, parts);
                Self::Substring(key, parts)
            }
            LdapFilter::Extensible(assertion) => extensible(assertion),
        }
    }

    /// Whether an entry matches, as far as the one who asks may know: `None` is undefined.
    pub(super) fn matches(&self, entry: &Entry, rights: &Rights) -> Option<bool> {
        match self {
            // RFC 4511 §4.5.1.7.1: one false decides an AND, one true an OR; else an undefined one does.
            Self::And(all) => fold_three(all.iter().map(|f| f.matches(entry, rights)), false),
            Self::Or(any) => fold_three(any.iter().map(|f| f.matches(entry, rights)), true),
            Self::Not(inner) => inner.matches(entry, rights).map(|value| !value),
            Self::Undefined => None,
            Self::InName(key, value) => Some(in_name(entry, key.as_deref(), value)),
            Self::Present(key)
            | Self::Equal(key, _)
            | Self::AtLeast(key, _)
            | Self::AtMost(key, _)
            | Self::Substring(key, _) => rights.may_read(entry, key).then(|| self.matches_values(entry, key)),
        }
    }

    fn matches_values(&self, entry: &Entry, key: &str) -> bool {
        let values = entry.values(key);
        match self {
            Self::Present(_) => !values.is_empty(),
            Self::Equal(_, wanted) => values.iter().any(|value| normal(key, value) == *wanted),
            Self::AtLeast(_, bound) => values.iter().any(|value| compare(key, value, bound).is_ge()),
            Self::AtMost(_, bound) => values.iter().any(|value| compare(key, value, bound).is_le()),
            Self::Substring(_, parts) => values.iter().any(|value| parts.are_in(&normal(key, value))),
            Self::And(_) | Self::Or(_) | Self::Not(_) | Self::InName(..) | Self::Undefined => false,
        }
    }
}

fn with(name: String, value: String, make: fn(String, Vec<u8>) -> Filter) -> Filter {
    let key = schema::key(&name);
    let value = normal(&key, value.as_bytes());
    make(key, value)
}

/// RFC 4511 §4.5.1.7.7; the rules of RFC 4517 that compare for equality, ignoring case.
fn extensible(assertion: LdapMatchingRuleAssertion) -> Filter {
    const RULES: &[&str] = &["caseignorematch", "2.5.13.2", "caseexactmatch", "2.5.13.5", "caseignoreia5match"];
    let rule = assertion.matching_rule.map(|rule| rule.to_ascii_lowercase());
    if rule.is_some_and(|rule| !RULES.contains(&rule.as_str())) {
        return Filter::Undefined;
    }
    let key = assertion.type_.map(|name| schema::key(&name));
    let value = normal(key.as_deref().unwrap_or_default(), assertion.match_value.as_bytes());
    match (key, assertion.dn_attributes) {
        (Some(key), false) => Filter::Equal(key, value),
        (Some(key), true) => {
            Filter::Or(vec![Filter::Equal(key.clone(), value.clone()), Filter::InName(Some(key), value)])
        }
        (None, true) => Filter::InName(None, value),
        // A value of any attribute at all: no index, and nobody needs it.
        (None, false) => Filter::Undefined,
    }
}

fn fold_three(values: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let mut all_defined = true;
    for value in values {
        match value {
            Some(value) if value == decisive => return Some(decisive),
            Some(_) => {}
            None => all_defined = false,
        }
    }
    all_defined.then_some(!decisive)
}

fn in_name(entry: &Entry, key: Option<&str>, wanted: &[u8]) -> bool {
    let Ok(dn) = Dn::parse(&entry.dn) else { return false };
    dn.rdns().flat_map(crate::dn::Rdn::values).any(|(name, value)| {
        let name = schema::key(name);
        key.is_none_or(|key| key == name) && normal(&name, value.as_bytes()) == wanted
    })
}

fn compare(key: &str, value: &[u8], bound: &[u8]) -> std::cmp::Ordering {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i128>().ok());
    if schema::matching(key) == Matching::Integer
        && let (Some(value), Some(bound)) = (number(value), number(bound))
    {
        return value.cmp(&bound);
    }
    normal(key, value).as_slice().cmp(bound)
}

impl Parts {
    fn prepare(key: &str, parts: LdapSubstringFilter) -> Self {
        let fold = |part: Option<String>| part.map(|part| fold_part(key, &part)).unwrap_or_default();
        Self {
            initial: fold(parts.initial),
            any: parts.any.iter().map(|part| fold_part(key, part)).collect(),
            last: fold(parts.final_),
        }
    }

    fn are_in(&self, value: &[u8]) -> bool {
        let Some(mut rest) = value.strip_prefix(self.initial.as_slice()) else { return false };
        for part in &self.any {
            let Some(at) = find(rest, part) else { return false };
            rest = rest.get(at + part.len()..).unwrap_or_default();
        }
        rest.ends_with(&self.last)
    }
}

/// A part keeps its outer spaces: they may stand between words of the value.
fn fold_part(key: &str, part: &str) -> Vec<u8> {
    if schema::matching(key) == Matching::Text { part.to_lowercase().into_bytes() } else { part.as_bytes().to_vec() }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
#[path = "filter_test.rs"]
mod tests;
