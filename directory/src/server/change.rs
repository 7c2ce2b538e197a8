//! Changes of entries, as values and as pure functions from an entry to its successor.

use ldap3_proto::{
    LdapResultCode as Code,
    proto::{LdapModify, LdapModifyType},
};

use super::{
    access::PASSWORD_KEY,
    entry::{Attribute, Entry, holds},
    refusal::{Refusal, refuse},
    schema,
};
use crate::{
    dn::{Dn, Rdn},
    password::has_scheme,
};

/// One operation that writes.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Add { dn: Dn, attributes: Vec<Attribute> },
    Delete { dn: Dn },
    Modify { dn: Dn, edits: Vec<Edit> },
    Rename { dn: Dn, rdn: Rdn, delete_old: bool, superior: Option<Dn> },
}

/// One modification of one attribute (RFC 4511 §4.6, RFC 4525).
#[derive(Debug, Clone)]
pub(super) struct Edit {
    pub(super) kind: LdapModifyType,
    pub(super) attribute: Attribute,
}

impl From<LdapModify> for Edit {
    fn from(modify: LdapModify) -> Self {
        let attribute = Attribute { name: modify.modification.atype, values: modify.modification.vals };
        Self { kind: modify.operation, attribute }
    }
}

/// The passwords among the attributes that came in plain text: none is ever stored so unless it says `{CLEARTEXT}`.
pub(super) fn plain_passwords(attributes: &mut [Attribute]) -> impl Iterator<Item = &mut Vec<u8>> {
    let passwords = attributes.iter_mut().filter(|attribute| schema::key(&attribute.name) == PASSWORD_KEY);
    passwords.flat_map(|attribute| &mut attribute.values).filter(|value| !value.is_empty() && !has_scheme(value))
}

/// Checks the attributes of an entry to be added and merges those given twice.
pub(super) fn check_new(attributes: Vec<Attribute>) -> Result<Vec<Attribute>, Refusal> {
    let mut merged: Vec<Attribute> = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        check_writable(&attribute.name)?;
        if attribute.values.is_empty() {
            return refuse(Code::ProtocolError, format!("{}: no values", attribute.name));
        }
        let key = schema::key(&attribute.name);
        let at = merged.iter().position(|known| known.name.eq_ignore_ascii_case(&key)).unwrap_or_else(|| {
            merged.push(Attribute { name: schema::stored_name(&attribute.name), values: Vec::new() });
            merged.len() - 1
        });
        if let Some(target) = merged.get_mut(at) {
            add_values(target, &key, attribute.values)?;
        }
    }
    Ok(merged)
}

/// Applies modifications in their order, all or none (RFC 4511 §4.6).
pub(super) fn modify(mut entry: Entry, edits: &[Edit]) -> Result<Entry, Refusal> {
    for edit in edits {
        check_writable(&edit.attribute.name)?;
        apply(&mut entry, edit)?;
    }
    check_name_kept(&entry)?;
    Ok(entry)
}

/// Gives the entry its new name; the old name's values go or stay.
pub(super) fn rename(mut entry: Entry, to: &Dn, delete_old: bool) -> Result<Entry, Refusal> {
    let from = Dn::parse(&entry.dn)?;
    if delete_old {
        for (name, value) in from.rdn().into_iter().flat_map(Rdn::values) {
            entry.remove_value(&schema::key(name), value.as_bytes());
        }
    }
    entry.dn = to.to_string();
    entry.complete_by_name(to);
    Ok(entry)
}

fn apply(entry: &mut Entry, edit: &Edit) -> Result<(), Refusal> {
    let name = &edit.attribute.name;
    let key = schema::key(name);
    let values = edit.attribute.values.clone();
    match edit.kind {
        LdapModifyType::Add if values.is_empty() => refuse(Code::ProtocolError, format!("{name}: no values to add")),
        LdapModifyType::Add => match entry.attribute_mut(&key) {
            Some(attribute) => add_values(attribute, &key, values),
            None => insert(entry, name, &key, values),
        },
        LdapModifyType::Delete if values.is_empty() => {
            if !entry.has(&key) {
                return refuse(Code::NoSuchAttribute, format!("{name}: no such attribute"));
            }
            remove(entry, &key);
            Ok(())
        }
        LdapModifyType::Delete => {
            let absent = values.iter().any(|value| !entry.remove_value(&key, value));
            if absent { refuse(Code::NoSuchAttribute, format!("{name}: no such value")) } else { Ok(()) }
        }
        LdapModifyType::Replace => {
            remove(entry, &key);
            if values.is_empty() { Ok(()) } else { insert(entry, name, &key, values) }
        }
        LdapModifyType::Increment => increment(entry, name, &key, &values),
    }
}

fn insert(entry: &mut Entry, name: &str, key: &str, values: Vec<Vec<u8>>) -> Result<(), Refusal> {
    let mut attribute = Attribute { name: schema::stored_name(name), values: Vec::new() };
    add_values(&mut attribute, key, values)?;
    entry.attributes.push(attribute);
    Ok(())
}

fn remove(entry: &mut Entry, key: &str) {
    entry.attributes.retain(|attribute| !attribute.name.eq_ignore_ascii_case(key));
}

fn add_values(attribute: &mut Attribute, key: &str, values: Vec<Vec<u8>>) -> Result<(), Refusal> {
    for value in values {
        if value.is_empty() {
            return refuse(Code::InvalidAttributeSyntax, format!("{}: an empty value", attribute.name));
        }
        if holds(key, &attribute.values, &value) {
            return refuse(Code::AttributeOrValueExists, format!("{}: the value is there already", attribute.name));
        }
        attribute.values.push(value);
    }
    Ok(())
}

/// RFC 4525 §3: one amount, added to every value.
fn increment(entry: &mut Entry, name: &str, key: &str, amount: &[Vec<u8>]) -> Result<(), Refusal> {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok());
    let [amount] = amount else { return refuse(Code::ProtocolError, format!("{name}: one amount is needed")) };
    let Some(amount) = number(amount) else {
        return refuse(Code::InvalidAttributeSyntax, format!("{name}: the amount is no integer"));
    };
    let Some(attribute) = entry.attribute_mut(key) else {
        return refuse(Code::NoSuchAttribute, format!("{name}: no such attribute"));
    };
    for value in &mut attribute.values {
        let Some(sum) = number(value).and_then(|value| value.checked_add(amount)) else {
            return refuse(Code::ConstraintViolation, format!("{name}: not an integer, or too big"));
        };
        *value = sum.to_string().into_bytes();
    }
    Ok(())
}

fn check_writable(name: &str) -> Result<(), Refusal> {
    if !schema::is_attribute_name(name) {
        return refuse(Code::InvalidAttributeSyntax, "malformed attribute name");
    }
    if schema::is_operational(name) {
        return refuse(Code::ConstraintViolation, format!("{name}: kept by the server"));
    }
    Ok(())
}

/// RFC 4511 §4.6: a modification must not remove the values the name consists of.
fn check_name_kept(entry: &Entry) -> Result<(), Refusal> {
    let dn = Dn::parse(&entry.dn)?;
    for (name, value) in dn.rdn().into_iter().flat_map(Rdn::values) {
        let key = schema::key(name);
        if !holds(&key, &entry.values(&key), value.as_bytes()) {
            return refuse(Code::NotALlowedOnRDN, format!("{name}: part of the entry's name"));
        }
    }
    Ok(())
}
