//! The client against the embedded server: answers, outages, hostile names, silent peers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod world;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use laniakea_config::DirectorySettings;
use laniakea_directory::{
    Address, Admin, ClusterName, ClusterRecord, Directory, LoginName, LookupError, NewAccount, Resolution, Secret,
    Status,
    provision::{AccountChange, NewPassword, ProvisionError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use world::World;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn login(text: &str) -> LoginName {
    LoginName::parse(text).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn account(name: &str) -> NewAccount {
    NewAccount {
        login: login(name),
        addresses: vec![address(&format!("{name}@example.org"))],
        name: String::new(),
        mail_host: "cluster-1".into(),
        password: NewPassword::Plain(secret("pw")),
        forward: None,
        quota: None,
    }
}

/// A server with Eve, Adam and a cluster.
async fn inhabited() -> World {
    let world = World::start().await;
    let admin = Admin::connect(&world.client()).await.unwrap();
    admin.prepare().await.unwrap();
    admin.prepare().await.unwrap();
    admin.add(account("eve")).await.unwrap();
    admin.add(account("adam")).await.unwrap();
    let members = vec!["127.0.0.1:1".into(), "127.0.0.1:2".into()];
    admin.put_cluster(&ClusterRecord { name: ClusterName::new("cluster-1"), members }).await.unwrap();
    world
}

/// Waits until something is so.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn accounts_and_clusters_are_found() {
    let world = inhabited().await;
    let directory = Directory::connect(&world.client()).unwrap();
    let eve = directory.account_by_login(&login("EVE")).await.unwrap().unwrap();
    assert_eq!((eve.login.as_str(), eve.mail_host.as_str(), &eve.status), ("eve", "cluster-1", &Status::Active));
    assert_eq!(directory.account_by_address(&address("Eve+x@example.org")).await.unwrap().unwrap(), eve);
    assert_eq!(directory.account_by_login(&login("eve@example.org")).await.unwrap().unwrap(), eve);
    assert_eq!(directory.account_by_id(eve.id).await.unwrap().unwrap(), eve);
    assert_eq!(directory.account_by_login(&login("nobody")).await.unwrap(), None);
    assert_eq!(directory.resolve(&address("nobody@example.org")).await.unwrap(), Resolution::Unknown);
    let cluster = directory.cluster(&ClusterName::new("cluster-1")).await.unwrap().unwrap();
    assert_eq!(cluster.members.len(), 2);
    assert_eq!(directory.cluster(&ClusterName::new("mail.example.net")).await.unwrap(), None);
    assert_eq!(directory.clusters().await.unwrap().len(), 1);
    assert!(!directory.is_degraded());
    world.stop().await;
}

#[tokio::test]
async fn hostile_names_find_nobody() {
    let world = inhabited().await;
    let directory = Directory::connect(&world.client()).unwrap();
    for name in
        ["*", "*)(uid=*", "e*", "eve)(objectClass=*", "\\2a", "eve\\", "|(uid=*)", "()", "(uid=eve)", "eve,ou=accounts"]
    {
        assert_eq!(directory.account_by_login(&login(name)).await.unwrap(), None, "{name}");
    }
    assert_eq!(directory.account_by_address(&address("\"*)(uid=*\"@example.org")).await.unwrap(), None);
    assert_eq!(directory.account_by_address(&address("*@example.org")).await.unwrap(), None);
    world.stop().await;
}

#[tokio::test]
async fn two_entries_for_one_name_are_a_fault() {
    let world = inhabited().await;
    let ldif = "dn: uid=eve@example.org,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: inetLocalMailRecipient\n\
                cn: x\nsn: x\nuid: eve@example.org\n";
    let (code, out) = world.admin("ldapadd", &[], ldif).await;
    assert_eq!(code, 0, "{out}");
    let directory = Directory::connect(&world.client()).unwrap();
    let found = directory.account_by_login(&login("eve@example.org")).await;
    assert!(matches!(found, Err(LookupError::Inconsistent(_))), "{found:?}");
    assert!(directory.account_by_address(&address("eve@example.org")).await.unwrap().is_some());
    world.stop().await;
}

#[tokio::test]
async fn passwords_are_verified_and_a_new_one_counts_at_once() {
    let world = inhabited().await;
    let directory = Directory::connect(&world.client()).unwrap();
    let eve = directory.account_by_login(&login("eve")).await.unwrap().unwrap();
    assert!(directory.verify(&eve, &secret("pw")).await.unwrap());
    assert!(!directory.verify(&eve, &secret("no")).await.unwrap());
    assert!(!directory.verify(&eve, &secret("")).await.unwrap());
    let admin = Admin::connect(&world.client()).await.unwrap();
    admin.set("eve", vec![AccountChange::Password(NewPassword::Plain(secret("new")))]).await.unwrap();
    assert!(directory.verify(&eve, &secret("new")).await.unwrap());
    assert!(!directory.verify(&eve, &secret("pw")).await.unwrap());
    directory.verify_nobody(&secret("pw")).await;
    // Renamed behind our back: the id still leads to the entry.
    let (code, out) = world.admin("ldapmodrdn", &["-r", &eve.dn, "uid=eva"], "").await;
    assert_eq!(code, 0, "{out}");
    let fresh = Directory::connect(&world.client()).unwrap();
    assert!(fresh.verify(&eve, &secret("new")).await.unwrap());
    world.stop().await;
}

#[tokio::test]
async fn a_password_the_directory_hides_is_checked_by_bind() {
    let world = inhabited().await;
    let mut settings = world.client();
    settings.profile.password = "hiddenPassword".into();
    let directory = Directory::connect(&settings).unwrap();
    let eve = directory.account_by_login(&login("eve")).await.unwrap().unwrap();
    assert!(directory.verify(&eve, &secret("pw")).await.unwrap());
    assert!(!directory.verify(&eve, &secret("no")).await.unwrap());
    assert!(!directory.verify(&eve, &secret("")).await.unwrap());
    world.stop().await;
}

#[tokio::test]
async fn an_outage_leaves_what_is_known_and_says_so() {
    let mut world = inhabited().await;
    let mut settings = world.client();
    settings.fresh = Duration::from_millis(100);
    settings.unknown = Duration::from_millis(100);
    let directory = Directory::connect(&settings).unwrap();
    let eve = directory.account_by_login(&login("eve")).await.unwrap().unwrap();
    assert_eq!(directory.account_by_address(&address("new@example.org")).await.unwrap(), None);
    assert!(directory.verify(&eve, &secret("pw")).await.unwrap());
    directory.clusters().await.unwrap();
    world.end().await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(directory.account_by_login(&login("eve")).await.unwrap().unwrap(), eve);
    assert!(directory.verify(&eve, &secret("pw")).await.unwrap());
    assert_eq!(directory.clusters().await.unwrap().len(), 1);
    // A foreign host is still known to be no cluster.
    assert_eq!(directory.cluster(&ClusterName::new("mail.example.net")).await.unwrap(), None);
    // Neither a name never asked for nor an old "unknown" becomes a bounce.
    for name in ["new@example.org", "other@example.org"] {
        let found = directory.account_by_address(&address(name)).await;
        assert!(matches!(found, Err(LookupError::Unavailable(_))), "{name}: {found:?}");
    }
    assert!(directory.is_degraded());
    // While it is degraded nobody waits.
    let start = Instant::now();
    for _ in 0..100 {
        directory.account_by_login(&login("eve")).await.unwrap().unwrap();
        directory.account_by_login(&login("x")).await.unwrap_err();
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    world.restart().await;
    eventually("the outage ends", async || !directory.is_degraded()).await;
    assert_eq!(directory.account_by_address(&address("new@example.org")).await.unwrap(), None);
    world.stop().await;
}

#[tokio::test]
async fn the_cache_survives_the_process_without_a_hash() {
    let mut world = inhabited().await;
    let file = world.folder.path().join("cache");
    let first = Directory::connect(&world.client()).unwrap();
    let eve = first.account_by_login(&login("eve")).await.unwrap().unwrap();
    assert!(first.verify(&eve, &secret("pw")).await.unwrap());
    first.save_cache(&file).await.unwrap();
    let bytes = std::fs::read(&file).unwrap();
    assert!(
        bytes.windows(9).any(|w| w == b"cluster-1") && !bytes.windows(6).any(|w| w.eq_ignore_ascii_case(b"argon2"))
    );
    world.end().await;
    let second = Directory::connect(&world.client()).unwrap();
    assert!(second.load_cache(&file).await.unwrap() >= 1);
    assert_eq!(second.account_by_login(&login("eve")).await.unwrap().unwrap(), eve);
    assert!(second.account_by_login(&login("adam")).await.is_err());
    assert!(second.load_cache(&world.folder.path().join("none")).await.is_err());
    world.stop().await;
}

/// Passes bytes on to the server until told to keep silent.
struct Proxy {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, silent) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&silent);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(to).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, Arc::clone(&flag)));
                tokio::spawn(pass(from_server, to_client, Arc::clone(&flag)));
            }
        });
        Self { address, silent }
    }
}

