use std::time::{Duration, Instant};

use ldap3_proto::{
    LdapResultCode as Code, parse_ldap_filter_str,
    proto::{LdapModifyType, LdapResultCode},
};

use super::*;
use crate::{
    dn::{Dn, Rdn},
    server::{
        access::Rights,
        change::Edit,
        entry::{Attribute, Entry},
        filter::Filter,
    },
};

struct World {
    store: Store,
    _folder: tempfile::TempDir,
}

fn dn(text: &str) -> Dn {
    Dn::parse(text).unwrap()
}

fn attributes(pairs: &[(&str, &str)]) -> Vec<Attribute> {
    pairs
        .iter()
        .map(|(name, value)| Attribute { name: (*name).into(), values: vec![value.as_bytes().to_vec()] })
        .collect()
}

fn person(name: &str) -> Change {
    let mail = format!("{name}@example.org");
    let pairs = [("objectClass", "inetOrgPerson"), ("uid", name), ("cn", name), ("sn", name), ("mail", &mail)];
    Change::Add { dn: dn(&format!("uid={name},ou=people,dc=x")), attributes: attributes(&pairs) }
}

fn edit(dn_text: &str, kind: LdapModifyType, name: &str, values: &[&str]) -> Change {
    let values = values.iter().map(|value| value.as_bytes().to_vec()).collect();
    Change::Modify { dn: dn(dn_text), edits: vec![Edit { kind, attribute: Attribute { name: name.into(), values } }] }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self { store: Store::open(&folder.path().join("d.redb")).unwrap(), _folder: folder };
        world.done(Change::Add { dn: dn("dc=x"), attributes: attributes(&[("objectClass", "domain")]) }).await;
        let ou =
            Change::Add { dn: dn("ou=People,dc=x"), attributes: attributes(&[("objectClass", "organizationalUnit")]) };
        world.done(ou).await;
        world
    }

    async fn write(&self, change: Change) -> Result<(), LdapResultCode> {
        let answer = self.store.write(change, "cn=admin".into()).await.unwrap();
        answer.await.unwrap().map_err(|refusal| refusal.code)
    }

    async fn done(&self, change: Change) {
        assert_eq!(self.write(change).await, Ok(()));
    }

    fn search(&self, scope: Scope, base: &str, filter: &str) -> Vec<String> {
        self.page(scope, base, filter, Cursor::Start, usize::MAX).0
    }

    fn page(&self, scope: Scope, base: &str, filter: &str, after: Cursor, max: usize) -> (Vec<String>, End) {
        let filter = Filter::prepare(parse_ldap_filter_str(filter).unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        let search = Search { base: dn(base), scope, filter, rights: Rights::Admin, deadline, after, max };
        let mut found = Vec::new();
        let reader = self.store.reader().unwrap();
        let end = reader.run(&search, &reader.source(&search).unwrap(), &mut |entry: Entry| {
            found.push(entry.dn);
            true
        });
        (found, end.unwrap())
    }
}

#[tokio::test]
async fn entries_are_added_found_and_deleted() {
    let world = World::new().await;
    world.done(person("eve")).await;
    assert_eq!(world.write(person("EVE")).await, Err(Code::EntryAlreadyExists));
    for filter in
        ["(uid=EVE)", "(mail=eve@example.org)", "(&(objectClass=inetorgperson)(|(uid=x)(mail=EVE@*)))", "(mail=eve*)"]
    {
        assert_eq!(world.search(Scope::Subtree, "dc=x", filter), ["uid=eve,ou=people,dc=x"], "{filter}");
    }
    assert_eq!(world.search(Scope::OneLevel, "dc=x", "(objectClass=*)"), ["ou=People,dc=x"]);
    assert_eq!(world.search(Scope::Base, "ou=people,dc=x", "(objectClass=*)"), ["ou=People,dc=x"]);
    assert_eq!(world.search(Scope::Children, "ou=people,dc=x", "(objectClass=*)"), ["uid=eve,ou=people,dc=x"]);
    assert_eq!(world.write(Change::Delete { dn: dn("ou=people,dc=x") }).await, Err(Code::NotAllowedOnNonLeaf));
    world.done(Change::Delete { dn: dn("uid=eve,ou=people,dc=x") }).await;
    assert_eq!(world.write(Change::Delete { dn: dn("uid=eve,ou=people,dc=x") }).await, Err(Code::NoSuchObject));
    assert!(world.search(Scope::Subtree, "dc=x", "(uid=eve)").is_empty());
}

