//! The server's part of SCRAM-SHA-256 (RFC 5802 §3, RFC 7677), once the account's keys are known, or made up.
//!
//! ```text
//! C: n,,n=eve,r=…          ClientFirst
//! S: r=…,s=…,i=…           begin
//! C: c=biws,r=…,p=…
//! S: v=…                   finish, if the proof is right
//! ```

use laniakea_directory::ScramKeys;
use laniakea_router::wire::scram::{ClientFinal, ClientFirst, server_final, server_first};

/// An exchange that waits for the client's proof.
#[derive(Debug)]
pub struct ScramServer {
    keys: ScramKeys,
    gs2_header: String,
    nonce: String,
    /// What both have said, as signatures are made over it.
    said: String,
}

impl ScramServer {
    /// Begins: our message, and the state that waits for the answer. `nonce` is ours, printable and without a comma.
    #[must_use]
    pub fn begin(first: &ClientFirst, keys: ScramKeys, nonce: &str) -> (Self, String) {
        let nonce = format!("{}{nonce}", first.nonce);
        let challenge = server_first(&nonce, &keys.salt, keys.shape.rounds);
        let said = format!("{},{challenge}", first.bare);
        (Self { keys, gs2_header: first.gs2_header.clone(), nonce, said }, challenge)
    }

    /// Checks the client's proof and returns our last message, by which the client knows us. `None` is a wrong password,
    /// a replayed message, or none at all.
    #[must_use]
    pub fn finish(self, message: &[u8]) -> Option<String> {
        let last = ClientFinal::parse(message).ok()?;
        // What was said first cannot be changed on the way: nonces and header are under the signature, and must be ours.
        if last.nonce != self.nonce || last.gs2_header != self.gs2_header.as_bytes() {
            return None;
        }
        let said = format!("{},{}", self.said, last.without_proof);
        self.keys.verify(&said, &last.proof).map(|signature| server_final(&signature))
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use laniakea_directory::{ScramShape, Secret};

    use super::*;

    // RFC 7677 §3.
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn begin(first: &str, keys: ScramKeys) -> (ScramServer, String) {
        ScramServer::begin(&ClientFirst::parse(first.as_bytes()).unwrap(), keys, NONCE)
    }

    fn keys() -> ScramKeys {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        ScramKeys::derive(&Secret::new(b"pencil".to_vec()), salt, 4096)
    }

    #[test]
    fn the_exchange_of_the_rfc_goes_through() {
        let (server, challenge) = begin(FIRST, keys());
        assert_eq!(challenge, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        assert_eq!(server.finish(LAST.as_bytes()).as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    #[test]
    fn no_changed_message_is_a_proof() {
        let fails = |first: &str, last: &str| begin(first, keys()).0.finish(last.as_bytes()).is_none();
        assert!(!fails(FIRST, LAST));
        // Another name, another nonce of the client's, a header that was changed on the way, an old nonce of ours.
        assert!(fails("n,,n=usex,r=rOprNGfwEbeRWgbNEkqO", LAST));
        assert!(fails("n,,n=user,r=rOprNGfwEbeRWgbNEkqX", LAST));
        assert!(fails("y,,n=user,r=rOprNGfwEbeRWgbNEkqO", LAST));
        assert!(fails(FIRST, &LAST.replace("NlF$k0", "NlF$k1")));
        assert!(fails(FIRST, &LAST.replace("c=biws", "c=eSws")));
        for last in ["", "x", "c=biws,r=rOprNGfwEbeRWgbNEkqO,p=dHzb"] {
            assert!(fails(FIRST, last), "{last}");
        }
    }

    #[test]
    fn a_name_without_keys_is_asked_the_same_and_refused() {
        let made_up = ScramKeys::made_up(b"secret", b"user", ScramShape { rounds: 4096, salt_bytes: 16 });
        let (nobody, challenge) = begin(FIRST, made_up.clone());
        let (_, again) = begin(FIRST, made_up);
        let (_, real) = begin(FIRST, keys());
        assert_eq!(challenge, again);
        assert_eq!(challenge.len(), real.len());
        assert_eq!(nobody.finish(LAST.as_bytes()), None);
    }
}
