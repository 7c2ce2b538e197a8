//! The client, provisioning and our schema against every server we promise to work with: the embedded one, OpenLDAP and
//! 389 Directory Server, over LDAP, StartTLS and LDAPS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod servers;
mod world;

use std::time::{Duration, Instant};

use laniakea_config::DirectorySettings;
use laniakea_directory::{
    Address, Admin, ClusterName, ClusterRecord, Directory, LoginName, LookupError, NewAccount, Resolution, Secret,
    Status,
    provision::{AccountChange, NewPassword},
};
use servers::{Kind, Server, Transport};
use tokio::time::sleep;
use world::ADMIN;

/// Runs each of these functions against each server.
macro_rules! on_every_server {
    ($($name:ident),* $(,)?) => {
        on_every_server!(@one embedded Embedded $($name)*);
        on_every_server!(@one openldap OpenLdap $($name)*);
        on_every_server!(@one ds389 Ds389 $($name)*);
    };
    (@one $module:ident $kind:ident $($name:ident)*) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if let Some(server) = super::Server::start(super::Kind::$kind).await {
                    super::$name(server).await;
                }
            })*
        }
    };
}

on_every_server!(
    accounts_live_there_with_our_schema,
    every_transport_is_checked_against_the_authority,
    the_operators_own_tools_do_as_well,
    a_reader_that_may_not_see_passwords_checks_them_by_bind,
    hostile_names_find_nobody,
    domains_have_their_own_addresses_and_one_who_gets_the_rest,
    an_outage_leaves_what_is_known_and_bounces_nothing,
);

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn login(text: &str) -> LoginName {
    LoginName::parse(text).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn account(name: &str, quota: Option<u64>) -> NewAccount {
    NewAccount {
        login: login(name),
        addresses: vec![address(&format!("{name}@example.org"))],
        name: String::new(),
        mail_host: "cluster-1".into(),
        password: NewPassword::Plain(secret("pw")),
        forward: None,
        quota,
    }
}

async fn admin(server: &Server) -> Admin {
    let admin = Admin::connect(&server.client(Transport::Plain)).await.unwrap();
    admin.prepare().await.unwrap();
    admin
}

/// Waits until something is so.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn accounts_live_there_with_our_schema(server: Server) {
    let admin = admin(&server).await;
    admin.add(account("eve", Some(1000))).await.unwrap();
    assert!(admin.add(account("eve", None)).await.is_err());
    let many: Vec<_> = (0..300).map(|n| account(&format!("user{n}"), None)).collect();
    assert_eq!(admin.add_many(many).await.unwrap(), 300);
    assert_eq!(admin.list().await.unwrap().len(), 301);
    let members = vec!["127.0.0.1:1".to_owned()];
    admin.put_cluster(&ClusterRecord { name: ClusterName::new("cluster-1"), members }).await.unwrap();
    admin.set("user7", vec![AccountChange::Status(Status::Disabled)]).await.unwrap();
    admin.set("user9", vec![AccountChange::Forward(Some(address("eve@elsewhere.test")))]).await.unwrap();

    let directory = Directory::connect(&server.client(Transport::Plain)).unwrap();
    let found = async |name: &str| directory.account_by_login(&login(name)).await;
    let eve = found("EVE@example.org").await.unwrap().unwrap();
    assert_eq!((eve.quota, eve.mail_host.as_str()), (Some(1000), "cluster-1"));
    assert_eq!(directory.account_by_id(eve.id).await.unwrap().unwrap(), eve);
    assert_eq!(found("user7").await.unwrap().unwrap().status, Status::Disabled);
    let forwarded = directory.resolve(&address("User9@Example.org")).await.unwrap();
    assert_eq!(forwarded, Resolution::Forward(address("eve@elsewhere.test")));
    assert_eq!(directory.clusters().await.unwrap().len(), 1);
    assert_eq!(directory.cluster(&ClusterName::new("mail.example.net")).await.unwrap(), None);
    assert!(directory.verify(&eve, &secret("pw")).await.unwrap());
    for wrong in ["no", ""] {
        assert!(!directory.verify(&eve, &secret(wrong)).await.unwrap(), "{wrong:?}");
    }
    admin.set("eve", vec![AccountChange::Password(NewPassword::Plain(secret("new")))]).await.unwrap();
    assert!(directory.verify(&eve, &secret("new")).await.unwrap());
    assert!(!directory.verify(&eve, &secret("pw")).await.unwrap());

    // Servers keep no value unique by themselves: two entries for one address are our client's to notice.
    let twice =
        "dn: uid=user8,ou=accounts,dc=example,dc=org\nadd: mailLocalAddress\nmailLocalAddress: eve@example.org\n";
    if server.tool("ldapmodify", ADMIN, &[], twice).status.success() {
        let found = Directory::connect(&server.client(Transport::Plain)).unwrap();
        let found = found.account_by_address(&address("eve@example.org")).await;
        assert!(matches!(found, Err(LookupError::Inconsistent(_))), "{found:?}");
    }
    admin.delete("user7").await.unwrap();
    eventually("a deleted account is unknown", async || {
        matches!(directory.account_by_login(&login("user7")).await, Ok(None))
    })
    .await;
}