async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, silent: Arc<AtomicBool>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        while silent.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(20)).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

fn through(proxies: &[&Proxy], settings: DirectorySettings) -> DirectorySettings {
    let urls = proxies.iter().map(|proxy| format!("ldap://{}", proxy.address)).collect();
    DirectorySettings { urls, unknown: Duration::ZERO, ..settings }
}

#[tokio::test]
async fn a_silent_server_is_left_for_the_next_and_returned_to() {
    let world = inhabited().await;
    let (first, second) = (Proxy::start(world.address).await, Proxy::start(world.address).await);
    let directory = Directory::connect(&through(&[&first, &second], world.client())).unwrap();
    assert!(directory.account_by_login(&login("eve")).await.unwrap().is_some());
    first.silent.store(true, Ordering::SeqCst);
    // Within one deadline of three seconds the second server answers.
    let start = Instant::now();
    assert_eq!(directory.account_by_login(&login("nobody")).await.unwrap(), None);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    eventually("the first server is left alone", async || {
        let start = Instant::now();
        directory.account_by_login(&login("nobody")).await.unwrap();
        start.elapsed() < Duration::from_millis(200)
    })
    .await;
    first.silent.store(false, Ordering::SeqCst);
    second.silent.store(true, Ordering::SeqCst);
    eventually("the first server is returned to", async || directory.account_by_login(&login("no")).await.is_ok())
        .await;
    world.stop().await;
}

