use ldap3_proto::parse_ldap_filter_str;
use uuid::Uuid;

use super::*;
use crate::server::entry::{Attribute, Stamp};

fn entry() -> Entry {
    let stamp = Stamp { unix_seconds: 1_000_000_000, who: "cn=admin".into() };
    let attribute = |name: &str, values: &[&str]| Attribute {
        name: name.into(),
        values: values.iter().map(|value| value.as_bytes().to_vec()).collect(),
    };
    Entry {
        dn: "uid=eve,ou=People,dc=example,dc=org".into(),
        attributes: vec![
            attribute("objectClass", &["inetOrgPerson", "laniakeaAccount"]),
            attribute("uid", &["eve"]),
            attribute("cn", &["Eve Smith"]),
            attribute("mail", &["Eve@example.org", "e.smith@example.org"]),
            attribute("laniakeaQuota", &["1000"]),
            attribute("userPassword", &["{CLEARTEXT}x"]),
        ],
        uuid: Uuid::from_u128(7),
        created: stamp.clone(),
        modified: stamp,
    }
}

fn matches(text: &str) -> Option<bool> {
    Filter::prepare(spaced(parse_ldap_filter_str(text).unwrap())).matches(&entry(), &Rights::Admin)
}

/// The codec's own parser of filter strings reads no spaces: the tests write `_` for them.
fn spaced(filter: LdapFilter) -> LdapFilter {
    let space = |text: String| text.replace('_', " ");
    match filter {
        LdapFilter::Equality(name, value) => LdapFilter::Equality(name, space(value)),
        LdapFilter::Substring(name, parts) => {
            let (initial, final_) = (parts.initial.map(space), parts.final_.map(space));
            let any = parts.any.into_iter().map(space).collect();
            LdapFilter::Substring(name, LdapSubstringFilter { initial, any, final_ })
        }
        LdapFilter::Extensible(mut assertion) => {
            assertion.match_value = space(assertion.match_value);
            LdapFilter::Extensible(assertion)
        }
        other => other,
    }
}

#[test]
fn every_kind_of_filter_is_understood() {
    for (filter, expected) in [
        ("(uid=EVE)", true),
        ("(userid=eve)", true),
        ("(uid=eva)", false),
        ("(cn=eve___smith)", true),
        ("(mail=*)", true),
        ("(telephoneNumber=*)", false),
        ("(mail=e*@*.org)", true),
        ("(mail=*smith*)", true),
        ("(mail=e*smith@*example*.org)", true),
        ("(mail=*smith*e.smith*)", false),
        ("(cn=eve*eve_smith)", false),
        ("(cn=*e_s*)", true),
        ("(laniakeaQuota>=999)", true),
        ("(laniakeaQuota>=1001)", false),
        ("(laniakeaQuota<=1000)", true),
        ("(createTimestamp<=20020101000000Z)", true),
        ("(createTimestamp>=20020101000000Z)", false),
        ("(uid~=eve)", true),
        ("(entryUUID=00000000-0000-0000-0000-000000000007)", true),
        ("(&(uid=eve)(mail=eve@example.org))", true),
        ("(&(uid=eve)(mail=adam@example.org))", false),
        ("(|(uid=adam)(mail=eve@example.org))", true),
        ("(!(uid=adam))", true),
        ("(!(uid=eve))", false),
        ("(cn:caseIgnoreMatch:=EVE_SMITH)", true),
        ("(ou:dn:=people)", true),
        ("(ou:dn:=sales)", false),
        ("(objectClass=LANIAKEAACCOUNT)", true),
    ] {
        assert_eq!(matches(filter), Some(expected), "{filter}");
    }
}

#[test]
fn an_unknown_rule_is_undefined_and_stays_so_when_negated() {
    assert_eq!(matches("(cn:1.2.3:=x)"), None);
    assert_eq!(matches("(!(cn:1.2.3:=x))"), None);
    assert_eq!(matches("(&(uid=eve)(cn:1.2.3:=x))"), None);
    assert_eq!(matches("(&(uid=adam)(cn:1.2.3:=x))"), Some(false));
    assert_eq!(matches("(|(uid=eve)(cn:1.2.3:=x))"), Some(true));
}

#[test]
fn nobody_but_the_administrator_can_probe_a_password_by_filter() {
    let own = Rights::Own(Dn::parse(&entry().dn).unwrap().path());
    for text in ["(userPassword=*)", "(userPassword={CLEARTEXT}x)", "(!(userPassword=x))", "(userPassword={CLEAR*)"] {
        let filter = Filter::prepare(parse_ldap_filter_str(text).unwrap());
        assert_eq!(filter.matches(&entry(), &own), None, "{text}");
    }
    assert_eq!(matches("(userPassword={CLEARTEXT}x)"), Some(true));
}
