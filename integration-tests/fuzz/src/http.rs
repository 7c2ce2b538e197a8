//! What anybody may show or ask over HTTP, behind the parser of hyper.

use laniakea_router::{handoff::CookieKey, wire};

/// Credentials and cookies; a cookie that no router has sealed leads nowhere.
pub(crate) fn credentials(bytes: &[u8]) {
    wire::http::fuzz(bytes);
    let key = CookieKey::derive(b"token");
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(key.open(&text), None, "a cookie out of nothing");
}

/// A request of JMAP.
pub(crate) fn jmap(bytes: &[u8]) {
    laniakea_backend::wire::jmap::fuzz(bytes);
}