#[tokio::test]
async fn a_single_silent_server_is_a_temporary_failure_in_time() {
    let world = inhabited().await;
    let proxy = Proxy::start(world.address).await;
    let mut settings = through(&[&proxy], world.client());
    settings.timeout = Duration::from_millis(500);
    let directory = Directory::connect(&settings).unwrap();
    assert!(directory.account_by_login(&login("eve")).await.unwrap().is_some());
    proxy.silent.store(true, Ordering::SeqCst);
    let asked = timeout(Duration::from_secs(2), directory.account_by_login(&login("adam"))).await.unwrap();
    assert!(matches!(asked, Err(LookupError::Unavailable(_))), "{asked:?}");
    proxy.silent.store(false, Ordering::SeqCst);
    eventually("it recovers", async || directory.account_by_login(&login("adam")).await.is_ok()).await;
    world.stop().await;
}

#[tokio::test]
async fn a_directory_that_is_down_at_the_start_is_found_later() {
    let mut world = inhabited().await;
    world.end().await;
    let directory = Directory::connect(&world.client()).unwrap();
    assert!(directory.account_by_login(&login("eve")).await.is_err());
    world.restart().await;
    eventually("it is found", async || directory.account_by_login(&login("eve")).await.is_ok()).await;
    world.stop().await;
}

#[tokio::test]
async fn tls_is_checked_against_our_own_authority() {
    let world = inhabited().await;
    let ldaps = DirectorySettings { urls: vec![format!("ldaps://{}", world.tls_address)], ..world.client() };
    let start_tls = DirectorySettings { start_tls: true, ..world.client() };
    for settings in [ldaps, start_tls] {
        let directory = Directory::connect(&settings).unwrap();
        assert!(directory.account_by_login(&login("eve")).await.unwrap().is_some());
        let distrustful = Directory::connect(&DirectorySettings { ca: None, ..settings }).unwrap();
        assert!(distrustful.account_by_login(&login("eve")).await.is_err());
    }
    world.stop().await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let world = World::start().await;
    let good = world.client();
    for bad in [
        DirectorySettings { urls: vec![], ..good.clone() },
        DirectorySettings { urls: vec!["http://x".into()], ..good.clone() },
        DirectorySettings { bind_password: None, ..good.clone() },
        DirectorySettings { bind_password: Some("/nonexistent".into()), ..good.clone() },
        DirectorySettings { ca: Some(world.folder.path().join("key.pem")), ..good.clone() },
    ] {
        assert!(Directory::connect(&bad).is_err());
    }
    std::fs::write(world.folder.path().join("admin"), "wrong").unwrap();
    assert!(Admin::connect(&good).await.is_err());
    world.stop().await;
}

