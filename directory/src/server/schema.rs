//! What the server knows about attributes and object classes.
//!
//! The schema is open: classes and attributes that are not listed here are stored and searched as case-insensitive text,
//! so that a site can use any profile. What is listed is checked.

use super::{
    entry::Entry,
    refusal::{Refusal, refuse},
};
use crate::dn::canonical_type;
use ldap3_proto::LdapResultCode as Code;

/// The arc of our own schema: 2.25 and a random UUID as a number, which needs no registration (X.667).
macro_rules! arc {
    ($rest:literal) => {
        concat!("2.25.322696321734208271400702991150085146684.", $rest)
    };
}

/// Values of one attribute.
const VALUES_MAX: usize = 10_000;
/// Bytes of one entry.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Bytes of an attribute's name.
const NAME_BYTES_MAX: usize = 128;

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matching {
    /// caseIgnoreMatch (RFC 4517 §4.2.11).
    Text,
    /// octetStringMatch (RFC 4517 §4.2.27).
    Octets,
    /// integerMatch (RFC 4517 §4.2.19).
    Integer,
}

/// One attribute type.
pub(super) struct AttributeType {
    pub(super) name: &'static str,
    oid: &'static str,
    matching: Matching,
    single: bool,
    /// Kept by the server, returned only when asked for (RFC 4512 §3.4).
    pub(super) operational: bool,
}

/// One object class.
struct ObjectClass {
    name: &'static str,
    oid: &'static str,
    superior: &'static str,
    kind: &'static str,
    must: &'static [&'static str],
    may: &'static [&'static str],
}

const fn text(name: &'static str, oid: &'static str) -> AttributeType {
    AttributeType { name, oid, matching: Matching::Text, single: false, operational: false }
}

const fn single(name: &'static str, oid: &'static str) -> AttributeType {
    AttributeType { single: true, ..text(name, oid) }
}

const fn operational(name: &'static str, oid: &'static str) -> AttributeType {
    AttributeType { operational: true, ..single(name, oid) }
}

const ATTRIBUTES: &[AttributeType] = &[
    text("objectClass", "2.5.4.0"),
    text("cn", "2.5.4.3"),
    text("sn", "2.5.4.4"),
    text("o", "2.5.4.10"),
    text("ou", "2.5.4.11"),
    text("description", "2.5.4.13"),
    text("telephoneNumber", "2.5.4.20"),
    text("member", "2.5.4.31"),
    AttributeType { matching: Matching::Octets, ..text("userPassword", "2.5.4.35") },
    text("givenName", "2.5.4.42"),
    text("uid", "0.9.2342.19200300.100.1.1"),
    text("mail", "0.9.2342.19200300.100.1.3"),
    single("dc", "0.9.2342.19200300.100.1.25"),
    single("displayName", "2.16.840.1.113730.3.1.241"),
    single("preferredLanguage", "2.16.840.1.113730.3.1.39"),
    text("mailLocalAddress", "2.16.840.1.113730.3.1.13"),
    single("mailHost", "2.16.840.1.113730.3.1.18"),
    single("mailRoutingAddress", "2.16.840.1.113730.3.1.47"),
    single("laniakeaStatus", arc!("1.1")),
    AttributeType { matching: Matching::Integer, ..single("laniakeaQuota", arc!("1.2")) },
    text("laniakeaMember", arc!("1.3")),
    operational("entryUUID", "1.3.6.1.1.16.4"),
    operational("createTimestamp", "2.5.18.1"),
    operational("modifyTimestamp", "2.5.18.2"),
    operational("creatorsName", "2.5.18.3"),
    operational("modifiersName", "2.5.18.4"),
    operational("subschemaSubentry", "2.5.18.10"),
    operational("entryDN", "1.3.6.1.1.20"),
];

const fn class(
    name: &'static str,
    oid: &'static str,
    superior: &'static str,
    must: &'static [&'static str],
    may: &'static [&'static str],
) -> ObjectClass {
    ObjectClass { name, oid, superior, kind: "STRUCTURAL", must, may }
}

