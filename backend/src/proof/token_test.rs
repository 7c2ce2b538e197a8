//! Tokens that count, and those that must not.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;

struct Issuer {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
}

impl Issuer {
    fn new() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let pkcs8 = pair.to_pkcs8v1().unwrap().as_ref().to_vec();
        Self { pair, pkcs8 }
    }

    fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref())
    }

    fn tokens(&self) -> Tokens {
        let settings = TokenSettings {
            keys: "unread".into(),
            issuer: "https://id.example.org".into(),
            audience: "mail".into(),
            claim: "email".into(),
        };
        let set = json!({"keys": [
            {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
            {"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": self.public()},
        ]});
        Tokens::new(&settings, set.to_string().as_bytes()).unwrap()
    }

    fn sign(&self, kid: &str, claims: &Value) -> String {
        let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::EdDSA) };
        encode(&header, claims, &EncodingKey::from_ed_der(&self.pkcs8)).unwrap()
    }
}

fn claims() -> Value {
    json!({"iss": "https://id.example.org", "aud": ["web", "mail"], "exp": NOW + 10, "email": "eve@example.org"})
}

#[test]
fn a_token_of_the_issuer_says_whose_it_is() {
    let issuer = Issuer::new();
    let token = issuer.sign("one", &claims());
    assert_eq!(issuer.tokens().verify(token.as_bytes(), NOW).as_deref(), Some("eve@example.org"));
}

#[test]
fn no_other_token_counts() {
    let issuer = Issuer::new();
    let tokens = issuer.tokens();
    let changed = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        issuer.sign("one", &claims)
    };
    let mut lacking = Vec::new();
    for name in ["iss", "aud", "exp", "email"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        lacking.push(issuer.sign("one", &claims));
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", part(&json!({"alg": "none", "kid": "one"})), part(&claims()));
    // The public key taken for a secret, which everybody knows.
    let header = Header { kid: Some("one".into()), ..Header::new(Algorithm::HS256) };
    let confused = encode(&header, &claims(), &EncodingKey::from_secret(issuer.public().as_bytes())).unwrap();
    let header = Header { kid: Some("secret".into()), ..Header::new(Algorithm::HS256) };
    let shared = encode(&header, &claims(), &EncodingKey::from_secret(b"secret")).unwrap();
    let others = [
        changed("iss", json!("https://evil.example")),
        changed("aud", json!("web")),
        changed("exp", json!(NOW - CLOCKS_APART_S)),
        changed("exp", json!("soon")),
        changed("nbf", json!(NOW + 2 * CLOCKS_APART_S)),
        changed("nbf", json!("later")),
        changed("email", json!(["eve@example.org"])),
        issuer.sign("two", &claims()),
        Issuer::new().sign("one", &claims()),
        unsigned,
        confused,
        shared,
        String::new(),
        "a.b.c".to_owned(),
    ];
    for token in others.iter().chain(&lacking) {
        assert_eq!(tokens.verify(token.as_bytes(), NOW), None, "{token}");
    }
}

#[test]
fn keys_that_verify_nothing_are_refused() {
    let settings = TokenSettings { keys: "".into(), issuer: "i".into(), audience: "a".into(), claim: "c".into() };
    for set in ["", "{}", r#"{"keys": []}"#, r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#] {
        assert!(Tokens::new(&settings, set.as_bytes()).is_err(), "{set}");
    }
}
