//! Attributes ↔ records, as the profile names them.

use std::collections::HashMap;

use laniakea_config::Profile;
use ldap3::{
    ResultEntry, SearchEntry,
    asn1::{StructureTag, parse_tag},
};
use uuid::Uuid;

use super::filter::Filter;
use crate::{
    error::{Inconsistency, LookupError},
    id::{AccountId, ClusterName},
    name::Address,
    record::{AccountRecord, ClusterRecord, Status},
};

/// The tag of an entry among the answers to a search (RFC 4511 §4.5.2).
const SEARCH_RESULT_ENTRY: u64 = 4;
/// The class of cluster entries; not a matter of the profile, since no other schema has them.
pub(crate) const CLUSTER_CLASS: &str = "laniakeaCluster";
/// Attribute with a cluster's name.
pub(crate) const CLUSTER_NAME: &str = "cn";
/// Attribute with handoff addresses of its members.
pub(crate) const CLUSTER_MEMBER: &str = "laniakeaMember";

/// Lists the attributes an account record is made of.
pub(crate) fn account_attributes(profile: &Profile) -> Vec<String> {
    let single = [&profile.mail_host, &profile.forward, &profile.status, &profile.quota, &profile.id];
    let mut names: Vec<String> =
        profile.login.iter().chain(&profile.address).chain(single).filter(|name| !name.is_empty()).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// Reads an entry as a server sent it (RFC 4511 §4.5.2); `None` if it has another form, where the library's reader panics.
pub(crate) fn read(entry: ResultEntry) -> Option<SearchEntry> {
    let mut parts = entry.0.match_id(SEARCH_RESULT_ENTRY)?.expect_constructed()?.into_iter();
    let dn = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
    let mut entry = SearchEntry { dn, attrs: HashMap::new(), bin_attrs: HashMap::new() };
    for attribute in parts.next()?.expect_constructed()? {
        let mut parts = attribute.expect_constructed()?.into_iter();
        let name = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
        let values = parts.next()?.expect_constructed()?.into_iter();
        let values: Vec<Vec<u8>> = values.map(StructureTag::expect_primitive).collect::<Option<_>>()?;
        let texts = values.iter().map(|value| str::from_utf8(value).map(str::to_owned)).collect();
        match texts {
            Ok(texts) => drop(entry.attrs.insert(name, texts)),
            Err(_) => drop(entry.bin_attrs.insert(name, values)),
        }
    }
    Some(entry)
}

/// Reads whatever the bytes hold as an answer to a search. For fuzzing: no input may make it panic.
pub fn fuzz_answer(bytes: &[u8]) {
    if let Ok((_, tag)) = parse_tag(bytes)
        && let Some(found) = read(ResultEntry::new(tag))
    {
        let _ = (account(&Profile::inet_local_mail_recipient(), &found), cluster(&found));
    }
}

/// Makes the record of an account's entry.
pub(crate) fn account(profile: &Profile, entry: &SearchEntry) -> Result<AccountRecord, LookupError> {
    let reader = Reader { entry };
    let id = reader.bytes(&profile.id).and_then(|bytes| parse_id(&profile.id, bytes));
    let id = id.ok_or_else(|| reader.missing(&profile.id))?;
    let login = profile.login.iter().find_map(|name| reader.texts(name).first());
    let login = login.ok_or_else(|| reader.missing(profile.login.first().map_or("", String::as_str)))?;
    let forward = reader.one(&profile.forward)?;
    let forward = forward.map(|text| Address::parse(text).map_err(|_| reader.bad(&profile.forward))).transpose()?;
    Ok(AccountRecord {
        id: AccountId(id),
        dn: entry.dn.clone(),
        login: login.clone(),
        addresses: reader.addresses(&profile.address),
        mail_host: reader.one(&profile.mail_host)?.unwrap_or_default().to_owned(),
        forward,
        status: reader.one(&profile.status)?.map_or(Status::Active, Status::parse),
        // In every schema that has one, zero is no quota at all.
        quota: reader.one(&profile.quota)?.and_then(|text| text.parse().ok()).filter(|quota| *quota > 0),
    })
}

/// Makes the record of a cluster's entry.
pub(crate) fn cluster(entry: &SearchEntry) -> Result<ClusterRecord, LookupError> {
    let reader = Reader { entry };
    let name = reader.texts(CLUSTER_NAME).first().ok_or_else(|| reader.missing(CLUSTER_NAME))?;
    Ok(ClusterRecord { name: ClusterName::new(name), members: reader.texts(CLUSTER_MEMBER).to_vec() })
}

/// Makes the filter that finds an account by its id.
pub(crate) fn id_filter(attribute: &str, id: AccountId) -> Filter {
    match attribute.to_ascii_lowercase().as_str() {
        // Active Directory keeps the first three fields in little-endian order.
        "objectguid" => Filter::equal(attribute, id.0.to_bytes_le()),
        "nsuniqueid" => {
            let hex = id.0.simple().to_string();
            let words: Vec<&str> = [0, 8, 16, 24].iter().filter_map(|at| hex.get(*at..*at + 8)).collect();
            Filter::equal(attribute, words.join("-"))
        }
        _ => Filter::equal(attribute, id.to_string()),
    }
}

fn parse_id(attribute: &str, bytes: &[u8]) -> Option<Uuid> {
    if attribute.eq_ignore_ascii_case("objectGUID") {
        return bytes.try_into().ok().map(Uuid::from_bytes_le);
    }
    // 389-ds writes four words of eight digits, others the usual form.
    let hex: String = std::str::from_utf8(bytes).ok()?.chars().filter(char::is_ascii_hexdigit).collect();
    Uuid::try_parse(&hex).ok()
}

/// Reads one entry, with names of attributes in any case.
struct Reader<'a> {
    entry: &'a SearchEntry,
}