async fn every_transport_is_checked_against_the_authority(server: Server) {
    admin(&server).await.add(account("eve", None)).await.unwrap();
    for transport in Transport::ALL {
        let settings = server.client(transport);
        let directory = Directory::connect(&settings).unwrap();
        let eve = directory.account_by_login(&login("eve")).await.unwrap().unwrap();
        assert!(directory.verify(&eve, &secret("pw")).await.unwrap(), "{transport:?}");
        if transport != Transport::Plain {
            let distrustful = Directory::connect(&DirectorySettings { ca: None, ..settings }).unwrap();
            assert!(distrustful.account_by_login(&login("eve")).await.is_err(), "{transport:?}");
        }
    }
}

async fn the_operators_own_tools_do_as_well(server: Server) {
    let _ = admin(&server).await;
    server.add(
        "dn: uid=eve,ou=accounts,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
objectClass: laniakeaAccount
uid: eve
cn: Eve
sn: Smith
mail: eve@example.org
mailLocalAddress: eve@example.org
mailLocalAddress: e.smith@second.example
mailHost: cluster-1
laniakeaStatus: active
userPassword: pw
",
    );
    let directory = Directory::connect(&server.client(Transport::Plain)).unwrap();
    let home = async |name: &str| match directory.resolve(&address(name)).await.unwrap() {
        Resolution::Account(account) => account.mail_host.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(home("E.Smith+bills@Second.Example").await, "cluster-1");
    let eve = directory.account_by_login(&login("eve")).await.unwrap().unwrap();
    assert!(directory.verify(&eve, &secret("pw")).await.unwrap());
    // A changed home takes effect within the age of the cache.
    server.modify("dn: uid=eve,ou=accounts,dc=example,dc=org\nreplace: mailHost\nmailHost: cluster-2\n");
    eventually("the new home is found", async || home("eve@example.org").await == "cluster-2").await;
    server.modify("dn: uid=eve,ou=accounts,dc=example,dc=org\nreplace: laniakeaStatus\nlaniakeaStatus: whatever\n");
    eventually("an unknown status waits", async || {
        matches!(directory.resolve(&address("eve@example.org")).await.unwrap(), Resolution::Deferred(_))
    })
    .await;
}

async fn a_reader_that_may_not_see_passwords_checks_them_by_bind(server: Server) {
    let admin = admin(&server).await;
    // Every one of the servers understands {SSHA}.
    let stored = "{SSHA}mCEP3f+83lMHBMtcDFsVxqDHCUe9k99T".to_owned();
    let eve = NewAccount { password: NewPassword::Hashed(stored), ..account("eve", None) };
    admin.add(eve).await.unwrap();
    let mut settings = server.client(Transport::StartTls);
    settings.profile.password = "hiddenPassword".into();
    let directory = Directory::connect(&settings).unwrap();
    let eve = directory.account_by_login(&login("eve")).await.unwrap().unwrap();
    assert!(directory.verify(&eve, &secret("geheim Ä")).await.unwrap());
    assert!(!directory.verify(&eve, &secret("no")).await.unwrap());
    assert!(!directory.verify(&eve, &Secret::default()).await.unwrap());
}

async fn domains_have_their_own_addresses_and_one_who_gets_the_rest(server: Server) {
    let admin = admin(&server).await;
    admin.add(account("eve", None)).await.unwrap();
    let other = NewAccount { addresses: vec![address("eve@second.example")], ..account("eve-2", None) };
    admin.add(other).await.unwrap();
    admin.add(account("rest", None)).await.unwrap();
    server.modify(
        "dn: uid=rest,ou=accounts,dc=example,dc=org\nadd: mailLocalAddress\nmailLocalAddress: @second.example\n",
    );
    let out = NewAccount { forward: Some(address("any+one@second.example")), ..account("out", None) };
    admin.add(out).await.unwrap();
    let directory = Directory::connect(&server.client(Transport::Plain)).unwrap();
    let to = async |name: &str| match directory.resolve(&address(name)).await.unwrap() {
        Resolution::Account(account) => account.login.clone(),
        other => format!("{other:?}"),
    };
    for (name, login) in [
        ("eve@example.org", "eve"),
        ("eve@Second.Example", "eve-2"),
        ("eve+x@second.example", "eve-2"),
        ("anybody@second.example", "rest"),
        ("any+body@SECOND.example", "rest"),
        ("out@example.org", "rest"),
        ("anybody@example.org", "Unknown"),
        ("anybody@third.example", "Unknown"),
    ] {
        assert_eq!(to(name).await, login, "{name}");
    }
}

async fn hostile_names_find_nobody(server: Server) {
    admin(&server).await.add(account("eve", None)).await.unwrap();
    let directory = Directory::connect(&server.client(Transport::Plain)).unwrap();
    for name in ["*", "e*", "*)(uid=*", "eve)(uid=eve", "eve\\", "\\2a", "(eve)", "ou=accounts"] {
        let found = directory.account_by_login(&login(name)).await;
        assert!(matches!(found, Ok(None)), "{name}: {found:?}");
    }
}

async fn an_outage_leaves_what_is_known_and_bounces_nothing(mut server: Server) {
    admin(&server).await.add(account("eve", None)).await.unwrap();
    let directory = Directory::connect(&server.client(Transport::Plain)).unwrap();
    let eve = directory.account_by_login(&login("eve")).await.unwrap().unwrap();
    assert!(directory.verify(&eve, &secret("pw")).await.unwrap());
    assert!(matches!(directory.resolve(&address("eve@example.org")).await.unwrap(), Resolution::Account(_)));
    let holds = async |when: &str| {
        // Older than any age by now.
        sleep(Duration::from_millis(500)).await;
        assert_eq!(directory.account_by_login(&login("EVE")).await.unwrap().unwrap(), eve, "{when}");
        assert!(directory.verify(&eve, &secret("pw")).await.unwrap(), "{when}");
        let known = directory.resolve(&address("eve@example.org")).await;
        assert!(matches!(known, Ok(Resolution::Account(_))), "{when}: {known:?}");
        let unknown = directory.resolve(&address("nobody@example.org")).await;
        assert!(matches!(unknown, Err(LookupError::Unavailable(_))), "{when}: {unknown:?}");
        assert!(directory.is_degraded(), "{when}");
    };
    let recovers = async |when: &str| {
        eventually(when, async || {
            !directory.is_degraded()
                && matches!(directory.resolve(&address("nobody@example.org")).await, Ok(Resolution::Unknown))
        })
        .await;
    };
    if server.freeze(true) {
        holds("frozen").await;
        server.freeze(false);
        recovers("thawed").await;
    }
    server.kill().await;
    holds("killed").await;
    server.revive().await;
    recovers("started again").await;
}

/// What other systems keep of an account, under their own names.
fn foreign_entries() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        (
            "zimbra",
            "eve@example.org",
            "dn: uid=eve,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: zimbraAccount
uid: eve
cn: Eve
sn: Smith
zimbraId: 0d1f7d3e-8c0b-4a33-9b0b-6f2a4e6f0a01
zimbraMailDeliveryAddress: eve@example.org
zimbraMailAlias: e.smith@example.org
zimbraMailHost: mailbox-7.example.org
zimbraAccountStatus: locked
zimbraMailQuota: 1000
",
        ),
        (
            "qmail-ldap",
            "eve",
            "dn: uid=eve,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: qmailUser
uid: eve
cn: Eve
sn: Smith
mail: eve@example.org
mailAlternateAddress: e.smith@example.org
mailHost: mailbox-7.example.org
accountStatus: nopop
mailQuotaSize: 1000
",
        ),
        (
            "courier",
            "eve@example.org",
            "dn: cn=eve,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: CourierMailAccount
uid: eve
cn: eve
sn: Smith
mail: eve@example.org
mailhost: mailbox-7.example.org
quota: 1000
",
        ),
        (
            "perdition",
            "eve@example.org",
            "dn: username=eve@example.org,dc=example,dc=org
objectClass: organizationalUnit
objectClass: perditionPopmap
ou: popmap
username: eve@example.org
mailhost: mailbox-7.example.org
",
        ),
        (
            "communigate",
            "eve",
            "dn: uid=eve,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: CommuniGateAccount
uid: eve
cn: Eve
sn: Smith
mail: eve@example.org
hostServer: mailbox-7.example.org
",
        ),
    ]
}

