//! One entry: its name, what users wrote, and what the server keeps about it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::schema::{self, Matching};
use crate::dn::{Dn, fold};

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The name as it was written.
    pub(super) dn: String,
    pub(super) attributes: Vec<Attribute>,
    /// For life (RFC 4530).
    pub(super) uuid: Uuid,
    pub(super) created: Stamp,
    pub(super) modified: Stamp,
}

/// One attribute and its values, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attribute {
    /// See [`schema::stored_name`].
    pub(super) name: String,
    pub(super) values: Vec<Vec<u8>>,
}

/// Who changed an entry when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) unix_seconds: u64,
    pub(super) who: String,
}

impl Entry {
    /// Finds an attribute by its key.
    pub(super) fn attribute(&self, key: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| is_named(attribute, key))
    }

    /// Finds an attribute by its key, for changing it.
    pub(super) fn attribute_mut(&mut self, key: &str) -> Option<&mut Attribute> {
        self.attributes.iter_mut().find(|attribute| is_named(attribute, key))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.attribute(key).is_some_and(|attribute| !attribute.values.is_empty())
    }

    /// Returns an attribute's values that are text.
    pub(super) fn texts(&self, key: &str) -> Vec<&str> {
        let values = self.attribute(key).map_or(&[][..], |attribute| &attribute.values);
        values.iter().filter_map(|value| std::str::from_utf8(value).ok()).collect()
    }

    /// Returns the values of a user attribute, or of an operational one.
    pub(super) fn values(&self, key: &str) -> Cow<'_, [Vec<u8>]> {
        if let Some(attribute) = self.attribute(key) {
            return Cow::Borrowed(&attribute.values);
        }
        let value = match key {
            "entryuuid" => self.uuid.to_string(),
            "createtimestamp" => generalized_time(self.created.unix_seconds),
            "modifytimestamp" => generalized_time(self.modified.unix_seconds),
            "creatorsname" => self.created.who.clone(),
            "modifiersname" => self.modified.who.clone(),
            "entrydn" => self.dn.clone(),
            "subschemasubentry" => super::root::SUBSCHEMA_DN.to_owned(),
            _ => return Cow::Borrowed(&[]),
        };
        Cow::Owned(vec![value.into_bytes()])
    }

    /// Adds the values its name consists of, where they are missing (RFC 4511 §4.7).
    pub(super) fn complete_by_name(&mut self, dn: &Dn) {
        for (name, value) in dn.rdn().into_iter().flat_map(crate::dn::Rdn::values) {
            self.add_value(name, value.as_bytes().to_vec());
        }
    }

    /// Adds one value unless it is there; returns whether it was new.
    pub(super) fn add_value(&mut self, name: &str, value: Vec<u8>) -> bool {
        let key = schema::key(name);
        match self.attribute_mut(&key) {
            None => self.attributes.push(Attribute { name: schema::stored_name(name), values: vec![value] }),
            Some(attribute) if holds(&key, &attribute.values, &value) => return false,
            Some(attribute) => attribute.values.push(value),
        }
        true
    }

    /// Removes one value; returns whether it was there.
    pub(super) fn remove_value(&mut self, key: &str, value: &[u8]) -> bool {
        let wanted = normal(key, value);
        let Some(attribute) = self.attribute_mut(key) else { return false };
        let before = attribute.values.len();
        attribute.values.retain(|value| normal(key, value) != wanted);
        let removed = attribute.values.len() < before;
        self.attributes.retain(|attribute| !attribute.values.is_empty());
        removed
    }
}

fn is_named(attribute: &Attribute, key: &str) -> bool {
    attribute.name.eq_ignore_ascii_case(key)
}

/// Whether the values contain one that equals `value`.
pub(super) fn holds(key: &str, values: &[Vec<u8>], value: &[u8]) -> bool {
    let wanted = normal(key, value);
    values.iter().any(|value| normal(key, value) == wanted)
}

/// Returns the form in which values of an attribute are compared.
pub(super) fn normal(key: &str, value: &[u8]) -> Vec<u8> {
    match (schema::matching(key), std::str::from_utf8(value)) {
        (Matching::Octets, _) | (_, Err(_)) => value.to_vec(),
        (Matching::Text, Ok(text)) => fold(text).into_bytes(),
        (Matching::Integer, Ok(text)) => {
            text.parse::<i128>().map_or_else(|_| fold(text), |number| number.to_string()).into_bytes()
        }
    }
}

/// Writes a time as RFC 4517 §3.3.13 does, in UTC.
pub(super) fn generalized_time(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Turns days since 1970 into a date of the Gregorian calendar, counting years from March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(generalized_time(0), "19700101000000Z");
        assert_eq!(generalized_time(951_782_399), "20000228235959Z");
        assert_eq!(generalized_time(951_782_400), "20000229000000Z");
        assert_eq!(generalized_time(1_795_456_799), "20261123175959Z");
    }

    #[test]
    fn values_are_compared_as_their_attribute_wants() {
        assert!(holds("mail", &[b"Eve@X.org".to_vec()], b"eve@x.ORG"));
        assert!(holds("cn", &["Ève  Smith".into()], "ève smith".as_bytes()));
        assert!(!holds("userpassword", &[b"A".to_vec()], b"a"));
        assert!(holds("laniakeaquota", &[b"0010".to_vec()], b"10"));
    }
}
