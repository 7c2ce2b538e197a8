//! `{SCHEME}value`: read, computed, compared in constant time.
//!
//! Refused on purpose: `{CRYPT}` with DES or `$1$`, which a modern machine tries out in hours.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use laniakea_config::PasswordScheme;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use super::scram::{ScramKeys, scram_of_password};
use crate::name::Secret;

/// Longer values are not hashes but mistakes.
const STORED_BYTES_MAX: usize = 1024;
/// 256 MiB: above, one check could starve the process of memory.
const ARGON2_KIB_MAX: u32 = 256 * 1024;
/// A check with more rounds than this would take seconds.
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;
/// The costs of new hashes: about 5 ms and 4 MiB, since a login storm after a fail-over must be bearable.
const ARGON2_NEW_KIB: u32 = 4096;
const ARGON2_NEW_PASSES: u32 = 3;
const SALT_BYTES: usize = 16;

/// Base64 as directories hold it: with or without padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Makes the form in which a new password is stored. Slow on purpose.
#[must_use]
pub fn hash_password(password: &Secret, scheme: PasswordScheme) -> String {
    match scheme {
        PasswordScheme::Argon2 => hash_argon2(password),
        PasswordScheme::Scram => scram_of_password(password),
    }
}

/// Argon2id.
fn hash_argon2(password: &Secret) -> String {
    let salt: [u8; SALT_BYTES] = rand::random();
    let hashed = Params::new(ARGON2_NEW_KIB, ARGON2_NEW_PASSES, 1, None)
        .map(|params| Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
        .ok()
        .and_then(|argon2| argon2.hash_password_with_salt(password.expose(), &salt).ok());
    match hashed {
        Some(hash) => format!("{{ARGON2}}{hash}"),
        // Only a password of 4 GiB gets here; a value that verifies nothing locks the account instead of opening it.
        None => String::from("{ARGON2}"),
    }
}

/// Whether a stored value says how it was made.
#[must_use]
pub fn has_scheme(stored: &[u8]) -> bool {
    std::str::from_utf8(stored).is_ok_and(|stored| split_scheme(stored).is_some())
}

/// Whether `password` is the one that `stored` was made from. Slow on purpose.
///
/// A value without a scheme is the password itself (RFC 4519 §2.41), or, if it begins with `$`, what `crypt` makes, as some
/// sites keep it. An unknown scheme, a malformed value and an empty password verify nothing.
#[must_use]
pub fn verify(stored: &str, password: &Secret) -> bool {
    if password.is_empty() || stored.len() > STORED_BYTES_MAX {
        return false;
    }
    let unsaid = if stored.starts_with('$') { "CRYPT" } else { "CLEARTEXT" };
    let (scheme, value) = split_scheme(stored).unwrap_or((unsaid, stored));
    match scheme.to_ascii_uppercase().as_str() {
        "SCRAM-SHA-256" => ScramKeys::of_value(value).is_some_and(|keys| keys.are_of(password)),
        scheme => verify_bytes(scheme, value, password.expose()),
    }
}

fn verify_bytes(scheme: &str, value: &str, password: &[u8]) -> bool {
    match scheme {
        "ARGON2" | "ARGON2I" | "ARGON2ID" => verify_argon2(value, password),
        "SSHA512" | "SHA512" => verify_digest::<Sha512>(value, password),
        "SSHA384" | "SHA384" => verify_digest::<Sha384>(value, password),
        "SSHA256" | "SHA256" => verify_digest::<Sha256>(value, password),
        "SSHA" | "SHA" => verify_digest::<Sha1>(value, password),
        "SMD5" | "MD5" => verify_digest::<Md5>(value, password),
        "PBKDF2-SHA256" | "PBKDF2_SHA256" => verify_pbkdf2::<32>(value, password, pbkdf2::pbkdf2_hmac::<Sha256>),
        "PBKDF2-SHA512" | "PBKDF2_SHA512" => verify_pbkdf2::<64>(value, password, pbkdf2::pbkdf2_hmac::<Sha512>),
        "PBKDF2" | "PBKDF2-SHA1" => verify_pbkdf2::<20>(value, password, pbkdf2::pbkdf2_hmac::<Sha1>),
        "CRYPT" => verify_crypt(value, password),
        "CLEARTEXT" | "PLAIN" => equal(value.as_bytes(), password),
        _ => false,
    }
}

/// Splits `{SCHEME}value`, or RFC 5803's `SCRAM-SHA-256$value`.
pub(super) fn split_scheme(stored: &str) -> Option<(&str, &str)> {
    if let Some(value) = stored.strip_prefix("SCRAM-SHA-256$") {
        return Some(("SCRAM-SHA-256", value));
    }
    let (scheme, value) = stored.strip_prefix('{')?.split_once('}')?;
    let plausible = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    plausible.then_some((scheme, value))
}

fn verify_argon2(value: &str, password: &[u8]) -> bool {
    let Ok(hash) = PasswordHash::new(value) else { return false };
    let affordable = Params::try_from(&hash).is_ok_and(|params| params.m_cost() <= ARGON2_KIB_MAX);
    affordable && Argon2::default().verify_password(password, &hash).is_ok()
}

/// `base64(digest(password || salt) || salt)`; the salt may be empty.
fn verify_digest<D: Digest>(value: &str, password: &[u8]) -> bool {
    let Ok(bytes) = BASE64.decode(value) else { return false };
    let size = <D as Digest>::output_size();
    let Some((expected, salt)) = bytes.split_at_checked(size) else { return false };
    let digest = D::new().chain_update(password).chain_update(salt).finalize();
    equal(&digest, expected)
}

/// `rounds$salt$key`, in the base64 of passlib: `.` for `+`, no padding.
fn verify_pbkdf2<const N: usize>(value: &str, password: &[u8], derive: fn(&[u8], &[u8], u32, &mut [u8])) -> bool {
    let mut fields = value.split('$');
    let (Some(rounds), Some(salt), Some(key), None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return false;
    };
    let (Ok(rounds), Ok(salt), Ok(key)) = (rounds.parse(), decode_ab64(salt), decode_ab64(key)) else { return false };
    if key.len() != N || !(1..=PBKDF2_ROUNDS_MAX).contains(&rounds) {
        return false;
    }
    let mut derived = [0; N];
    derive(password, &salt, rounds, &mut derived);
    equal(&derived, &key)
}

fn decode_ab64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    BASE64.decode(text.replace('.', "+"))
}

/// The modular crypt formats that are still worth something.
fn verify_crypt(value: &str, password: &[u8]) -> bool {
    match value.get(..3) {
        Some("$5$" | "$6$") => sha_crypt::ShaCrypt::default().verify_password(password, value).is_ok(),
        Some("$y$") => yescrypt::Yescrypt::default().verify_password(password, value).is_ok(),
        Some("$2b" | "$2a" | "$2y") => bcrypt::verify(password, value).unwrap_or(false),
        _ => false,
    }
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
#[path = "scheme_test.rs"]
mod tests;
