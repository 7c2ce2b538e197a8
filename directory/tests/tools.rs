//! The embedded server under Debian's own LDAP tools (package `ldap-utils`, which must be installed).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod world;

use world::{ADMIN, BASE, PASSWORD, World};

const EVE: &str = "uid=eve,ou=people,dc=example,dc=org";

const TREE: &str = "dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=eve,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
objectClass: laniakeaAccount
cn: Eve Smith
sn: Smith
uid: eve
mail: eve@example.org
mailLocalAddress: eve@example.org
mailLocalAddress: e.smith@example.org
mailHost: cluster-1
laniakeaQuota: 1000
userPassword: first

dn: uid=zoé,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
cn:: Wm/DqQ==
sn: X
mail: zoe@example.org
userPassword: {SSHA}mCEP3f+83lMHBMtcDFsVxqDHCUe9k99T
";

async fn with_tree() -> World {
    let world = World::start().await;
    let (code, out) = world.admin("ldapadd", &[], TREE).await;
    assert_eq!(code, 0, "{out}");
    world
}

#[tokio::test]
async fn entries_are_added_and_found_with_every_kind_of_selection() {
    let world = with_tree().await;
    for (filter, attributes, has, lacks) in [
        ("(uid=EVE)", vec![], vec!["cn: Eve Smith", "userPassword:: "], vec!["entryUUID"]),
        ("(uid=eve)", vec!["cn"], vec!["cn: Eve Smith"], vec!["sn:", "userPassword"]),
        (
            "(uid=eve)",
            vec!["+"],
            vec!["entryUUID: ", "createTimestamp: 2", "modifyTimestamp: 2", "creatorsName: cn=admin"],
            vec!["cn:"],
        ),
        ("(uid=eve)", vec!["*", "entryUUID"], vec!["cn: ", "entryUUID: "], vec!["createTimestamp"]),
        ("(uid=eve)", vec!["1.1"], vec!["dn: uid=eve"], vec!["cn:", "uid:"]),
        ("(mailLocalAddress=E.Smith@example.org)", vec!["1.1"], vec!["dn: uid=eve"], vec![]),
        (
            "(&(objectClass=inetLocalMailRecipient)(|(uid=x)(mail=eve@example.org)))",
            vec!["1.1"],
            vec!["dn: uid=eve"],
            vec![],
        ),
        ("(mail=*@example.org)", vec!["1.1"], vec!["numEntries: 2"], vec![]),
        ("(cn=e*smi*)", vec!["1.1"], vec!["numEntries: 1"], vec![]),
        ("(!(mail=*))", vec!["1.1"], vec!["numEntries: 2"], vec![]),
        ("(laniakeaQuota>=1000)", vec!["1.1"], vec!["numEntries: 1"], vec![]),
        ("(ou:dn:=people)", vec!["1.1"], vec!["numEntries: 3"], vec![]),
        ("(uid=\\2a\\29\\28uid=\\2a)", vec!["1.1"], vec!["numResponses: 1"], vec!["dn:", "numEntries"]),
        ("(cn=Zoé)", vec!["1.1"], vec!["numEntries: 1"], vec![]),
    ] {
        let arguments: Vec<&str> = ["-b", BASE, filter].into_iter().chain(attributes).collect();
        let (code, out) = world.admin("ldapsearch", &arguments, "").await;
        assert_eq!(code, 0, "{filter}: {out}");
        has.iter().for_each(|text| assert!(out.contains(text), "{filter} lacks {text}: {out}"));
        lacks.iter().for_each(|text| assert!(!out.contains(text), "{filter} has {text}: {out}"));
    }
    let (_, out) = world.admin("ldapsearch", &["-A", "-b", EVE, "-s", "base"], "").await;
    assert!(out.contains("cn:\n") && !out.contains("Eve Smith"), "{out}");
    let (_, out) = world.admin("ldapsearch", &["-b", BASE, "-s", "one", "(objectClass=*)", "1.1"], "").await;
    assert!(out.contains("numEntries: 1"), "{out}");
    world.stop().await;
}

