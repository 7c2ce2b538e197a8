//! One change against the tables: everything is checked before anything is written, so a refused change leaves no trace
//! in the transaction it shares with others.

use std::collections::BTreeSet;

use ldap3_proto::LdapResultCode as Code;
use redb::ReadableTable;
use uuid::Uuid;

use super::table::{Tables, decode, index_keys, index_prefix, numbers};
use crate::{
    dn::{Dn, Rdn},
    server::{
        change::{self, Change},
        entry::{Attribute, Entry, Stamp, normal},
        refusal::{Refusal, refuse},
        schema,
    },
};

/// Entries that move along with a renamed one.
const MOVED_MAX: usize = 10_000;
/// Attributes whose values must not lead to two entries, and the attributes they share them with.
pub(super) const UNIQUE: &[(&str, &[&str])] =
    &[("uid", &["uid"]), ("mail", &["mail", "maillocaladdress"]), ("maillocaladdress", &["mail", "maillocaladdress"])];

/// Applies one change.
pub(super) fn apply(tables: &mut Tables<'_>, change: Change, stamp: Stamp) -> Result<(), Refusal> {
    match change {
        Change::Add { dn, attributes } => add(tables, &dn, attributes, stamp),
        Change::Delete { dn } => delete(tables, &dn),
        Change::Modify { dn, edits } => {
            let (number, old) = find(tables, &dn)?;
            let mut new = change::modify(old.clone(), &edits)?;
            new.modified = stamp;
            replace(tables, number, &old, &new)
        }
        Change::Rename { dn, rdn, delete_old, superior } => rename(tables, &dn, rdn, delete_old, superior, stamp),
    }
}

fn add(tables: &mut Tables<'_>, dn: &Dn, attributes: Vec<Attribute>, stamp: Stamp) -> Result<(), Refusal> {
    let path = dn.path();
    check_free(tables, dn, &path)?;
    check_parent(tables, dn)?;
    let mut entry = Entry {
        dn: dn.to_string(),
        attributes: change::check_new(attributes)?,
        uuid: Uuid::new_v4(),
        created: stamp.clone(),
        modified: stamp,
    };
    entry.complete_by_name(dn);
    check(tables, None, &entry)?;
    let number = tables.next_number()?;
    tables.paths.insert(path.as_str(), number)?;
    tables.put(number, &entry)?;
    for key in index_keys(&entry, number) {
        tables.index.insert(key.as_slice(), ())?;
    }
    Ok(())
}

fn delete(tables: &mut Tables<'_>, dn: &Dn) -> Result<(), Refusal> {
    let path = dn.path();
    let (number, entry) = find(tables, dn)?;
    if !below(tables, &path, 1)?.is_empty() {
        return refuse(Code::NotAllowedOnNonLeaf, "the entry has entries below it");
    }
    tables.paths.remove(path.as_str())?;
    tables.entries.remove(number)?;
    for key in index_keys(&entry, number) {
        tables.index.remove(key.as_slice())?;
    }
    Ok(())
}

fn rename(
    tables: &mut Tables<'_>,
    dn: &Dn,
    rdn: Rdn,
    delete_old: bool,
    superior: Option<Dn>,
    stamp: Stamp,
) -> Result<(), Refusal> {
    let (number, old) = find(tables, dn)?;
    let above = superior.or_else(|| dn.parent()).unwrap_or_default();
    let to = above.child_rdn(rdn);
    let (from_path, to_path) = (dn.path(), to.path());
    if to_path != from_path {
        check_free(tables, &to, &to_path)?;
        check_parent(tables, &to)?;
    }
    // An entry cannot move below itself.
    if to_path != from_path && to_path.starts_with(&from_path) {
        return refuse(Code::UnwillingToPerform, "the new superior is below the entry");
    }
    let mut new = change::rename(old.clone(), &to, delete_old)?;
    new.modified = stamp;
    schema::check(&new)?;
    check_unique(tables, Some(number), &new)?;
    let moved = below(tables, &from_path, MOVED_MAX + 1)?;
    if moved.len() > MOVED_MAX {
        return refuse(Code::AdminLimitExceeded, "too many entries below it");
    }
    tables.paths.remove(from_path.as_str())?;
    tables.paths.insert(to_path.as_str(), number)?;
    replace(tables, number, &old, &new)?;
    for (path, number) in moved {
        move_along(tables, &path, number, (&from_path, &to_path), (dn, &to))?;
    }
    Ok(())
}

