use uuid::Uuid;

use super::*;
use crate::{
    directory::Directory,
    id::AccountId,
    name::{LoginName, Secret},
};

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn account(number: u128, name: &str, forward: Option<&str>) -> AccountRecord {
    AccountRecord {
        id: AccountId(Uuid::from_u128(number)),
        dn: format!("uid={name},dc=example,dc=org"),
        login: name.into(),
        addresses: vec![address(&format!("{name}@example.org"))],
        mail_host: "cluster-1".into(),
        forward: forward.map(address),
        status: Status::Active,
        quota: None,
    }
}

async fn resolve(accounts: Vec<AccountRecord>, text: &str) -> Resolution {
    let accounts = accounts.into_iter().map(|a| (a, Secret::default())).collect();
    Directory::in_memory(accounts, Vec::new()).resolve(&address(text)).await.unwrap()
}

#[tokio::test]
async fn an_address_leads_to_its_account_with_and_without_detail() {
    let eve = account(1, "eve", None);
    for text in ["eve@example.org", "EVE@Example.ORG", "eve+lists@example.org"] {
        assert_eq!(resolve(vec![eve.clone()], text).await, Resolution::Account(Arc::new(eve.clone())), "{text}");
    }
    assert_eq!(resolve(vec![eve], "adam@example.org").await, Resolution::Unknown);
}

#[tokio::test]
async fn an_exact_address_with_a_plus_wins_over_the_stripped_one() {
    let mut plus = account(2, "lists", None);
    plus.addresses = vec![address("eve+lists@example.org")];
    let found = resolve(vec![account(1, "eve", None), plus.clone()], "eve+lists@example.org").await;
    assert_eq!(found, Resolution::Account(Arc::new(plus)));
}

#[tokio::test]
async fn forwards_are_followed_inside_and_out() {
    let eve = account(1, "eve", Some("adam@example.org"));
    let adam = account(2, "adam", None);
    assert_eq!(resolve(vec![eve, adam.clone()], "eve@example.org").await, Resolution::Account(Arc::new(adam)));
    let out = account(3, "out", Some("out@elsewhere.test"));
    assert_eq!(resolve(vec![out], "out@example.org").await, Resolution::Forward(address("out@elsewhere.test")));
}

#[tokio::test]
async fn a_forward_to_oneself_means_stay() {
    let eve = account(1, "eve", Some("Eve+in@example.org"));
    assert_eq!(resolve(vec![eve.clone()], "eve@example.org").await, Resolution::Account(Arc::new(eve)));
}

#[tokio::test]
async fn endless_forwards_are_deferred() {
    let ring = vec![account(1, "a", Some("b@example.org")), account(2, "b", Some("a@example.org"))];
    assert!(matches!(resolve(ring, "a@example.org").await, Resolution::Deferred(Deferral::ForwardLoop(_))));
    let chain =
        (0..20).map(|n| account(n, &format!("u{n}"), Some(&format!("u{}@example.org", n + 1)))).collect::<Vec<_>>();
    assert!(matches!(resolve(chain, "u0@example.org").await, Resolution::Deferred(Deferral::ForwardLoop(_))));
}

#[tokio::test]
async fn the_status_decides_before_the_forward() {
    for (status, name) in [(Status::Disabled, "refused"), (Status::Maintenance, "wait"), (Status::parse("?"), "wait")] {
        let mut eve = account(1, "eve", Some("x@elsewhere.test"));
        eve.status = status;
        match resolve(vec![eve], "eve@example.org").await {
            Resolution::Refused(_) => assert_eq!(name, "refused"),
            Resolution::Deferred(_) => assert_eq!(name, "wait"),
            other => panic!("{other:?}"),
        }
    }
    let mut eve = account(1, "eve", None);
    eve.status = Status::NoLogin;
    assert!(matches!(resolve(vec![eve], "eve@example.org").await, Resolution::Account(_)));
}

#[tokio::test]
async fn an_account_without_a_home_is_deferred() {
    let mut eve = account(1, "eve", None);
    eve.mail_host = String::new();
    assert!(matches!(resolve(vec![eve], "eve@example.org").await, Resolution::Deferred(Deferral::NoHome(_))));
}

#[tokio::test]
async fn two_accounts_with_one_address_are_a_fault_and_not_a_guess() {
    let (a, mut b) = (account(1, "eve", None), account(2, "eve2", None));
    b.addresses = a.addresses.clone();
    let accounts = vec![(a, Secret::new(b"pw".to_vec())), (b, Secret::default())];
    let directory = Directory::in_memory(accounts, Vec::new());
    assert!(directory.resolve(&address("eve@example.org")).await.is_err());
    assert!(directory.account_by_login(&LoginName::parse("eve@example.org").unwrap()).await.is_err());
    let eve = directory.account_by_login(&LoginName::parse("EVE").unwrap()).await.unwrap().unwrap();
    assert!(directory.verify(&eve, &Secret::new(b"pw".to_vec())).await.unwrap());
    assert!(!directory.verify(&eve, &Secret::new(b"no".to_vec())).await.unwrap());
    assert!(!directory.verify(&eve, &Secret::default()).await.unwrap());
}