#[tokio::test]
async fn accounts_are_provisioned_changed_and_deleted() {
    let world = inhabited().await;
    let admin = Admin::connect(&world.client()).await.unwrap();
    assert!(matches!(admin.add(account("eve")).await, Err(ProvisionError::Exists(_))));
    let thief = NewAccount { addresses: vec![address("eve@example.org")], ..account("thief") };
    assert!(matches!(admin.add(thief).await, Err(ProvisionError::Exists(_))));
    let changes = vec![
        AccountChange::Status(Status::Maintenance),
        AccountChange::Quota(Some(5000)),
        AccountChange::MailHost("cluster-2".into()),
        AccountChange::AddAddress(address("e.smith@example.org")),
        AccountChange::Forward(Some(address("eve@elsewhere.test"))),
    ];
    admin.set("eve", changes).await.unwrap();
    let eve = admin.show("e.smith@example.org").await.unwrap();
    assert_eq!((eve.status, eve.quota, eve.mail_host.as_str()), (Status::Maintenance, Some(5000), "cluster-2"));
    assert_eq!(eve.forward, Some(address("eve@elsewhere.test")));
    let changes = vec![
        AccountChange::Status(Status::Active),
        AccountChange::Quota(None),
        AccountChange::RemoveAddress(address("e.smith@example.org")),
        AccountChange::Forward(None),
    ];
    admin.set("EVE@example.org", changes).await.unwrap();
    let eve = admin.show("eve").await.unwrap();
    assert_eq!((eve.status, eve.quota, eve.forward, eve.addresses.len()), (Status::Active, None, None, 1));
    assert_eq!(admin.list().await.unwrap().len(), 2);
    admin.delete("eve").await.unwrap();
    assert!(matches!(admin.show("eve").await, Err(ProvisionError::Absent(_))));
    assert!(matches!(admin.delete("*").await, Err(ProvisionError::Absent(_))));
    let again = ClusterRecord { name: ClusterName::new("cluster-1"), members: vec!["127.0.0.1:3".into()] };
    admin.put_cluster(&again).await.unwrap();
    assert_eq!(admin.clusters().await.unwrap(), [again]);
    admin.delete_cluster(&ClusterName::new("cluster-1")).await.unwrap();
    assert!(admin.clusters().await.unwrap().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn thousands_of_accounts_are_made_quickly_and_listed() {
    let world = inhabited().await;
    let admin = Admin::connect(&world.client()).await.unwrap();
    let stored = laniakea_directory::password::hash_password(&secret("pw"), laniakea_config::PasswordScheme::Argon2);
    let many: Vec<NewAccount> = (0..1000)
        .map(|n| NewAccount { password: NewPassword::Hashed(stored.clone()), ..account(&format!("user{n}")) })
        .collect();
    let start = Instant::now();
    assert_eq!(admin.add_many(many.clone()).await.unwrap(), 1000);
    println!("1000 accounts in {:?}", start.elapsed());
    assert_eq!(admin.add_many(many).await.unwrap(), 0);
    assert_eq!(admin.list().await.unwrap().len(), 1002);
    let directory =
        Arc::new(Directory::connect(&DirectorySettings { unknown: Duration::ZERO, ..world.client() }).unwrap());
    let start = Instant::now();
    let tasks: Vec<_> = (0..50)
        .map(|task| {
            let directory = Arc::clone(&directory);
            tokio::spawn(async move {
                for n in 0..20 {
                    let name = login(&format!("user{}", task * 20 + n));
                    assert!(directory.account_by_login(&name).await.unwrap().is_some());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!("1000 look-ups in {:?}", start.elapsed());
    world.stop().await;
}

/// A server that answers binds and searches with these bytes behind the number of the message.
async fn nonsense(bind: &'static [u8], search: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = socket.read(&mut buffer).await {
                    // SEQUENCE, length of one or two bytes, INTEGER of one byte.
                    let at = buffer[..length].windows(2).position(|window| window == [2, 1]).unwrap_or(2);
                    let answer = if buffer[at + 3] == 0x60 { bind } else { search };
                    let head = [0x30, u8::try_from(answer.len() + 3).unwrap(), 2, 1, buffer[at + 2]];
                    let _ = socket.write_all(&[&head, answer].concat()).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn nonsense_from_a_server_is_an_outage_and_the_next_is_asked() {
    const BOUND: &[u8] = &[0x61, 7, 10, 1, 0, 4, 0, 4, 0];
    let world = inhabited().await;
    let good = world.client();
    for (bind, search) in [
        // Results without content, or of another form.
        (&[0x61, 0][..], &[0x65, 0][..]),
        (BOUND, &[0x65, 0]),
        (BOUND, &[0x45, 1, 7]),
        (BOUND, &[0x65, 6, 10, 1, 0, 4, 1, 0xff]),
    ] {
        let fake = format!("ldap://{}", nonsense(bind, search).await);
        let alone = DirectorySettings { urls: vec![fake.clone()], ..good.clone() };
        let answer = Directory::connect(&alone).unwrap().account_by_login(&login("eve")).await;
        assert!(matches!(answer, Err(LookupError::Unavailable(_))), "{search:?}: {answer:?}");
        let first = DirectorySettings { urls: [vec![fake], good.urls.clone()].concat(), ..good.clone() };
        let directory = Directory::connect(&first).unwrap();
        assert!(directory.account_by_login(&login("eve")).await.unwrap().is_some(), "{search:?}");
        directory.account_by_login(&login("nobody")).await.unwrap();
    }
}