#[tokio::test]
async fn passwords_are_never_stored_plain_and_open_the_entry() {
    let world = with_tree().await;
    let (_, out) = world.admin("ldapsearch", &["-LLL", "-o", "ldif-wrap=no", "-b", EVE, "userPassword"], "").await;
    assert!(out.contains("userPassword:: e0FSR09OMn0k"), "{out}"); // {ARGON2}$
    assert!(world.run("ldapwhoami", &["-D", EVE, "-w", "first"], "").await.1.contains("dn:uid=eve"));
    assert!(
        world.run("ldapwhoami", &["-x", "-D", "uid=Zoé,ou=PEOPLE,dc=example,dc=org", "-w", "geheim Ä"], "").await.0
            == 0
    );
    assert_eq!(world.run("ldapwhoami", &["-D", EVE, "-w", "wrong"], "").await.0, 49);
    assert_eq!(world.run("ldapwhoami", &["-D", "uid=no,dc=example,dc=org", "-w", "x"], "").await.0, 49);
    assert_eq!(world.run("ldapwhoami", &["-D", ADMIN, "-w", "wrong"], "").await.0, 49);
    assert_eq!(world.run("ldapwhoami", &["-D", EVE, "-w", ""], "").await.0, 53);
    assert!(world.run("ldapwhoami", &[], "").await.1.contains("anonymous"));
    // She changes it herself, the administrator sets it, and the server makes one up.
    let as_eve = ["-D", EVE, "-w", "first"];
    let (code, out) =
        world.run("ldappasswd", &[as_eve.as_slice(), &["-a", "first", "-s", "second"]].concat(), "").await;
    assert_eq!(code, 0, "{out}");
    assert_eq!(world.run("ldapwhoami", &as_eve, "").await.0, 49);
    assert_eq!(world.admin("ldappasswd", &["-s", "third", EVE], "").await.0, 0);
    assert_eq!(world.run("ldapwhoami", &["-D", EVE, "-w", "third"], "").await.0, 0);
    let (code, out) = world.admin("ldappasswd", &[EVE], "").await;
    let made = out.lines().find_map(|line| line.strip_prefix("New password: ")).expect("a new password").to_owned();
    assert_eq!((code, world.run("ldapwhoami", &["-D", EVE, "-w", &made], "").await.0), (0, 0));
    let own = format!("dn: {EVE}\nchangetype: modify\nreplace: userPassword\nuserPassword: fourth\n");
    assert_eq!(world.run("ldapmodify", &["-D", EVE, "-w", &made], &own).await.0, 0);
    assert_eq!(world.run("ldapwhoami", &["-D", EVE, "-w", "fourth"], "").await.0, 0);
    world.stop().await;
}