#[tokio::test]
async fn addresses_and_logins_belong_to_one_entry() {
    let world = World::new().await;
    world.done(person("eve")).await;
    world.done(person("adam")).await;
    for attribute in ["mail", "mailLocalAddress"] {
        let steal = edit("uid=adam,ou=people,dc=x", LdapModifyType::Add, attribute, &["EVE@example.org"]);
        assert_eq!(world.write(steal).await, Err(Code::ConstraintViolation), "{attribute}");
    }
    let own = edit("uid=adam,ou=people,dc=x", LdapModifyType::Add, "mailLocalAddress", &["adam@example.org"]);
    world.done(own).await;
    assert_eq!(world.search(Scope::Subtree, "dc=x", "(mailLocalAddress=adam@example.org)").len(), 1);
}

#[tokio::test]
async fn modifications_follow_the_rules() {
    let world = World::new().await;
    world.done(person("eve")).await;
    let eve = "uid=eve,ou=people,dc=x";
    for (kind, name, values, expected) in [
        (LdapModifyType::Add, "cn", vec!["Eve Smith"], Ok(())),
        (LdapModifyType::Add, "cn", vec!["EVE  smith"], Err(Code::AttributeOrValueExists)),
        (LdapModifyType::Replace, "mailHost", vec!["a", "b"], Err(Code::ConstraintViolation)),
        (LdapModifyType::Replace, "mailHost", vec!["a"], Ok(())),
        (LdapModifyType::Replace, "MAILHOST", vec!["b"], Ok(())),
        (LdapModifyType::Delete, "mailHost", vec!["a"], Err(Code::NoSuchAttribute)),
        (LdapModifyType::Delete, "mailHost", vec![], Ok(())),
        (LdapModifyType::Delete, "mailHost", vec![], Err(Code::NoSuchAttribute)),
        (LdapModifyType::Replace, "mailHost", vec![], Ok(())),
        (LdapModifyType::Delete, "uid", vec![], Err(Code::NotALlowedOnRDN)),
        (LdapModifyType::Delete, "sn", vec![], Err(Code::ObjectClassViolation)),
        (LdapModifyType::Replace, "entryUUID", vec!["x"], Err(Code::ConstraintViolation)),
        (LdapModifyType::Replace, "laniakeaQuota", vec!["many"], Err(Code::InvalidAttributeSyntax)),
        (LdapModifyType::Replace, "laniakeaQuota", vec!["5"], Ok(())),
        (LdapModifyType::Increment, "laniakeaQuota", vec!["-7"], Ok(())),
        (LdapModifyType::Add, "bad name", vec!["5"], Err(Code::InvalidAttributeSyntax)),
    ] {
        let change = edit(eve, kind.clone(), name, &values);
        assert_eq!(world.write(change).await, expected, "{kind:?} {name} {values:?}");
    }
    let entry = world.store.reader().unwrap().find(&dn(eve)).unwrap().unwrap();
    assert_eq!(entry.texts("laniakeaquota"), ["-2"]);
    assert!(!entry.has("mailhost"));
}

#[tokio::test]
async fn the_schema_is_checked_on_addition() {
    let world = World::new().await;
    for (pairs, expected) in [
        (vec![("cn", "a")], Code::ObjectClassViolation),
        (vec![("objectClass", "inetOrgPerson"), ("cn", "a")], Code::ObjectClassViolation),
        (vec![("objectClass", "inetLocalMailRecipient")], Code::ObjectClassViolation),
        (vec![("objectClass", "account"), ("entryUUID", "a")], Code::ConstraintViolation),
        (vec![("objectClass", "account"), ("description", "")], Code::InvalidAttributeSyntax),
    ] {
        let change = Change::Add { dn: dn("uid=a,dc=x"), attributes: attributes(&pairs) };
        assert_eq!(world.write(change).await, Err(expected), "{pairs:?}");
    }
    let below_nothing =
        Change::Add { dn: dn("uid=a,ou=no,dc=x"), attributes: attributes(&[("objectClass", "account")]) };
    assert_eq!(world.write(below_nothing).await, Err(Code::NoSuchObject));
    // A class we do not know, and the naming attribute taken from the name.
    world.done(Change::Add { dn: dn("uid=a,dc=x"), attributes: attributes(&[("objectClass", "zimbraAccount")]) }).await;
    assert_eq!(world.search(Scope::Subtree, "dc=x", "(uid=a)"), ["uid=a,dc=x"]);
}

