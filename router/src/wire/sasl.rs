//! SASL on the wire: base64, the PLAIN message, the prompts of LOGIN (RFC 4422, RFC 4616), and who a first message is of.
//!
//! Base64 is read strictly: the right padding, no white space, no bits left over. What two readers could understand
//! differently is refused.

use base64::{Engine, engine::general_purpose::STANDARD};
use laniakea_config::Mechanism;
use laniakea_directory::Secret;
use zeroize::Zeroizing;

use super::{bearer::Bearer, scram::ClientFirst};

/// `Username:`, encoded: the first prompt of LOGIN.
pub const LOGIN_PROMPT_NAME: &str = "VXNlcm5hbWU6";
/// `Password:`, encoded: the second prompt of LOGIN.
pub const LOGIN_PROMPT_PASSWORD: &str = "UGFzc3dvcmQ6";

/// Who a client says it is, before anything is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Whom it wants to act as, if it says so.
    pub authzid: Option<Vec<u8>>,
    /// Its name.
    pub name: Vec<u8>,
    /// How it proves that.
    pub proof: Proof,
}

/// How somebody proves who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// By a password.
    Password(Secret),
    /// By an exchange, of which this is the first message. It is for the home of the account to go on with.
    Exchange {
        /// The kind of exchange.
        mechanism: Mechanism,
        /// The message, decoded.
        message: Secret,
    },
}

impl Credentials {
    /// Reads the first message of an exchange, as far as to say whose it is.
    ///
    /// # Errors
    ///
    /// If it is no such message.
    pub fn of_exchange(mechanism: Mechanism, message: &[u8]) -> Result<Self, Malformed> {
        let (authzid, name) = match mechanism {
            Mechanism::Plain | Mechanism::Login => return Err(Malformed),
            Mechanism::ScramSha256 => {
                let first = ClientFirst::parse(message)?;
                (first.authzid, first.name)
            }
            Mechanism::OauthBearer => (None, Bearer::parse_oauthbearer(message)?.name),
            Mechanism::Xoauth2 => (None, Bearer::parse_xoauth2(message)?.name),
        };
        Ok(Self {
            authzid: authzid.map(String::into_bytes),
            name: name.into_bytes(),
            proof: Proof::Exchange { mechanism, message: Secret::new(message.to_vec()) },
        })
    }
}

/// A response that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed SASL response")]
pub struct Malformed;

/// What the client answered to a challenge.
#[derive(Debug, PartialEq, Eq)]
pub enum Response {
    /// `*`: it changed its mind (RFC 4422 §3.5, RFC 9051 §6.2.2).
    Cancel,
    /// Its answer, decoded.
    Data(Zeroizing<Vec<u8>>),
}

/// Reads the client's answer to a challenge.
///
/// # Errors
///
/// If it is not strict base64.
pub fn decode_response(line: &[u8]) -> Result<Response, Malformed> {
    if line == b"*" { Ok(Response::Cancel) } else { decode(line).map(Response::Data) }
}

/// Reads an initial response, where `=` stands for an empty one (RFC 4959 §3, RFC 5034 §4, RFC 4954 §4).
///
/// # Errors
///
/// If it is not strict base64.
pub fn decode_initial(word: &[u8]) -> Result<Zeroizing<Vec<u8>>, Malformed> {
    match word {
        b"=" => Ok(Zeroizing::default()),
        b"" => Err(Malformed),
        word => decode(word),
    }
}

/// Reads `[authzid] NUL authcid NUL passwd` (RFC 4616 §2).
///
/// # Errors
///
/// If there are not exactly two NULs.
pub fn parse_plain(message: &[u8]) -> Result<Credentials, Malformed> {
    let mut fields = message.split(|byte| *byte == 0);
    let (Some(authzid), Some(name), Some(secret), None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Malformed);
    };
    Ok(Credentials {
        authzid: (!authzid.is_empty()).then(|| authzid.to_vec()),
        name: name.to_vec(),
        proof: Proof::Password(Secret::new(secret.to_vec())),
    })
}

/// Writes a message of an exchange, encoded.
#[must_use]
pub fn encode(message: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(message))
}

/// Writes a PLAIN message, encoded.
#[must_use]
pub fn encode_plain(authzid: Option<&str>, name: &str, secret: &Secret) -> Zeroizing<String> {
    let authzid = authzid.unwrap_or_default();
    let message = Zeroizing::new([authzid.as_bytes(), &[0], name.as_bytes(), &[0], secret.expose()].concat());
    encode(&message)
}

/// Reads a message of an exchange.
///
/// # Errors
///
/// If it is not strict base64.
pub fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Malformed> {
    STANDARD.decode(text).map(Zeroizing::new).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_survives_the_wire() {
        // The examples of RFC 4616 §4.
        for (authzid, name, secret, message) in [
            (None, "tim", "tanstaaftanstaaf", "\0tim\0tanstaaftanstaaf"),
            (Some("Ursel"), "Kurt", "xipj3plmq", "Ursel\0Kurt\0xipj3plmq"),
        ] {
            let secret = Secret::new(secret.into());
            let encoded = encode_plain(authzid, name, &secret);
            let proof = Proof::Password(secret);
            let Ok(Response::Data(data)) = decode_response(encoded.as_bytes()) else { panic!("not data") };
            assert_eq!(*data, message.as_bytes());
            let authzid = authzid.map(|authzid| authzid.as_bytes().to_vec());
            assert_eq!(parse_plain(&data), Ok(Credentials { authzid, name: name.into(), proof }));
        }
    }

    #[test]
    fn plain_needs_exactly_two_nuls() {
        for message in ["", "\0", "eve\0wonder", "\0eve\0won\0der", "\0\0\0"] {
            assert_eq!(parse_plain(message.as_bytes()), Err(Malformed), "{message:?}");
        }
    }

    #[test]
    fn base64_is_strict() {
        for text in ["AGE", "AGE=AGE=", "AGE ", "AG\nE", "AGF=", "A===", "====", "AGEB!AAA", "-_8="] {
            assert_eq!(decode_response(text.as_bytes()), Err(Malformed), "{text}");
        }
        assert_eq!(decode_response(b"*"), Ok(Response::Cancel));
        assert_eq!(decode_response(b""), Ok(Response::Data(Zeroizing::default())));
    }

    #[test]
    fn an_empty_initial_response_is_an_equals_sign() {
        assert_eq!(*decode_initial(b"=").unwrap(), b"");
        assert_eq!(decode_initial(b""), Err(Malformed));
        assert_eq!(*decode_initial(b"AGE=").unwrap(), b"\0a");
    }

    #[test]
    fn the_prompts_say_what_clients_expect() {
        assert_eq!(STANDARD.decode(LOGIN_PROMPT_NAME).unwrap(), b"Username:");
        assert_eq!(STANDARD.decode(LOGIN_PROMPT_PASSWORD).unwrap(), b"Password:");
    }
}