/// Gives an entry below a renamed one its new name.
fn move_along(
    tables: &mut Tables<'_>,
    path: &str,
    number: u64,
    paths: (&str, &str),
    names: (&Dn, &Dn),
) -> Result<(), Refusal> {
    let mut entry = load(tables, number)?;
    let depth = Dn::parse(&entry.dn)?.rdns().count().saturating_sub(names.0.rdns().count());
    let own: Vec<Rdn> = Dn::parse(&entry.dn)?.rdns().take(depth).cloned().collect();
    entry.dn = own.into_iter().rev().fold(names.1.clone(), |above, rdn| above.child_rdn(rdn)).to_string();
    let new_path = path.replacen(paths.0, paths.1, 1);
    tables.paths.remove(path)?;
    tables.paths.insert(new_path.as_str(), number)?;
    tables.put(number, &entry)
}

/// Writes a changed entry and the difference of its index keys.
fn replace(tables: &mut Tables<'_>, number: u64, old: &Entry, new: &Entry) -> Result<(), Refusal> {
    check(tables, Some(number), new)?;
    let before: BTreeSet<_> = index_keys(old, number).into_iter().collect();
    let after: BTreeSet<_> = index_keys(new, number).into_iter().collect();
    for key in before.difference(&after) {
        tables.index.remove(key.as_slice())?;
    }
    for key in after.difference(&before) {
        tables.index.insert(key.as_slice(), ())?;
    }
    tables.put(number, new)
}

fn check(tables: &Tables<'_>, number: Option<u64>, entry: &Entry) -> Result<(), Refusal> {
    schema::check(entry)?;
    check_unique(tables, number, entry)
}

/// An address or login name must lead to one entry: the clients would refuse to guess between two.
fn check_unique(tables: &Tables<'_>, number: Option<u64>, entry: &Entry) -> Result<(), Refusal> {
    for (key, shared) in UNIQUE {
        for value in entry.values(key).iter() {
            for other in *shared {
                let mut prefix = index_prefix(other, &normal(other, value));
                prefix.push(0);
                let taken = numbers(&tables.index, &prefix, 0)?.find(|found| found.as_ref().ok().copied() != number);
                if let Some(found) = taken.transpose()? {
                    let holder = load(tables, found)?.dn;
                    return refuse(Code::ConstraintViolation, format!("{key}: the value belongs to {holder}"));
                }
            }
        }
    }
    Ok(())
}

fn check_free(tables: &Tables<'_>, dn: &Dn, path: &str) -> Result<(), Refusal> {
    if tables.paths.get(path)?.is_some() {
        return refuse(Code::EntryAlreadyExists, format!("{dn} exists already"));
    }
    Ok(())
}

/// The entry above must exist, except above the very first entry.
fn check_parent(tables: &Tables<'_>, dn: &Dn) -> Result<(), Refusal> {
    let Some(parent) = dn.parent() else { return refuse(Code::NamingViolation, "the root is no entry") };
    if tables.paths.first()?.is_none() || tables.paths.get(parent.path().as_str())?.is_some() {
        return Ok(());
    }
    Err(absent(tables, &parent))
}

fn find(tables: &Tables<'_>, dn: &Dn) -> Result<(u64, Entry), Refusal> {
    let number = tables.paths.get(dn.path().as_str())?.map(|number| number.value());
    match number {
        Some(number) => Ok((number, load(tables, number)?)),
        None => Err(absent(tables, dn)),
    }
}

/// Says that an entry does not exist, and which one above it does (RFC 4511 §4.1.9).
fn absent(tables: &Tables<'_>, dn: &Dn) -> Refusal {
    let above = std::iter::successors(dn.parent(), Dn::parent);
    let matched = above
        .filter(|above| tables.paths.get(above.path().as_str()).is_ok_and(|found| found.is_some()))
        .map(|above| above.to_string())
        .next();
    Refusal { code: Code::NoSuchObject, text: "no such entry".into(), matched: matched.unwrap_or_default() }
}

fn load(tables: &Tables<'_>, number: u64) -> Result<Entry, Refusal> {
    match tables.entries.get(number)? {
        Some(bytes) => decode(bytes.value()),
        None => Err(postcard::Error::DeserializeUnexpectedEnd.into()),
    }
}

/// Lists at most `max` paths below a path, without itself.
fn below(tables: &Tables<'_>, path: &str, max: usize) -> Result<Vec<(String, u64)>, Refusal> {
    let mut found = Vec::new();
    for item in tables.paths.range(path..)? {
        let (key, number) = item?;
        if !key.value().starts_with(path) || found.len() >= max {
            break;
        }
        if key.value() != path {
            found.push((key.value().to_owned(), number.value()));
        }
    }
    Ok(found)
}