const fn auxiliary(of: ObjectClass) -> ObjectClass {
    ObjectClass { kind: "AUXILIARY", ..of }
}

const CLASSES: &[ObjectClass] = &[
    ObjectClass { kind: "ABSTRACT", ..class("top", "2.5.6.0", "", &["objectClass"], &[]) },
    class("organization", "2.5.6.4", "top", &["o"], &["description"]),
    class("organizationalUnit", "2.5.6.5", "top", &["ou"], &["description"]),
    class("person", "2.5.6.6", "top", &["sn", "cn"], &["userPassword", "telephoneNumber", "description"]),
    class("organizationalPerson", "2.5.6.7", "person", &[], &["ou"]),
    class(
        "inetOrgPerson",
        "2.16.840.1.113730.3.2.2",
        "organizationalPerson",
        &[],
        &["uid", "mail", "givenName", "displayName", "preferredLanguage"],
    ),
    class("organizationalRole", "2.5.6.8", "top", &["cn"], &["description"]),
    class("groupOfNames", "2.5.6.9", "top", &["cn", "member"], &["description"]),
    class("applicationProcess", "2.5.6.11", "top", &["cn"], &["description"]),
    class("domain", "0.9.2342.19200300.100.4.13", "top", &["dc"], &["description"]),
    auxiliary(class("dcObject", "1.3.6.1.4.1.1466.344", "top", &["dc"], &[])),
    class("account", "0.9.2342.19200300.100.4.5", "top", &["uid"], &["description"]),
    auxiliary(class("simpleSecurityObject", "0.9.2342.19200300.100.4.19", "top", &["userPassword"], &[])),
    auxiliary(class(
        "inetLocalMailRecipient",
        "2.16.840.1.113730.3.2.147",
        "top",
        &[],
        &["mailLocalAddress", "mailHost", "mailRoutingAddress"],
    )),
    auxiliary(class("laniakeaAccount", arc!("2.1"), "top", &[], &["laniakeaStatus", "laniakeaQuota"])),
    class("laniakeaCluster", arc!("2.2"), "top", &["cn"], &["laniakeaMember", "description"]),
];

/// Finds what is known of an attribute by any of its names.
pub(super) fn attribute(name: &str) -> Option<&'static AttributeType> {
    // Most write it as the standards do.
    if let Some(known) = ATTRIBUTES.iter().find(|known| known.name == name) {
        return Some(known);
    }
    let canonical = canonical_type(name);
    ATTRIBUTES.iter().find(|known| known.name.eq_ignore_ascii_case(&canonical) || known.oid == canonical)
}

/// Returns the key under which an attribute's values are stored and compared: lower case, one name of several.
pub(super) fn key(name: &str) -> String {
    // `;binary` says how a value is transferred, not what it is (RFC 4522).
    let name = name.strip_suffix(";binary").unwrap_or(name);
    attribute(name).map_or_else(|| canonical_type(name), |known| known.name.to_ascii_lowercase())
}

/// Returns the name under which an attribute's values are stored and shown: one of several, so that finding an attribute
/// of an entry is a plain comparison.
pub(super) fn stored_name(name: &str) -> String {
    let name = name.strip_suffix(";binary").unwrap_or(name);
    attribute(name).map_or_else(|| name.to_owned(), |known| known.name.to_owned())
}

/// How values of the attribute with this key are compared.
pub(super) fn matching(key: &str) -> Matching {
    let known = ATTRIBUTES.iter().find(|known| known.name.eq_ignore_ascii_case(key));
    known.map_or(Matching::Text, |known| known.matching)
}

/// Whether the server itself keeps this attribute.
pub(super) fn is_operational(name: &str) -> bool {
    attribute(name).is_some_and(|known| known.operational)
}

/// `AttributeDescription` of RFC 4512 §2.5.
pub(super) fn is_attribute_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b';' | b'.'))
}

/// Checks a whole entry as it would be stored.
pub(super) fn check(entry: &Entry) -> Result<(), Refusal> {
    check_values(entry)?;
    check_classes(entry)
}

