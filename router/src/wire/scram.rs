//! The messages of SCRAM (RFC 5802 §7), of which SCRAM-SHA-256 has no others (RFC 7677).
//!
//! Whoever only passes them on reads the client's first message alone, for the name in it. Bytes are kept as they came where
//! a signature is over them. Channel binding (`p=`) belongs to mechanisms that are not offered.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::sasl::Malformed;

/// Longest message; a name, two nonces and a proof need less.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// What a client begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    /// Whether the client could bind to the channel, and which: `n,…,` or `y,…,` as it came.
    pub gs2_header: String,
    /// Whom it wants to act as, if it says so.
    pub authzid: Option<String>,
    /// Its name, unescaped.
    pub name: String,
    /// Its nonce.
    pub nonce: String,
    /// What is behind the header, as it came.
    pub bare: String,
}

/// What a client ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFinal {
    /// The header of the first message once more, decoded.
    pub gs2_header: Vec<u8>,
    /// Both nonces.
    pub nonce: String,
    /// What only the password gives.
    pub proof: Vec<u8>,
    /// The message without the proof, as it came.
    pub without_proof: String,
}

impl ClientFirst {
    /// Reads `gs2-header "n=" saslname ",r=" c-nonce ["," extensions]`.
    ///
    /// # Errors
    ///
    /// If it is something else, or asks for channel binding.
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let message = text(message)?;
        let mut attributes = message.splitn(3, ',');
        let (Some(flag @ ("n" | "y")), Some(authzid), Some(bare)) =
            (attributes.next(), attributes.next(), attributes.next())
        else {
            return Err(Malformed);
        };
        let gs2_header = format!("{flag},{authzid},");
        let authzid = match authzid {
            // GNU SASL says so that it acts for itself.
            "" | "a=" => None,
            authzid => Some(unescape(authzid.strip_prefix("a=").ok_or(Malformed)?)?),
        };
        // An extension that must be understood (`m=`) would stand before the name (RFC 5802 §5.1).
        let mut attributes = bare.split(',');
        let name = attributes.next().and_then(|name| name.strip_prefix("n=")).ok_or(Malformed)?;
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r=")).ok_or(Malformed)?;
        if !is_nonce(nonce) || !attributes.all(is_extension) {
            return Err(Malformed);
        }
        Ok(Self { gs2_header, authzid, name: unescape(name)?, nonce: nonce.to_owned(), bare: bare.to_owned() })
    }
}

impl ClientFinal {
    /// Reads `"c=" base64 ",r=" c-nonce s-nonce ["," extensions] ",p=" base64`.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let message = text(message)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Malformed)?;
        let mut attributes = without_proof.split(',');
        let header = attributes.next().and_then(|header| header.strip_prefix("c=")).ok_or(Malformed)?;
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r=")).ok_or(Malformed)?;
        if !is_nonce(nonce) || !attributes.all(is_extension) {
            return Err(Malformed);
        }
        Ok(Self {
            gs2_header: STANDARD.decode(header).map_err(|_| Malformed)?,
            nonce: nonce.to_owned(),
            proof: STANDARD.decode(proof).map_err(|_| Malformed)?,
            without_proof: without_proof.to_owned(),
        })
    }
}

/// Writes `"r=" c-nonce s-nonce ",s=" base64 ",i=" posit-number`.
#[must_use]
pub fn server_first(nonce: &str, salt: &[u8], rounds: u32) -> String {
    format!("r={nonce},s={},i={rounds}", STANDARD.encode(salt))
}

/// Writes `"v=" base64`: what only somebody who has the stored key can.
#[must_use]
pub fn server_final(signature: &[u8]) -> String {
    format!("v={}", STANDARD.encode(signature))
}

/// Messages are UTF-8 without NUL (RFC 5802 §7 `value-char`), and no line break belongs into a name.
fn text(message: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(message).map_err(|_| Malformed)?;
    let is_whole = text.len() <= MESSAGE_BYTES_MAX && !text.contains(['\0', '\r', '\n']);
    is_whole.then_some(text).ok_or(Malformed)
}

/// `saslname`: `=2C` is a comma, `=3D` an equals sign, and no other equals sign may be there (RFC 5802 §5.1).
pub(super) fn unescape(name: &str) -> Result<String, Malformed> {
    let mut parts = name.split('=');
    let mut unescaped = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return Err(Malformed),
        };
        unescaped.push(sign);
        unescaped.push_str(rest);
    }
    if unescaped.is_empty() { Err(Malformed) } else { Ok(unescaped) }
}

/// `printable = %x21-2B / %x2D-7E`.
fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// `attr-val = ALPHA "=" value`; those we do not know may be ignored.
fn is_extension(attribute: &str) -> bool {
    let mut bytes = attribute.bytes();
    bytes.next().is_some_and(|name| name.is_ascii_alphabetic()) && bytes.next() == Some(b'=') && bytes.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_the_rfc_are_read() {
        // RFC 7677 §3.
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!((first.name.as_str(), first.nonce.as_str()), ("user", "rOprNGfwEbeRWgbNEkqO"));
        assert_eq!((first.gs2_header.as_str(), first.authzid), ("n,,", None));
        assert_eq!(first.bare, "n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = ClientFinal::parse(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        .unwrap();
        assert_eq!(last.gs2_header, b"n,,");
        assert_eq!(last.proof.len(), 32);
        assert_eq!(last.without_proof, "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    }

    #[test]
    fn names_are_unescaped() {
        let first = ClientFirst::parse("y,a=the=2Cboss,n=a=3Db=2C=2Cé,r=x,z=ext".as_bytes()).unwrap();
        assert_eq!(first.name, "a=b,,é");
        assert_eq!(first.authzid.as_deref(), Some("the,boss"));
        assert_eq!(first.gs2_header, "y,a=the=2Cboss,");
        assert_eq!(ClientFirst::parse(b"n,a=,n=user,r=x").unwrap().authzid, None);
    }

    #[test]
    fn nothing_else_is_a_first_message() {
        for message in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,n=user,r=",
            "n,,n=,r=x",
            "n,,r=x,n=user",
            "n,b=c,n=user,r=x",
            "x,,n=user,r=x",
            "n,,m=must,n=user,r=x",
            "n,,n=us=er,r=x",
            "n,,n=us=2cer,r=x",
            "n,,n=us=,r=x",
            "n,,n=user,r=x y",
            "n,,n=user,r=x,",
            "n,,n=user,r=x,ext",
            "n,,n=us\0er,r=x",
            "n,,n=us\r\ner,r=x",
            "n,,n=user,r=ü",
            // Channel binding.
            "p=tls-exporter,,n=user,r=x",
        ] {
            assert_eq!(ClientFirst::parse(message.as_bytes()), Err(Malformed), "{message:?}");
        }
        assert_eq!(ClientFirst::parse(b"n,,n=us\xffer,r=x"), Err(Malformed));
        assert_eq!(ClientFirst::parse(format!("n,,n={},r=x", "x".repeat(5000)).as_bytes()), Err(Malformed));
    }

    #[test]
    fn nothing_else_is_a_last_message() {
        for message in [
            "",
            "c=biws,r=x",
            "c=biws,p=AAAA",
            "r=x,c=biws,p=AAAA",
            "c=!,r=x,p=AAAA",
            "c=biws,r=x,p=!",
            "c=biws,r=x,ext,p=AAAA",
        ] {
            assert_eq!(ClientFinal::parse(message.as_bytes()), Err(Malformed), "{message:?}");
        }
    }
}
