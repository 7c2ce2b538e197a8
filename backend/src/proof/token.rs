//! Whether a token is one of the issuer's, for us, and not out of date (RFC 7519, RFC 7517, RFC 8725).
//!
//! The keys say which algorithms count, never the token: a public key is not taken for a secret, and "none" is nothing.

use std::collections::HashSet;

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, JwkSet},
};
use laniakea_config::TokenSettings;
use serde_json::{Map, Value};

/// How far the issuer's clock may be from ours, in seconds.
const CLOCKS_APART_S: u64 = 60;

/// Which tokens count.
pub struct Tokens {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
    claim: String,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// Why a set of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("open the file")]
    File(#[from] std::io::Error),
    /// It is no JSON Web Key Set.
    #[error("read the issuer's keys")]
    Json(#[from] serde_json::Error),
    /// No key in it verifies a signature by an algorithm that counts.
    #[error("there is no public key among the issuer's keys")]
    NoKey,
}

impl Tokens {
    /// Reads the issuer's keys. What is among them for other purposes is left out.
    ///
    /// # Errors
    ///
    /// If there is not a single usable key.
    pub fn new(settings: &TokenSettings, key_set: &[u8]) -> Result<Self, KeysError> {
        let set: JwkSet = serde_json::from_slice(key_set)?;
        let key = |jwk: &jsonwebtoken::jwk::Jwk| {
            let algorithms = algorithms(&jwk.algorithm);
            let key = DecodingKey::from_jwk(jwk).ok().filter(|_| !algorithms.is_empty())?;
            Some(Key { id: jwk.common.key_id.clone(), key, algorithms })
        };
        let keys: Vec<Key> = set.keys.iter().filter_map(key).collect();
        if keys.is_empty() {
            return Err(KeysError::NoKey);
        }
        let TokenSettings { issuer, audience, claim, .. } = settings.clone();
        Ok(Self { keys, issuer, audience, claim })
    }

    /// Returns whose token it is; `None` if it does not count.
    #[must_use]
    pub fn verify(&self, token: &[u8], unix_s: u64) -> Option<String> {
        let header = decode_header(token).ok()?;
        // A token that does not say by which key it was signed may be by any.
        let fits = |key: &&Key| header.kid.is_none() || key.id.is_none() || key.id == header.kid;
        self.keys.iter().filter(fits).find_map(|key| self.verify_by(key, token, unix_s))
    }

    fn verify_by(&self, key: &Key, token: &[u8], unix_s: u64) -> Option<String> {
        let mut validation = Validation::new(*key.algorithms.first()?);
        validation.algorithms.clone_from(&key.algorithms);
        validation.required_spec_claims = HashSet::from(["exp", "iss", "aud"].map(str::to_owned));
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        // The time is ours to look at.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = decode::<Map<String, Value>>(token, &key.key, &validation).ok()?.claims;
        let time = |name: &str| claims.get(name).and_then(Value::as_f64);
        let now = unix_s as f64;
        let is_current = time("exp")? + CLOCKS_APART_S as f64 > now
            && claims.get("nbf").is_none_or(|_| time("nbf").is_some_and(|begin| begin <= now + CLOCKS_APART_S as f64));
        claims.get(&self.claim).and_then(Value::as_str).filter(|_| is_current).map(str::to_owned)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("issuer", &self.issuer).field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// The algorithms of a public key; none for one that is a secret.
fn algorithms(parameters: &AlgorithmParameters) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match parameters {
        AlgorithmParameters::RSA(_) => vec![RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => vec![ES256],
            EllipticCurve::P384 => vec![ES384],
            // Kinds that may be added are not for us before we have looked at them.
            _ => Vec::new(),
        },
        AlgorithmParameters::OctetKeyPair(_) => vec![EdDSA],
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "token_test.rs"]
mod tests;