fn check_values(entry: &Entry) -> Result<(), Refusal> {
    let mut bytes = entry.dn.len();
    for attribute in &entry.attributes {
        bytes += attribute.values.iter().map(Vec::len).sum::<usize>();
        let known = self::attribute(&attribute.name);
        if attribute.values.len() > VALUES_MAX {
            return refuse(Code::AdminLimitExceeded, format!("{}: too many values", attribute.name));
        }
        if known.is_some_and(|known| known.single) && attribute.values.len() > 1 {
            return refuse(Code::ConstraintViolation, format!("{}: only one value allowed", attribute.name));
        }
        let is_integer = |value: &Vec<u8>| std::str::from_utf8(value).is_ok_and(|v| v.parse::<i128>().is_ok());
        if known.is_some_and(|k| k.matching == Matching::Integer) && !attribute.values.iter().all(is_integer) {
            return refuse(Code::InvalidAttributeSyntax, format!("{}: not an integer", attribute.name));
        }
    }
    if bytes > ENTRY_BYTES_MAX { refuse(Code::AdminLimitExceeded, "the entry is too big") } else { Ok(()) }
}

/// Every class's required attributes are there, and one class is structural (RFC 4512 §2.4.2).
fn check_classes(entry: &Entry) -> Result<(), Refusal> {
    let names = entry.texts("objectclass");
    if names.is_empty() {
        return refuse(Code::ObjectClassViolation, "no objectClass");
    }
    let known: Vec<&ObjectClass> = names.iter().filter_map(|name| find_class(name)).collect();
    // A class we do not know may be structural.
    if known.len() == names.len() && !known.iter().any(|class| class.kind == "STRUCTURAL") {
        return refuse(Code::ObjectClassViolation, "no structural objectClass");
    }
    for class in known {
        let chain = std::iter::successors(Some(class), |class| find_class(class.superior));
        for (class, must) in chain.flat_map(|class| class.must.iter().map(move |must| (class, must))) {
            if !entry.has(&key(must)) {
                return refuse(Code::ObjectClassViolation, format!("{} requires {must}", class.name));
            }
        }
    }
    Ok(())
}

fn find_class(name: &str) -> Option<&'static ObjectClass> {
    CLASSES.iter().find(|class| class.name.eq_ignore_ascii_case(name) || class.oid == name)
}

/// Describes every attribute as RFC 4512 §4.1.2 does.
pub(super) fn attribute_descriptions() -> Vec<String> {
    ATTRIBUTES.iter().map(describe_attribute).collect()
}

fn describe_attribute(known: &AttributeType) -> String {
    let (equality, syntax) = match known.matching {
        Matching::Text => ("caseIgnoreMatch", "1.3.6.1.4.1.1466.115.121.1.15"),
        Matching::Octets => ("octetStringMatch", "1.3.6.1.4.1.1466.115.121.1.40"),
        Matching::Integer => ("integerMatch", "1.3.6.1.4.1.1466.115.121.1.27"),
    };
    let single = if known.single { " SINGLE-VALUE" } else { "" };
    let usage = if known.operational { " NO-USER-MODIFICATION USAGE directoryOperation" } else { "" };
    format!("( {} NAME '{}' EQUALITY {equality} SYNTAX {syntax}{single}{usage} )", known.oid, known.name)
}

/// Describes every object class as RFC 4512 §4.1.1 does.
pub(super) fn class_descriptions() -> Vec<String> {
    CLASSES.iter().map(describe_class).collect()
}

fn describe_class(class: &ObjectClass) -> String {
    let list = |word: &str, names: &[&str]| match names {
        [] => String::new(),
        names => format!(" {word} ( {} )", names.join(" $ ")),
    };
    let superior = if class.superior.is_empty() { String::new() } else { format!(" SUP {}", class.superior) };
    let (must, may) = (list("MUST", class.must), list("MAY", class.may));
    format!("( {} NAME '{}'{superior} {}{must}{may} )", class.oid, class.name, class.kind)
}
