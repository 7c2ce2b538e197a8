//! What SCRAM-SHA-256 knows of a password: enough to check a proof of it, not enough to make one (RFC 5802 §3, RFC 7677).
//!
//! Pure. The messages, and who may see what of them, are the login's business.

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::scheme::{BASE64, split_scheme};
use crate::name::Secret;

/// What new keys cost: RFC 7677 §4 asks for what a handset computes in a tenth of a second.
const ROUNDS_NEW: u32 = 15_000;
/// A check with more rounds than this would take seconds.
const ROUNDS_MAX: u32 = 10_000_000;
const SALT_BYTES_NEW: usize = 16;
/// Longest salt; of a longer one nobody can tell the made-up ones apart.
const SALT_BYTES_MAX: usize = 32;
const KEY_BYTES: usize = 32;

type Key = [u8; KEY_BYTES];

/// The stored form of one password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// How it looks from outside.
    pub shape: ScramShape,
    /// The salt.
    pub salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
    /// Made up: no proof is right.
    is_nobodys: bool,
}

/// What a stranger may learn of an account's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScramShape {
    /// Rounds of PBKDF2.
    pub rounds: u32,
    /// Bytes of the salt.
    pub salt_bytes: usize,
}

impl Default for ScramShape {
    fn default() -> Self {
        Self { rounds: ROUNDS_NEW, salt_bytes: SALT_BYTES_NEW }
    }
}

impl ScramKeys {
    /// Reads a stored value: RFC 5803 (`rounds:salt$stored:server`) or Dovecot's `rounds,salt,stored,server`.
    #[must_use]
    pub fn of_stored(value: &str) -> Option<Self> {
        let (scheme, value) = split_scheme(value)?;
        scheme.eq_ignore_ascii_case("SCRAM-SHA-256").then(|| Self::of_value(value)).flatten()
    }

    /// Reads what is behind the scheme.
    pub(super) fn of_value(value: &str) -> Option<Self> {
        let fields: Vec<&str> = value.split([':', '$', ',']).collect();
        let [rounds, salt, stored_key, server_key] = fields.as_slice() else { return None };
        let rounds = rounds.parse().ok().filter(|rounds| (1..=ROUNDS_MAX).contains(rounds))?;
        let salt = BASE64.decode(salt).ok()?;
        let key = |text: &str| Key::try_from(BASE64.decode(text).ok()?).ok();
        let (stored_key, server_key) = (key(stored_key)?, key(server_key)?);
        let shape = ScramShape { rounds, salt_bytes: salt.len() };
        Some(Self { shape, salt, stored_key, server_key, is_nobodys: false })
    }

    /// Computes the keys of a password. Slow on purpose.
    #[must_use]
    pub fn derive(password: &Secret, salt: Vec<u8>, rounds: u32) -> Self {
        let prepared = prepare(password);
        let salted: Key = pbkdf2::pbkdf2_hmac_array::<Sha256, KEY_BYTES>(prepared.expose(), &salt, rounds);
        let stored_key = Sha256::digest(hmac(&salted, &[b"Client Key"])).into();
        let server_key = hmac(&salted, &[b"Server Key"]);
        let shape = ScramShape { rounds, salt_bytes: salt.len() };
        Self { shape, salt, stored_key, server_key, is_nobodys: false }
    }

    /// Makes keys up for a name that has none, always the same for the same secret and name: so nobody can tell by asking
    /// twice. No proof is right for them.
    #[must_use]
    pub fn made_up(secret: &[u8], name: &[u8], shape: ScramShape) -> Self {
        let mut salt = hmac(secret, &[b"salt", name]).to_vec();
        salt.truncate(shape.salt_bytes.min(SALT_BYTES_MAX));
        let key = |what: &[u8]| hmac(secret, &[what, name]);
        Self { shape, salt, stored_key: key(b"stored"), server_key: key(b"server"), is_nobodys: true }
    }

    /// Writes the value for the directory.
    #[must_use]
    pub fn to_stored(&self) -> String {
        let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let (salt, stored, server) = (encode(&self.salt), encode(&self.stored_key), encode(&self.server_key));
        format!("{{SCRAM-SHA-256}}{}:{salt}${stored}:{server}", self.shape.rounds)
    }

