//! How clients may log in besides sending a password.

use std::path::PathBuf;

/// How a client proves who it is (RFC 4422).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// A name and a password in one message (RFC 4616).
    Plain,
    /// The same in two messages, for old clients.
    Login,
    /// A proof of the password that shows it to nobody (RFC 7677).
    ScramSha256,
    /// A token of an identity provider (RFC 7628).
    OauthBearer,
    /// The same as it was before the RFC, for clients that know no other.
    Xoauth2,
}

impl Mechanism {
    /// Every mechanism, in the order in which they are offered.
    pub const ALL: [Self; 5] = [Self::Plain, Self::Login, Self::ScramSha256, Self::OauthBearer, Self::Xoauth2];
    /// Those that work for every account, whatever its directory entry holds.
    pub const ALWAYS: [Self; 2] = [Self::Plain, Self::Login];

    /// Returns the name clients know.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::OauthBearer => "OAUTHBEARER",
            Self::Xoauth2 => "XOAUTH2",
        }
    }

    /// Finds a mechanism by the name clients know, or by the word in the file, which is the same in small letters.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// The word in the file.
    #[must_use]
    pub fn word(self) -> String {
        self.name().to_ascii_lowercase()
    }
}

/// How the passwords that we store are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PasswordScheme {
    /// `{ARGON2}`, the dearest to guess.
    #[default]
    Argon2,
    /// `{SCRAM-SHA-256}`, by which a client can log in without showing its password.
    Scram,
}

/// How clients may log in besides PLAIN and LOGIN. A client takes what it thinks best of what is offered, and does not try
/// another way if that fails: so only what works for *every* account may stand here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SaslSettings {
    /// The mechanisms besides [`Mechanism::ALWAYS`]. Default: none.
    pub mechanisms: Vec<Mechanism>,
    /// Which tokens members believe; servers of other kinds judge by themselves.
    pub tokens: Option<TokenSettings>,
}

/// Which tokens count: JSON Web Tokens of one issuer (RFC 7519).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// File that holds the issuer's public keys, a JSON Web Key Set (RFC 7517 §5). Read again on SIGHUP.
    pub keys: PathBuf,
    /// Who must have made a token: its `iss`.
    pub issuer: String,
    /// Whom a token must be for: one of its `aud`.
    pub audience: String,
    /// The claim that holds the login name or an address of the account. Default `email`.
    pub claim: String,
}

impl TokenSettings {
    /// What identity providers put an address into.
    pub const CLAIM_DEFAULT: &'static str = "email";
}

impl SaslSettings {
    /// How passwords have to be stored, so that every client can log in.
    #[must_use]
    pub fn new_passwords(&self) -> PasswordScheme {
        match self.mechanisms.contains(&Mechanism::ScramSha256) {
            true => PasswordScheme::Scram,
            false => PasswordScheme::Argon2,
        }
    }

    /// Everything on offer.
    #[must_use]
    pub fn offered(&self) -> Vec<Mechanism> {
        let is_offered =
            |mechanism: &Mechanism| Mechanism::ALWAYS.contains(mechanism) || self.mechanisms.contains(mechanism);
        Mechanism::ALL.into_iter().filter(is_offered).collect()
    }
}