#[tokio::test]
async fn a_rename_moves_the_entry_and_all_below_it() {
    let world = World::new().await;
    for name in ["eve", "adam"] {
        world.done(person(name)).await;
    }
    let before = world.store.reader().unwrap().find(&dn("uid=eve,ou=people,dc=x")).unwrap().unwrap().uuid;
    let rdn = |text: &str| Rdn::parse(text).unwrap();
    let rename = Change::Rename { dn: dn("ou=people,dc=x"), rdn: rdn("ou=Folk"), delete_old: true, superior: None };
    world.done(rename).await;
    assert_eq!(world.search(Scope::Subtree, "dc=x", "(uid=eve)"), ["uid=eve,ou=Folk,dc=x"]);
    let eve = world.store.reader().unwrap().find(&dn("uid=eve,ou=folk,dc=x")).unwrap().unwrap();
    assert_eq!(eve.uuid, before);
    assert!(world.search(Scope::Subtree, "dc=x", "(ou=people)").is_empty());
    let below = Some(dn("uid=eve,ou=folk,dc=x"));
    let rename = Change::Rename { dn: dn("ou=folk,dc=x"), rdn: rdn("ou=folk"), delete_old: true, superior: below };
    assert_eq!(world.write(rename).await, Err(Code::UnwillingToPerform));
    let onto =
        Change::Rename { dn: dn("uid=eve,ou=folk,dc=x"), rdn: rdn("uid=adam"), delete_old: true, superior: None };
    assert_eq!(world.write(onto).await, Err(Code::EntryAlreadyExists));
    let keep =
        Change::Rename { dn: dn("uid=eve,ou=folk,dc=x"), rdn: rdn("uid=eva"), delete_old: false, superior: None };
    world.done(keep).await;
    assert_eq!(world.search(Scope::Subtree, "dc=x", "(&(uid=eve)(uid=eva))"), ["uid=eva,ou=folk,dc=x"]);
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    let world = World::new().await;
    let names: Vec<String> = (0..500).map(|n| format!("user{n:03}")).collect();
    let mut answers = Vec::new();
    for name in &names {
        answers.push(world.store.write(person(name), "cn=admin".into()).await.unwrap());
    }
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    for filter in [
        "(objectClass=inetOrgPerson)",
        "(uid=user*)",
        "(sn=user*)",
        "(|(uid=user001)(uid=user002)(uid=user003)(uid=user004))",
    ] {
        let all = world.search(Scope::Subtree, "dc=x", filter);
        let (mut paged, mut after) = (Vec::new(), Cursor::Start);
        loop {
            let (page, end) = world.page(Scope::Subtree, "dc=x", filter, after, 3);
            paged.extend(page);
            match end {
                End::More(next) => after = next,
                End::Complete => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(paged, all, "{filter}");
        assert!(all.len() == 500 || all.len() == 4);
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.redb");
    let uuid = {
        let store = Store::open(&path).unwrap();
        let change = Change::Add { dn: dn("dc=x"), attributes: attributes(&[("objectClass", "domain")]) };
        store.write(change, "cn=admin".into()).await.unwrap().await.unwrap().unwrap();
        store.reader().unwrap().find(&dn("dc=x")).unwrap().unwrap().uuid
    };
    let store = Store::open(&path).unwrap();
    assert_eq!(store.reader().unwrap().find(&dn("DC=X")).unwrap().unwrap().uuid, uuid);
}

/// Whatever happens to entries, the index holds exactly their values and the paths lead to them.
#[tokio::test]
async fn index_and_paths_agree_with_the_entries_after_any_changes() {
    let world = World::new().await;
    let mut random = 7_u64;
    let mut pick = |count: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % count
    };
    for _ in 0..600 {
        let name = format!("u{}", pick(12));
        let entry = format!("uid={name},ou=people,dc=x");
        let value = format!("v{}@x.org", pick(6));
        let change = match pick(6) {
            0 | 1 => person(&name),
            2 => Change::Delete { dn: dn(&entry) },
            3 => edit(&entry, LdapModifyType::Replace, "mailLocalAddress", &[&value]),
            4 => edit(&entry, LdapModifyType::Add, "cn", &[&value]),
            _ => {
                let rdn = Rdn::parse(&format!("uid=u{}", pick(12))).unwrap();
                Change::Rename { dn: dn(&entry), rdn, delete_old: pick(2) == 0, superior: None }
            }
        };
        // Many are refused; that must leave no trace either.
        let _ = world.write(change).await;
    }
    let transaction = redb::ReadableDatabase::begin_read(&*world.store.database).unwrap();
    let entries = transaction.open_table(table::ENTRIES).unwrap();
    let (mut keys, mut paths) = (Vec::new(), Vec::new());
    for item in entries.range::<u64>(..).unwrap() {
        let (number, bytes) = item.unwrap();
        let entry = table::decode(bytes.value()).unwrap();
        keys.extend(table::index_keys(&entry, number.value()));
        paths.push((dn(&entry.dn).path(), number.value()));
    }
    keys.sort();
    paths.sort();
    let index = transaction.open_table(table::INDEX).unwrap();
    let indexed: Vec<Vec<u8>> =
        index.range::<&[u8]>(..).unwrap().map(|item| item.unwrap().0.value().to_vec()).collect();
    let named = transaction.open_table(table::PATHS).unwrap();
    let named: Vec<(String, u64)> = named
        .range::<&str>(..)
        .unwrap()
        .map(|item| item.map(|(path, number)| (path.value().to_owned(), number.value())).unwrap())
        .collect();
    assert_eq!(keys, indexed);
    assert_eq!(paths, named);
    assert!(paths.len() > 2);
}