/// Our own server keeps what it does not know, so the entries of every profile can be tried as they are.
#[tokio::test(flavor = "multi_thread")]
async fn each_profile_reads_the_entries_of_its_system() {
    for (profile, name, entry) in foreign_entries() {
        let server = Server::start(Kind::Embedded).await.unwrap();
        server.add(entry);
        let profile = laniakea_config::profile::shipped(profile).unwrap();
        let settings = DirectorySettings { profile: profile.clone(), ..server.client(Transport::Plain) };
        let directory = Directory::connect(&settings).unwrap();
        let eve = directory.account_by_login(&login(name)).await.unwrap().expect(entry);
        assert_eq!(eve.mail_host, "mailbox-7.example.org", "{entry}");
        assert_eq!(directory.account_by_id(eve.id).await.unwrap().as_ref(), Some(&eve), "{entry}");
        let resolved = directory.resolve(&address("eve@example.org")).await.unwrap();
        assert!(matches!(&resolved, Resolution::Account(account) if *account == eve), "{entry}: {resolved:?}");
        if !profile.status.is_empty() && entry.contains(&profile.status) {
            assert_eq!((eve.status.clone(), eve.quota), (Status::NoLogin, Some(1000)), "{entry}");
            assert!(directory.account_by_address(&address("e.smith@example.org")).await.unwrap().is_some(), "{entry}");
        }
    }
}
