//! One SASL exchange, from the mechanism's name to credentials (RFC 4422 §3).
//!
//! PLAIN and LOGIN end here with a password; of other mechanisms only the first message is read, and the exchange goes on
//! with whoever checks it. The framing of challenges is the protocol's. Each connection has its own exchange, so that one
//! client's garbage ends that exchange and nothing else (CVE-2025-59028).

use laniakea_config::Mechanism;
use laniakea_directory::Secret;
use zeroize::Zeroizing;

use crate::wire::sasl::{
    Credentials, LOGIN_PROMPT_NAME, LOGIN_PROMPT_PASSWORD, Malformed, Proof, Response, decode_initial, decode_response,
    parse_plain,
};

/// An exchange that waits for the client.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    Plain,
    LoginName,
    LoginPassword {
        name: Zeroizing<Vec<u8>>,
    },
    /// Waits for the first message.
    First(Mechanism),
}

/// What follows from what the client sent.
#[derive(Debug)]
pub enum Step {
    /// Send this challenge, already encoded, and wait.
    Challenge(&'static str, Exchange),
    /// Who it is, and how they prove it.
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
    pub fn begin(offered: &[Mechanism], mechanism: &str, initial: Option<&[u8]>) -> Step {
        let Some(mechanism) = offered.iter().find(|offered| offered.name() == mechanism) else { return Step::Unknown };
        let (challenge, exchange) = match mechanism {
            Mechanism::Plain => ("", Self(State::Plain)),
            Mechanism::Login => (LOGIN_PROMPT_NAME, Self(State::LoginName)),
            Mechanism::ScramSha256 | Mechanism::OauthBearer | Mechanism::Xoauth2 => {
                ("", Self(State::First(*mechanism)))
            }
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
                let proof = Proof::Password(Secret::new(data.to_vec()));
                Step::Done(Credentials { authzid: None, name: name.to_vec(), proof })
            }
            // Binding to the channel is another mechanism's business (RFC 5802 §6: such a message must fail).
            State::First(_) if data.starts_with(b"p=") => Step::Unknown,
            State::First(mechanism) => Credentials::of_exchange(mechanism, &data).map_or(Step::Malformed, Step::Done),
        }
    }
}
