use std::{cmp::Ordering, collections::HashSet};

use proptest::prelude::*;

use super::*;
use crate::error::NameError;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

#[test]
fn the_domain_is_lowered_and_the_local_part_kept() {
    let a = address("Eve.Smith@EXAMPLE.org");
    assert_eq!((a.local(), a.domain()), ("Eve.Smith", "example.org"));
    assert_eq!(a.to_string(), "Eve.Smith@example.org");
}

#[test]
fn case_makes_no_difference_to_equality_order_and_hash() {
    let set: HashSet<Address> = ["eve@a.org", "EVE@A.ORG", "Eve@a.org"].map(address).into();
    assert_eq!(set.len(), 1);
    assert_eq!(address("Zoé@x.org").cmp(&address("zoÉ@x.org")), Ordering::Equal);
}

#[test]
fn a_quoted_local_part_is_the_same_mailbox_as_its_plain_form() {
    assert_eq!(address("\"eve\"@a.org"), address("eve@a.org"));
    assert_eq!(address("\"e\\v\\\"e\"@a.org").local(), "ev\"e");
    assert_eq!(address("\"a b@c\"@a.org").to_string(), "\"a b@c\"@a.org");
    assert_eq!(address("\"a b@c\"@a.org").local(), "a b@c");
}

#[test]
fn the_detail_is_stripped_once() {
    assert_eq!(address("eve+a+b@x.org").base(), address("eve@x.org"));
    assert_eq!(address("eve+a+b@x.org").detail(), Some("a+b"));
    assert_eq!(address("+a@x.org").base(), address("+a@x.org"));
    assert_eq!(address("eve@x.org").detail(), None);
}

#[test]
fn utf8_and_address_literals_are_addresses() {
    assert_eq!(address("用户@例子.广告").domain(), "例子.广告");
    assert_eq!(address("root@[127.0.0.1]").domain(), "[127.0.0.1]");
    assert_eq!(address("root@[IPv6:2001:DB8::1]").domain(), "[ipv6:2001:db8::1]");
}

#[test]
fn malformed_addresses_are_refused() {
    let long_local = format!("{}@a.org", "x".repeat(65));
    let long_label = format!("x@{}.org", "y".repeat(64));
    let long_domain = format!("x@{}org", "y.".repeat(140));
    let bad = [
        "",
        "@",
        "a@",
        "@b",
        "plain",
        "a@b@c@",
        ".a@b",
        "a.@b",
        "a..b@c",
        "a b@c",
        "\"a@b",
        "a\"b@c",
        "\"\"@b",
        "a@-b",
        "a@b-",
        "a@b..c",
        "a@b.",
        "a@[1.2.3]",
        "a@[IPv6:zz]",
        "a@[1.2.3.4",
        "a@b_c",
        "a\u{0}b@c",
        "\"a\u{7}\"@c",
        "a@b\r\n",
        "<a@b>",
        "a@(b)",
        &long_local,
        &long_label,
        &long_domain,
    ];
    for text in bad {
        assert!(Address::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_login_name_has_no_controls_and_a_length() {
    assert_eq!(LoginName::parse("Ève").unwrap().folded(), "ève");
    assert_eq!(LoginName::parse(""), Err(NameError::Empty));
    assert_eq!(LoginName::parse("a\u{0}"), Err(NameError::Character));
    assert_eq!(LoginName::parse(b"\xff".as_slice()), Err(NameError::Character));
    assert!(LoginName::parse("x".repeat(254)).is_ok());
    assert_eq!(LoginName::parse("x".repeat(255)), Err(NameError::TooLong));
}

#[test]
fn a_secret_never_prints() {
    assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "Secret(…)");
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,80}") {
        let _ = Address::parse(&text);
        let _ = LoginName::parse(&text);
    }

    #[test]
    fn what_is_printed_is_read_back(local in "[ -~é]{1,30}", domain in "[a-z]{1,10}(\\.[a-z]{1,10}){0,3}") {
        let quoted: String = local.chars().flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] }).collect();
        let first = Address::parse(&format!("\"{quoted}\"@{domain}")).unwrap();
        prop_assert_eq!(first.local(), local.as_str());
        prop_assert_eq!(Address::parse(&first.to_string()).unwrap(), first);
    }
}
