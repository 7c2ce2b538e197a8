//! The cookie by which a router finds the account of a browser's next request: where to go, and no proof of anything.
//!
//! A member names the account in a field of its response; the router seals the name (AES-256-GCM) and hands it to the browser.
//! Every router of the installation opens it, under a key made of the admin token, which all of them have: when the token
//! changes, browsers are sent to whoever they would be sent to without a cookie.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand::fill,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use laniakea_directory::AccountId;

/// The only format so far.
const VERSION: u8 = 1;
/// Authenticated along with each cookie, so that nothing else can be taken for one.
const PURPOSE: &[u8] = b"laniakea route cookie\x01";
/// An identifier.
const ACCOUNT_BYTES: usize = 16;
/// Version, nonce, identifier and tag.
const SEALED_BYTES: usize = 1 + NONCE_LEN + ACCOUNT_BYTES + 16;
/// The same in base64, where three bytes are four characters; there are fifteen threes.
const SEALED_CHARACTERS: usize = SEALED_BYTES / 3 * 4;

/// The routers' key for cookies.
pub struct CookieKey(LessSafeKey);

impl CookieKey {
    /// Makes the key of a secret that all routers share (RFC 5869).
    #[must_use]
    #[expect(clippy::expect_used, reason = "HKDF with SHA-256 yields up to 8160 bytes")]
    pub fn derive(secret: &[u8]) -> Self {
        let secret = Salt::new(HKDF_SHA256, PURPOSE).extract(secret);
        let key = secret.expand(&[PURPOSE], &AES_256_GCM).expect("32 bytes");
        Self(LessSafeKey::new(UnboundKey::from(key)))
    }

    /// Seals an account's name, each time differently; `None` if the system has no randomness to give.
    #[must_use]
    pub fn seal(&self, account: AccountId) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce).ok()?;
        let mut text = account.0.as_bytes().to_vec();
        let sealing = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(sealing, Aad::from(PURPOSE), &mut text).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&[VERSION], nonce.as_slice(), &text].concat()))
    }

    /// Opens what a browser sent; `None` if no router of this installation sealed it.
    #[must_use]
    pub fn open(&self, cookie: &str) -> Option<AccountId> {
        if cookie.len() != SEALED_CHARACTERS {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (version, rest) = bytes.split_first_mut()?;
        let (nonce, text) = rest.split_first_chunk_mut::<NONCE_LEN>()?;
        if *version != VERSION {
            return None;
        }
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(PURPOSE), text).ok()?;
        uuid::Uuid::from_slice(opened).ok().map(AccountId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountId {
        "6f3c1c7e-6b0b-4f0e-9b56-3f6a2a5d9a10".parse().unwrap()
    }

    #[test]
    fn every_router_opens_what_one_has_sealed_and_nobody_sees_whose_it_is() {
        let (one, other) = (CookieKey::derive(b"token"), CookieKey::derive(b"token"));
        let cookie = one.seal(account()).unwrap();
        assert_eq!(other.open(&cookie), Some(account()));
        assert!(cookie != one.seal(account()).unwrap());
        assert!(cookie.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }

    #[test]
    fn what_was_changed_or_sealed_elsewhere_is_nothing() {
        let key = CookieKey::derive(b"token");
        let cookie = key.seal(account()).unwrap();
        assert_eq!(CookieKey::derive(b"another").open(&cookie), None);
        for position in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(key.open(&String::from_utf8(changed).unwrap()), None, "{position}");
        }
        for bad in ["", "AQ", &cookie[1..], &format!("{cookie}A"), &"é".repeat(30)] {
            assert_eq!(key.open(bad), None, "{bad}");
        }
    }
}
