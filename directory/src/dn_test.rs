use proptest::prelude::*;

use super::*;

fn dn(text: &str) -> Dn {
    Dn::parse(text).unwrap()
}

#[test]
fn equal_names_have_equal_paths() {
    for other in [
        "UID=Eve,DC=Example,DC=org",
        "uid = eve , dc = example , dc=org",
        "userid=eve;dc=example;dc=org",
        "uid=\\65ve,dc=example,dc=org",
        "uid=\"eve\",dc=example,dc=org",
        "0.9.2342.19200300.100.1.1=eve,dc=example,dc=org",
        "uid=#0403657665,dc=example,dc=org",
    ] {
        assert_eq!(dn(other).path(), dn("uid=eve,dc=example,dc=org").path(), "{other}");
    }
    assert_eq!(dn("cn=a+uid=b,dc=x").path(), dn("UID=b+CN=A,dc=x").path());
    assert_eq!(dn("cn=Eve   Smith,dc=x").path(), dn("cn=eve smith,dc=x").path());
    assert_ne!(dn("cn=a\\+uid=b,dc=x").path(), dn("cn=a+uid=b,dc=x").path());
}

#[test]
fn below_is_begins_with() {
    let base = dn("dc=example,dc=org").path();
    assert!(dn("uid=a,dc=example,dc=org").path().starts_with(&base));
    assert!(!dn("dc=example2,dc=org").path().starts_with(&base));
    assert!(!dn("dc=org").path().starts_with(&base));
    assert_eq!(dn("").path(), "");
    assert_eq!(dn("uid=a,dc=x").parent(), Some(dn("dc=x")));
    assert_eq!(dn("").parent(), None);
}

#[test]
fn the_examples_of_rfc_4514_are_read() {
    assert_eq!(dn("UID=jsmith,DC=example,DC=net").rdns().count(), 3);
    assert_eq!(dn("OU=Sales+CN=J.  Smith,DC=example,DC=net").rdn().unwrap().values().count(), 2);
    let value = |text: &str| dn(text).rdn().unwrap().values().next().unwrap().1.to_owned();
    assert_eq!(value("CN=James \\\"Jim\\\" Smith\\, III,DC=example,DC=net"), "James \"Jim\" Smith, III");
    assert_eq!(value("CN=Before\\0dAfter,DC=example,DC=net"), "Before\rAfter");
    assert_eq!(value("1.3.6.1.4.1.1466.0=#04024869"), "Hi");
    assert_eq!(value("CN=Lu\\C4\\8Di\\C4\\87"), "Lučić");
}

#[test]
fn dangerous_values_are_escaped() {
    let name = dn("dc=x").child("uid", " #a,b+c=d\"e\\f;<>\u{7} ");
    assert_eq!(name.to_string(), "uid=\\ #a\\,b\\+c\\=d\\\"e\\\\f\\;\\<\\>\\07\\ ,dc=x");
    assert_eq!(dn(&name.to_string()), name);
}

#[test]
fn malformed_names_are_refused() {
    for text in [
        "x", "=a", "a=", "a=b,", ",a=b", "a=b,,c=d", "a b=c", "a=\\", "a=\\4", "a=\\zz", "a=\"b", "a=#0", "a=#0402",
        "a=#zz",
    ] {
        assert!(Dn::parse(text).is_err(), "{text:?}");
    }
    assert!(Dn::parse(&"a=b,".repeat(70)).is_err());
    assert!(Dn::parse(&format!("a={}", "b".repeat(5000))).is_err());
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(values in prop::collection::vec("[^\\x00]{1,12}", 1..4)) {
        let name = values.iter().fold(Dn::default(), |dn, value| dn.child("cn", value));
        let read = Dn::parse(&name.to_string()).unwrap();
        prop_assert_eq!(read.path(), name.path());
        prop_assert_eq!(read, name);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[ -~\\\\=,+\"#é\\x00]{0,40}") {
        if let Ok(name) = Dn::parse(&text) {
            prop_assert_eq!(Dn::parse(&name.to_string()).unwrap().path(), name.path());
        }
    }
}
