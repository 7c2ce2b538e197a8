use redb::ReadableDatabase as _;

use super::*;
use crate::server::store::read::Reader;

const BASE: &str = "dc=x";

fn dn(text: &str) -> Dn {
    Dn::parse(text).unwrap()
}

fn unit(name: &str) -> Change {
    let attribute = |name: &str, value: &str| Attribute { name: name.into(), values: vec![value.into()] };
    let attributes = vec![attribute("objectClass", "organizationalUnit"), attribute("ou", name)];
    Change::Add { dn: dn(BASE).child("ou", name), attributes }
}

fn base_entry() -> Change {
    let attributes = vec![Attribute { name: "objectClass".into(), values: vec![b"domain".to_vec()] }];
    Change::Add { dn: dn(BASE), attributes }
}

/// An account on a line, with what else its entry says.
fn person(line: u64, name: &str, more: &[(&str, &str)]) -> LdifEntry {
    let mail = format!("{name}@x.example");
    let known = [("objectClass", "inetOrgPerson"), ("uid", name), ("cn", name), ("sn", name), ("mail", &mail)];
    let attributes = known.iter().chain(more);
    let attributes = attributes.map(|(name, value)| ((*name).to_owned(), vec![value.as_bytes().to_vec()]));
    LdifEntry { line, dn: format!("uid={name},ou=people,{BASE}"), attributes: attributes.collect() }
}

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn load(&self, entries: impl IntoIterator<Item = Result<LdifEntry, Abandoned>>) -> Result<Vec<Loading>, LoadError> {
        let database = self.folder.path().join("d.redb");
        let mut told = Vec::new();
        let load = Load {
            new_passwords: Default::default(),
            data: self.folder.path(),
            database: &database,
            base: &dn(BASE),
            frame: vec![base_entry(), unit("people")],
            stamp: Stamp { unix_seconds: 1, who: "cn=admin".into() },
        };
        let loaded = load.run(entries.into_iter(), &mut |one| told.push(one));
        assert!(!self.folder.path().join(SORT_FOLDER).exists());
        loaded.map(|()| told)
    }

    fn reader(&self) -> Reader {
        let database = Database::open(self.folder.path().join("d.redb")).unwrap();
        Reader::open(&database.begin_read().unwrap()).unwrap()
    }

    /// Everything in the tables.
    fn dump(&self) -> Dump {
        let database = Database::open(self.folder.path().join("d.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        let tables = Tables::open(&transaction).unwrap();
        let path = |item: Result<(redb::AccessGuard<'_, &str>, _), _>| item.unwrap().0.value().to_owned();
        Dump {
            paths: tables.paths.iter().unwrap().map(path).collect(),
            numbers: tables.entries.iter().unwrap().map(|item| item.unwrap().0.value()).collect(),
            index: tables.index.iter().unwrap().map(|item| item.unwrap().0.value().to_vec()).collect(),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Dump {
    paths: Vec<String>,
    numbers: Vec<u64>,
    index: Vec<Vec<u8>>,
}

fn refused(told: &[Loading]) -> Vec<(u64, &str)> {
    let refused = told.iter().filter_map(|one| match one {
        Loading::Refused { line, why, .. } => Some((*line, why.as_str())),
        _ => None,
    });
    refused.collect()
}

#[test]
fn what_was_loaded_is_found_like_what_was_added() {
    const ID: &str = "6f8a3b1e-0d5c-4e53-9a53-3f1d0c4b7a11";
    let world = World::new();
    let dumped =
        [("entryUUID", ID), ("createTimestamp", "20200101000000Z"), ("structuralObjectClass", "inetOrgPerson")];
    let told = world.load([Ok(person(1, "Eve", &dumped)), Ok(person(9, "adam", &[("userPassword", "pw")]))]).unwrap();
    assert_eq!(told, [Loading::Read, Loading::Read]);
    let reader = world.reader();
    let eve = reader.find(&dn("uid=eve,ou=People,dc=X")).unwrap().unwrap();
    assert_eq!(eve.uuid.to_string(), ID);
    assert!(!eve.has("structuralobjectclass") && eve.created.unix_seconds == 1);
    let password = reader.find(&dn("uid=adam,ou=people,dc=x")).unwrap().unwrap().values("userpassword").concat();
    assert!(crate::password::has_scheme(&password));

    // One after the other through the writer, the same tables come about.
    let other = World::new();
    let database = Database::create(other.folder.path().join("d.redb")).unwrap();
    super::super::table::create(&database).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut tables = Tables::open(&transaction).unwrap();
        let added = ["Eve", "adam"].map(|name| {
            let entry = person(0, name, &[]);
            let attributes = entry.attributes.into_iter().map(|(name, values)| Attribute { name, values }).collect();
            Change::Add { dn: dn(&entry.dn), attributes }
        });
        for change in [base_entry(), unit("people")].into_iter().chain(added) {
            apply(&mut tables, change, Stamp { unix_seconds: 1, who: "cn=admin".into() }).unwrap();
        }
    }
    transaction.commit().unwrap();
    drop(database);
    drop(reader);
    let without_ids = |world: &World| {
        let Dump { paths, index, .. } = world.dump();
        // Numbers may have gaps, and identities are made up.
        let keys = index.into_iter().filter(|key| !key.starts_with(b"entryuuid"));
        (paths, keys.map(|key| key[..key.len() - 8].to_vec()).collect::<Vec<_>>())
    };
    assert_eq!(without_ids(&world), without_ids(&other));
}

#[test]
fn what_cannot_stand_beside_the_others_is_left_out_whole() {
    let world = World::new();
    world.load([Ok(person(1, "old", &[("mailLocalAddress", "sales@x.example")]))]).unwrap();
    let stranger = LdifEntry { dn: "uid=a,ou=people,dc=y".into(), ..person(7, "a", &[]) };
    let orphan = LdifEntry { dn: format!("uid=b,ou=nowhere,{BASE}"), ..person(8, "b", &[]) };
    let classless = LdifEntry { attributes: vec![("uid".into(), vec![b"c".to_vec()])], ..person(9, "c", &[]) };
    let named = |line, name| LdifEntry { dn: format!("cn=other,ou=people,{BASE}"), ..person(line, name, &[]) };
    let told = world
        .load([
            Ok(person(2, "old", &[])),
            Ok(person(3, "new", &[])),
            Ok(person(4, "one", &[("mailLocalAddress", "Sales@X.example")])),
            Ok(person(5, "two", &[("mailLocalAddress", "new@x.example")])),
            Ok(named(10, "other")),
            Ok(named(6, "third")),
            Ok(stranger),
            Ok(orphan),
            Ok(classless),
        ])
        .unwrap();
    assert_eq!(told.iter().filter(|one| **one == Loading::Existed).count(), 1);
    assert_eq!(
        refused(&told),
        [
            (7, "not below dc=x"),
            (9, "no objectClass"),
            (4, "sales@x.example belongs to uid=old,ou=people,dc=x"),
            (5, "new@x.example belongs to uid=new,ou=people,dc=x"),
            (6, "the file has an entry of this name already"),
            (8, "there is no entry above it"),
        ]
    );
    let Dump { paths, numbers, index } = world.dump();
    // The base, the unit, old, new and other.
    assert_eq!((paths.len(), numbers.len()), (5, 5));
    assert!(index.iter().all(|key| numbers.contains(&number_of(key).unwrap())));
}

#[test]
fn without_all_entries_nothing_changes() {
    let world = World::new();
    world.load([Ok(person(1, "eve", &[]))]).unwrap();
    let before = world.dump();
    let entries = (0..10_000).map(|number| Ok(person(number, &format!("p{number}"), &[])));
    assert!(matches!(world.load(entries.chain([Err(Abandoned)])), Err(LoadError::Abandoned(_))));
    assert_eq!(world.dump(), before);
    let told = world.load([Ok(person(1, "adam", &[]))]).unwrap();
    assert_eq!(told, [Loading::Read]);
}

#[test]
fn a_database_that_is_served_is_left_alone() {
    let world = World::new();
    world.load([]).unwrap();
    let held = Database::open(world.folder.path().join("d.redb")).unwrap();
    assert!(matches!(world.load([Ok(person(1, "eve", &[]))]), Err(LoadError::Running)));
    drop(held);
}

#[test]
fn keys_that_do_not_fit_in_memory_are_sorted_on_the_disk() {
    let sorter = ExternalSorter::new().with_segment_size(10);
    let keys: Vec<Key> = (0..100_u64).rev().map(|number| Key::new(Kind::Index, b"value\0", number)).collect();
    let sorted: Vec<Key> = sorter.sort(keys.clone()).unwrap().map(Result::unwrap).collect();
    assert!(sorted.iter().eq(keys.iter().rev()));
}