impl<'a> Reader<'a> {
    fn texts(&self, name: &str) -> &'a [String] {
        let found = self.entry.attrs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or(&[], |(_, values)| values.as_slice())
    }

    fn bytes(&self, name: &str) -> Option<&'a [u8]> {
        let binary = self.entry.bin_attrs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        let binary = binary.and_then(|(_, values)| values.first()).map(Vec::as_slice);
        binary.or_else(|| self.texts(name).first().map(|text| text.as_bytes()))
    }

    /// Reads an attribute that has one value or none; two are a fault, and we do not guess.
    fn one(&self, name: &str) -> Result<Option<&'a str>, LookupError> {
        match self.texts(name) {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(self.bad(name)),
        }
    }

    fn addresses(&self, names: &[String]) -> Vec<Address> {
        let mut addresses: Vec<Address> = Vec::new();
        for text in names.iter().flat_map(|name| self.texts(name)) {
            match Address::parse(text) {
                Ok(address) if addresses.contains(&address) => {}
                Ok(address) => addresses.push(address),
                Err(error) => tracing::debug!(dn = %self.entry.dn, %text, %error, "an address cannot be used"),
            }
        }
        addresses
    }

    fn missing(&self, attribute: &str) -> LookupError {
        Inconsistency::Missing { dn: self.entry.dn.as_str().into(), attribute: attribute.into() }.into()
    }

    fn bad(&self, attribute: &str) -> LookupError {
        Inconsistency::BadValue { dn: self.entry.dn.as_str().into(), attribute: attribute.into() }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(attributes: &[(&str, &[&str])]) -> SearchEntry {
        SearchEntry {
            dn: "uid=eve,dc=x".into(),
            attrs: attributes
                .iter()
                .map(|(name, values)| ((*name).into(), values.iter().map(|v| (*v).into()).collect()))
                .collect(),
            bin_attrs: std::collections::HashMap::new(),
        }
    }

    const ID: (&str, &[&str]) = ("entryuuid", &["00000000-0000-0000-0000-000000000007"]);

    fn read(attributes: &[(&str, &[&str])]) -> Result<AccountRecord, LookupError> {
        account(&Profile::inet_local_mail_recipient(), &entry(attributes))
    }

    #[test]
    fn an_entry_becomes_a_record() {
        let eve = read(&[
            ID,
            ("UID", &["eve"]),
            ("mail", &["eve@x.org"]),
            ("mailLocalAddress", &["Eve@x.org", "e@x.org", "not an address"]),
            ("mailHost", &["cluster-1"]),
            ("mailRoutingAddress", &["eve@elsewhere.test"]),
            ("laniakeaStatus", &["nologin"]),
            ("laniakeaQuota", &["1000"]),
        ]);
        let eve = eve.unwrap();
        assert_eq!((eve.login.as_str(), eve.mail_host.as_str(), eve.quota), ("eve", "cluster-1", Some(1000)));
        assert_eq!(eve.addresses, ["eve@x.org", "e@x.org"].map(|text| Address::parse(text).unwrap()));
        assert_eq!((eve.status, eve.forward.unwrap().to_string()), (Status::NoLogin, "eve@elsewhere.test".into()));
        assert_eq!(eve.id.0.as_u128(), 7);
    }

    #[test]
    fn what_is_missing_or_double_is_a_fault() {
        assert!(read(&[("uid", &["eve"])]).is_err());
        assert!(read(&[ID]).is_err());
        assert!(read(&[ID, ("uid", &["eve"]), ("mailHost", &["a", "b"])]).is_err());
        assert!(read(&[ID, ("uid", &["eve"]), ("mailRoutingAddress", &["nonsense"])]).is_err());
        let eve = read(&[ID, ("mail", &["eve@x.org"]), ("laniakeaQuota", &["lots"])]).unwrap();
        assert_eq!((eve.login.as_str(), eve.mail_host.as_str(), eve.quota), ("eve@x.org", "", None));
    }

    #[test]
    fn ids_of_other_servers_are_read_and_asked_for() {
        let id = AccountId(Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff));
        let guid = [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        assert_eq!(parse_id("objectGUID", &guid), Some(id.0));
        assert_eq!(parse_id("nsUniqueId", b"00112233-44556677-8899aabb-ccddeeff"), Some(id.0));
        assert_eq!(parse_id("entryUUID", b"00112233-4455-6677-8899-aabbccddeeff"), Some(id.0));
        assert_eq!(id_filter("nsUniqueId", id).as_str(), "(nsUniqueId=00112233-44556677-8899aabb-ccddeeff)");
        assert_eq!(id_filter("entryUUID", id).as_str(), "(entryUUID=00112233-4455-6677-8899-aabbccddeeff)");
        assert!(id_filter("objectGUID", id).as_str().starts_with("(objectGUID=3\\22\\11\\00UDw"));
    }
}
