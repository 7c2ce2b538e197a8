//! The two entries anybody may read: the root DSE (RFC 4512 §5.1) and the subschema (RFC 4512 §4.2).

use ldap3_proto::proto::{LdapPartialAttribute, LdapSearchResultEntry};

use super::schema;

/// Where the subschema is found.
pub(super) const SUBSCHEMA_DN: &str = "cn=Subschema";
/// StartTLS (RFC 4511 §4.14).
pub(super) const OID_START_TLS: &str = "1.3.6.1.4.1.1466.20037";
/// Password Modify (RFC 3062).
pub(super) const OID_PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";
/// Who am I? (RFC 4532).
pub(super) const OID_WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
/// Simple paged results (RFC 2696).
const OID_PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
/// Modify-Increment (RFC 4525).
const OID_INCREMENT: &str = "1.3.6.1.1.14";
/// All operational attributes (RFC 3673).
const OID_ALL_OPERATIONAL: &str = "1.3.6.1.4.1.4203.1.5.1";

/// Describes the server; StartTLS only if it can.
pub(super) fn root_dse(base: &str, start_tls: bool) -> LdapSearchResultEntry {
    let mut extensions = vec![OID_PASSWORD_MODIFY, OID_WHO_AM_I];
    if start_tls {
        extensions.push(OID_START_TLS);
    }
    let attributes = vec![
        attribute("objectClass", &["top"]),
        attribute("namingContexts", &[base]),
        attribute("supportedLDAPVersion", &["3"]),
        attribute("supportedControl", &[OID_PAGED_RESULTS]),
        attribute("supportedExtension", &extensions),
        attribute("supportedFeatures", &[OID_INCREMENT, OID_ALL_OPERATIONAL]),
        attribute("subschemaSubentry", &[SUBSCHEMA_DN]),
        attribute("vendorName", &["Laniakea"]),
        attribute("vendorVersion", &[env!("CARGO_PKG_VERSION")]),
    ];
    LdapSearchResultEntry { dn: String::new(), attributes }
}

/// Describes the schema.
pub(super) fn subschema() -> LdapSearchResultEntry {
    let attributes = vec![
        attribute("objectClass", &["top", "subschema"]),
        attribute("cn", &["Subschema"]),
        attribute("attributeTypes", &schema::attribute_descriptions()),
        attribute("objectClasses", &schema::class_descriptions()),
    ];
    LdapSearchResultEntry { dn: SUBSCHEMA_DN.into(), attributes }
}

fn attribute<T: AsRef<str>>(name: &str, values: &[T]) -> LdapPartialAttribute {
    let vals = values.iter().map(|value| value.as_ref().as_bytes().to_vec()).collect();
    LdapPartialAttribute { atype: name.to_owned(), vals }
}
