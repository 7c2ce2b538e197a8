//! LDAP: answers of a directory to our client, requests to our server, and the texts in both.

use laniakea_directory::{dn::Dn, fuzz_answer, ldif::LdifReader, name::Address, server::fuzz_requests};

/// An entry as a directory sends it.
pub(crate) fn answer(bytes: &[u8]) {
    fuzz_answer(bytes);
}

/// What a client asks the embedded server.
pub(crate) fn request(bytes: &[u8]) {
    fuzz_requests(bytes);
}

/// Names of entries, addresses, LDIF.
pub(crate) fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(dn) = Dn::parse(&text) {
        let path = dn.path();
        assert!(dn.rdns().count() > 0 || dn.is_root(), "{path}");
    }
    if let Ok(address) = Address::parse(&text) {
        assert_eq!(Address::parse(&address.to_string()).as_ref(), Ok(&address), "an address reads as it was written");
    }
    let mut entries = LdifReader::new(bytes, 0, 1);
    while let Ok(Some(_)) = entries.next_entry() {}
}