    /// Checks a client's proof over what both said, and returns the server's signature for the client to check.
    #[must_use]
    pub fn verify(&self, said: &str, proof: &[u8]) -> Option<[u8; 32]> {
        let signature = hmac(&self.stored_key, &[said.as_bytes()]);
        let proof = Key::try_from(proof).ok()?;
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(byte, mask)| *byte ^= mask);
        let is_right = bool::from(Sha256::digest(client_key).as_slice().ct_eq(&self.stored_key));
        (is_right && !self.is_nobodys).then(|| hmac(&self.server_key, &[said.as_bytes()]))
    }

    /// Whether these are the password's. Slow on purpose.
    pub(super) fn are_of(&self, password: &Secret) -> bool {
        let derived = Self::derive(password, self.salt.clone(), self.shape.rounds);
        derived.stored_key.ct_eq(&self.stored_key).into()
    }
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramKeys").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// Makes the form in which a new password is stored where clients log in with SCRAM. Slow on purpose.
#[must_use]
pub(super) fn scram_of_password(password: &Secret) -> String {
    let salt: [u8; SALT_BYTES_NEW] = rand::random();
    ScramKeys::derive(password, salt.to_vec(), ROUNDS_NEW).to_stored()
}

/// SASLprep (RFC 4013), as RFC 5802 §2.2 asks; what it forbids is taken as it is, as other servers do.
fn prepare(password: &Secret) -> Secret {
    let prepared = std::str::from_utf8(password.expose()).ok().and_then(|text| stringprep::saslprep(text).ok());
    prepared.map_or_else(|| password.clone(), |text| Secret::new(text.into_owned().into_bytes()))
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    // A key of any length will do (RFC 2104 §2); no other error is known.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Key::default() };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    fn base64(text: &str) -> Vec<u8> {
        BASE64.decode(text).unwrap()
    }

    #[test]
    fn the_exchange_of_the_rfc_goes_through() {
        // RFC 7677 §3.
        const SAID: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let keys = ScramKeys::derive(&secret("pencil"), base64("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096);
        let proof = base64("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let signature = keys.verify(SAID, &proof).unwrap();
        assert_eq!(signature.to_vec(), base64("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert_eq!(keys.verify(&SAID.replace("4096", "4097"), &proof), None);
        assert_eq!(keys.verify(SAID, &proof[..31]), None);
        assert_eq!(keys.verify(SAID, &[0; 32]), None);
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let keys = ScramKeys::of_stored(&scram_of_password(&secret("pencil"))).unwrap();
        assert!(keys.are_of(&secret("pencil")) && !keys.are_of(&secret("pencil ")));
        assert_eq!(keys.shape, ScramShape::default());
        assert_eq!(ScramKeys::of_stored(&keys.to_stored()), Some(keys));
        for stored in ["{SCRAM-SHA-256}", "{SCRAM-SHA-256}0:AA$AA:AA", "{ARGON2}x", "{SCRAM-SHA-256}4096:AA$AA:AA", "x"]
        {
            assert_eq!(ScramKeys::of_stored(stored), None, "{stored}");
        }
    }

    #[test]
    fn made_up_keys_are_stable_and_open_nothing() {
        let made_up = |secret: &[u8], name: &[u8]| ScramKeys::made_up(secret, name, ScramShape::default());
        let keys = made_up(b"k", b"eve");
        assert_eq!(keys, made_up(b"k", b"eve"));
        assert_ne!(keys.salt, made_up(b"k", b"adam").salt);
        assert_ne!(keys.salt, made_up(b"other", b"eve").salt);
        assert_eq!(keys.salt.len(), 16);
        // Not even the proof that would be right if somebody had made the keys of a password.
        let real = ScramKeys::derive(&secret("pencil"), keys.salt.clone(), 1);
        let stolen = ScramKeys { is_nobodys: true, ..real.clone() };
        let client_key = hmac(&pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(b"pencil", &keys.salt, 1), &[b"Client Key"]);
        let mut proof = hmac(&real.stored_key, &[b"said"]);
        proof.iter_mut().zip(client_key).for_each(|(byte, key)| *byte ^= key);
        assert!(real.verify("said", &proof).is_some());
        assert_eq!(stolen.verify("said", &proof), None);
    }

    #[test]
    fn passwords_are_prepared_as_clients_prepare_them() {
        // RFC 4013 §3: a soft hyphen is nothing, a compatibility character its plain relative.
        let keys = ScramKeys::derive(&secret("I\u{ad}X"), vec![1], 1);
        assert!(keys.are_of(&secret("IX")) && keys.are_of(&secret("\u{2168}")));
    }
}
