//! One SASL exchange, from the mechanism's name to credentials (RFC 4422 §3).
//!
//! PLAIN and LOGIN; the framing of challenges is the protocol's. Each connection has its own exchange, so that one
//! client's garbage ends that exchange and nothing else (CVE-2025-59028).

use zeroize::Zeroizing;

use crate::wire::sasl::{
    Credentials, LOGIN_PROMPT_NAME, LOGIN_PROMPT_PASSWORD, Malformed, Response, decode_initial, decode_response,
    parse_plain,
};

/// The mechanisms on offer.
pub const MECHANISMS: [&str; 2] = ["PLAIN", "LOGIN"];

/// An exchange that waits for the client.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    Plain,
    LoginName,
    LoginPassword { name: Zeroizing<Vec<u8>> },
}

/// What follows from what the client sent.
#[derive(Debug)]
pub enum Step {
    /// Send this challenge, already encoded, and wait.
    Challenge(&'static str, Exchange),
    /// The exchange is over.
    Done(Credentials),
    /// The client changed its mind.
    Cancelled,
    /// The client sent what cannot be understood.
    Malformed,
    /// No such mechanism.
    Unknown,
}

impl Exchange {
    /// Begins an exchange, with the initial response as it stood in the command.
    #[must_use]
    pub fn begin(mechanism: &str, initial: Option<&[u8]>) -> Step {
        let (challenge, exchange) = match mechanism {
            "PLAIN" => ("", Self(State::Plain)),
            "LOGIN" => (LOGIN_PROMPT_NAME, Self(State::LoginName)),
            _ => return Step::Unknown,
        };
        match initial.map(decode_initial) {
            None => Step::Challenge(challenge, exchange),
            Some(Ok(data)) => exchange.on_data(data),
            Some(Err(Malformed)) => Step::Malformed,
        }
    }

    /// Goes on with the client's answer, as it stood in its line.
    #[must_use]
    pub fn go_on(self, line: &[u8]) -> Step {
        match decode_response(line) {
            Ok(Response::Cancel) => Step::Cancelled,
            Ok(Response::Data(data)) => self.on_data(data),
            Err(Malformed) => Step::Malformed,
        }
    }

    fn on_data(self, data: Zeroizing<Vec<u8>>) -> Step {
        match self.0 {
            State::Plain => parse_plain(&data).map_or(Step::Malformed, Step::Done),
            State::LoginName => Step::Challenge(LOGIN_PROMPT_PASSWORD, Self(State::LoginPassword { name: data })),
            State::LoginPassword { name } => {
                let secret = laniakea_directory::Secret::new(data.to_vec());
                Step::Done(Credentials { authzid: None, name: name.to_vec(), secret })
            }
        }
    }
}