#[tokio::test]
async fn nobody_but_the_administrator_reads_or_writes() {
    let world = with_tree().await;
    let as_eve = ["-D", EVE, "-w", "first"];
    let with = |more: &[&'static str]| -> Vec<&'static str> { as_eve.iter().chain(more).copied().collect() };
    let (code, out) = world.run("ldapsearch", &with(&["-b", BASE, "(objectClass=*)"]), "").await;
    assert!(code == 0 && out.contains("numEntries: 1") && !out.contains("userPassword"), "{out}");
    let (_, out) = world.run("ldapsearch", &with(&["-b", EVE, "(userPassword=*)", "userPassword"]), "").await;
    assert!(!out.contains("dn: uid"), "{out}");
    let compared = world.run("ldapcompare", &with(&[EVE, "userPassword:x"]), "").await;
    assert!(compared.1.contains("Insufficient access"), "{compared:?}");
    let deleted = world.run("ldapdelete", &with(&[EVE]), "").await;
    assert_eq!(deleted.0, 50, "{}", deleted.1);
    let edit = format!("dn: {EVE}\nchangetype: modify\nreplace: mailHost\nmailHost: mine\n");
    assert_eq!(world.run("ldapmodify", &as_eve, &edit).await.0, 50);
    let zoe = "uid=zoé,ou=people,dc=example,dc=org";
    let stolen = world.run("ldappasswd", &[as_eve.as_slice(), &["-s", "x", zoe]].concat(), "").await;
    assert!(stolen.1.contains("Insufficient access"), "{stolen:?}");
    assert_eq!(world.run("ldapsearch", &["-b", BASE, "(uid=eve)"], "").await.0, 50);
    assert_eq!(world.run("ldapadd", &[], TREE).await.0, 50);
    let (code, out) = world.run("ldapsearch", &["-b", "", "-s", "base", "+"], "").await;
    assert!(
        code == 0 && out.contains("namingContexts: dc=example,dc=org") && out.contains("1.2.840.113556.1.4.319"),
        "{out}"
    );
    let (code, out) =
        world.run("ldapsearch", &["-o", "ldif-wrap=no", "-b", "cn=Subschema", "-s", "base", "+"], "").await;
    assert!(code == 0 && out.contains("laniakeaCluster"), "{out}");
    world.stop().await;
}

#[tokio::test]
async fn modify_compare_rename_and_delete_work() {
    let world = with_tree().await;
    let edit = format!(
        "dn: {EVE}\nchangetype: modify\nreplace: mailHost\nmailHost: cluster-2\n-\nadd: mail\nmail: eve2@example.org\n-\n\
         delete: mailLocalAddress\nmailLocalAddress: e.smith@example.org\n-\nincrement: laniakeaQuota\nlaniakeaQuota: 24\n"
    );
    let (code, out) = world.admin("ldapmodify", &[], &edit).await;
    assert_eq!(code, 0, "{out}");
    let (_, out) = world.admin("ldapsearch", &["-b", EVE, "-s", "base"], "").await;
    for text in ["mailHost: cluster-2", "mail: eve2@example.org", "laniakeaQuota: 1024"] {
        assert!(out.contains(text), "{text}: {out}");
    }
    assert!(!out.contains("e.smith"), "{out}");
    assert_eq!(world.admin("ldapcompare", &[EVE, "mailHost:CLUSTER-2"], "").await.0, 6);
    assert_eq!(world.admin("ldapcompare", &[EVE, "mailHost:cluster-1"], "").await.0, 5);
    assert_eq!(world.admin("ldapmodrdn", &["-r", EVE, "uid=eva"], "").await.0, 0);
    let eva = "uid=eva,ou=people,dc=example,dc=org";
    assert_eq!(
        world.admin("ldapsearch", &["-b", eva, "-s", "base", "(uid=eve)"], "").await.1.matches("numEntries").count(),
        0
    );
    assert_eq!(world.admin("ldapdelete", &[EVE], "").await.0, 32);
    assert_eq!(world.admin("ldapdelete", &["ou=people,dc=example,dc=org"], "").await.0, 66);
    assert_eq!(world.admin("ldapdelete", &["-r", "ou=people,dc=example,dc=org"], "").await.0, 0);
    assert!(world.admin("ldapsearch", &["-b", BASE, "1.1"], "").await.1.contains("numEntries: 1"));
    world.stop().await;
}

#[tokio::test]
async fn refusals_carry_the_codes_of_the_standard() {
    let world = with_tree().await;
    for (ldif, expected) in [
        (TREE.to_owned(), 68),
        ("dn: uid=a,ou=none,dc=example,dc=org\nobjectClass: account\n".into(), 32),
        ("dn: uid=a,dc=elsewhere\nobjectClass: account\n".into(), 32),
        ("dn: nonsense\nobjectClass: account\n".into(), 34),
        ("dn: uid=a,dc=example,dc=org\nobjectClass: inetOrgPerson\ncn: a\n".into(), 65),
        ("dn: uid=a,dc=example,dc=org\nobjectClass: account\nmailHost: a\nmailHost: b\n".into(), 19),
        ("dn: uid=a,dc=example,dc=org\nobjectClass: account\ndescription: a\ndescription: A\n".into(), 20),
        ("dn: uid=a,dc=example,dc=org\nobjectClass: account\nmail: EVE@example.org\n".into(), 19),
        (format!("dn: {EVE}\nchangetype: modify\ndelete: telephoneNumber\n"), 16),
        (format!("dn: {EVE}\nchangetype: modify\nadd: mail\nmail: EVE@example.org\n"), 20),
        (format!("dn: {EVE}\nchangetype: modify\nreplace: entryUUID\nentryUUID: x\n"), 19),
        (format!("dn: {EVE}\nchangetype: modify\ndelete: uid\n"), 67),
    ] {
        let (code, out) = world.admin("ldapmodify", &["-a"], &ldif).await;
        assert_eq!(code, expected, "{ldif}: {out}");
    }
    assert_eq!(world.admin("ldapsearch", &["-z", "1", "-b", BASE], "").await.0, 4);
    assert_eq!(world.admin("ldapsearch", &["-b", "dc=none"], "").await.0, 32);
    let unknown = world.admin("ldapsearch", &["-E", "!1.2.3=:x", "-b", BASE], "").await;
    assert_eq!(unknown.0, 12, "{}", unknown.1);
    world.stop().await;
}

#[tokio::test]
async fn a_thousand_entries_come_in_quickly_and_go_out_in_pages() {
    let world = World::start().await;
    let ldif: String = (0..1000)
        .map(|n| format!("dn: uid=user{n},{BASE}\nobjectClass: account\nuid: user{n}\nmail: user{n}@example.org\n\n"))
        .collect();
    let (code, out) = world.admin("ldapadd", &[], &ldif).await;
    assert_eq!(code, 0, "{}", out.chars().take(2000).collect::<String>());
    for filter in ["(objectClass=account)", "(objectClass=*)", "(description=none)"] {
        let (code, out) = world.admin("ldapsearch", &["-E", "pr=70/noprompt", "-b", BASE, filter, "1.1"], "").await;
        let count = out.matches("\ndn: ").count();
        assert_eq!(code, 0, "{out}");
        assert_eq!(
            count,
            match filter {
                "(objectClass=account)" => 1000,
                "(objectClass=*)" => 1001,
                _ => 0,
            },
            "{filter}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn tls_protects_the_connection_from_the_start_or_later() {
    let world = with_tree().await;
    let arguments = ["-D", ADMIN, "-w", PASSWORD, "-b", EVE, "-s", "base", "uid"];
    let (code, out) = world.run("ldapsearch", &[["-ZZ"].as_slice(), &arguments].concat(), "").await;
    assert!(code == 0 && out.contains("uid: eve"), "{out}");
    let (code, out) = world.run_tls("ldapsearch", &arguments).await;
    assert!(code == 0 && out.contains("uid: eve"), "{out}");
    world.stop().await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let mut world = with_tree().await;
    let (_, before) = world.admin("ldapsearch", &["-LLL", "-b", BASE, "*", "+"], "").await;
    world.restart().await;
    assert_eq!(world.admin("ldapsearch", &["-LLL", "-b", BASE, "*", "+"], "").await.1, before);
    world.stop().await;
}
