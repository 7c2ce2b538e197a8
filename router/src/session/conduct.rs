//! How every session before login conducts itself: outputs, deadlines, patience, and what it says of itself.

use std::{
    collections::VecDeque,
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};

use laniakea_config::Mechanism;
use laniakea_directory::LoginName;

use super::{LoginRequest, Output, Peer, Protection, throttle::Throttle};
use crate::wire::{
    claims::Claims,
    sasl::{Credentials, Proof},
};

/// Time from connection to login, whatever happens.
pub const LOGIN_WITHIN: Duration = Duration::from_secs(60);
/// Commands before login; a client needs about five.
const COMMANDS_MAX: u32 = 100;
/// Bytes a client may send ahead while a login is under way.
const UNREAD_BYTES_MAX: usize = 64 * 1024;
/// Longest password.
const SECRET_BYTES_MAX: usize = 1024;

/// What a session is told of its connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name in greetings.
    pub host: String,
    /// Whether TLS is on offer, required, or there already.
    pub protection: Protection,
    /// Who is at the other end.
    pub peer: Peer,
    /// Time from connection to login.
    pub login_within: Duration,
    /// Failed logins of the client's network before, as [`super::Suspicion`] remembers them.
    pub failures_before: u32,
    /// Whether the other end is a proxy that is believed what it says of its client.
    pub believes_claims: bool,
    /// How clients may log in.
    pub mechanisms: Arc<[Mechanism]>,
    /// Largest message, which submission announces.
    pub message_bytes_max: u64,
}

impl Settings {
    /// Makes settings with the usual deadline.
    #[must_use]
    pub fn new(host: &str, protection: Protection, peer: Peer) -> Self {
        Self {
            host: host.to_owned(),
            protection,
            peer,
            login_within: LOGIN_WITHIN,
            failures_before: 0,
            believes_claims: false,
            mechanisms: Mechanism::ALWAYS.into(),
            message_bytes_max: 0,
        }
    }
}

/// What every protocol keeps besides its own state.
#[derive(Debug)]
pub(super) struct Conduct {
    pub(super) settings: Settings,
    pub(super) throttle: Throttle,
    /// Whether the process stops.
    pub(super) is_stopping: bool,
    /// What a proxy said of its client.
    pub(super) claims: Claims,
    outputs: VecDeque<Output>,
    until: Instant,
    commands: u32,
}

impl Conduct {
    pub(super) fn new(now: Instant, settings: Settings) -> Self {
        let until = now + settings.login_within;
        let throttle = Throttle::after(settings.failures_before);
        let claims = Claims::default();
        Self { settings, throttle, is_stopping: false, claims, outputs: VecDeque::new(), until, commands: 0 }
    }

    /// Sends one line; lines that follow one another leave together.
    pub(super) fn say(&mut self, line: impl Display) {
        self.write(format!("{line}\r\n").into_bytes());
    }

    pub(super) fn write(&mut self, mut bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self.outputs.back_mut() {
            Some(Output::Write(before)) => before.append(&mut bytes),
            _ => self.outputs.push_back(Output::Write(bytes)),
        }
    }

    pub(super) fn ask(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Counts a command; whether the client may give one more.
    pub(super) fn may_command(&mut self) -> bool {
        self.commands += 1;
        self.commands <= COMMANDS_MAX
    }

    /// Whether so many unread bytes may pile up.
    pub(super) fn may_hold(&self, unread: usize) -> bool {
        unread <= UNREAD_BYTES_MAX
    }

    /// When the client must have logged in.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Whether a password may be sent as things are.
    pub(super) fn may_log_in(&self) -> bool {
        self.settings.protection != Protection::Required
    }

    /// Names the mechanisms on offer.
    pub(super) fn mechanisms(&self) -> impl Iterator<Item = &'static str> {
        self.settings.mechanisms.iter().map(|mechanism| mechanism.name())
    }

    /// Whether TLS can be begun.
    pub(super) fn may_start_tls(&self) -> bool {
        matches!(self.settings.protection, Protection::Offered | Protection::Required)
    }
}

/// Makes a login request of credentials, unless they cannot be anybody's.
///
/// A name or password with CR, LF or NUL could become a command elsewhere (CVE-2022-27924), and an empty password could
/// become an unauthenticated bind (RFC 4513 §5.1.2): they fail like a wrong password, and nobody is asked.
pub(super) fn login_request(tag: String, credentials: Credentials, claims: &Claims) -> Option<LoginRequest> {
    let login = LoginName::parse(&credentials.name).ok()?;
    let proof = credentials.proof;
    let is_sane = |bytes: &[u8]| !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    if let Proof::Password(secret) = &proof
        && (secret.is_empty() || secret.expose().len() > SECRET_BYTES_MAX || !is_sane(secret.expose()))
    {
        return None;
    }
    // Whom to act as is a name like any other.
    let authzid = match credentials.authzid {
        None => None,
        Some(authzid) => Some(LoginName::parse(&authzid).ok()?.as_str().to_owned()),
    };
    Some(LoginRequest { tag, login, authzid, proof, claims: claims.clone(), hello: None })
}

#[cfg(test)]
mod tests {
    use laniakea_directory::Secret;

    use super::*;

    fn request(name: &[u8], secret: &[u8]) -> Option<LoginRequest> {
        let proof = Proof::Password(Secret::new(secret.to_vec()));
        let credentials = Credentials { authzid: None, name: name.to_vec(), proof };
        login_request("a1".into(), credentials, &Claims::default())
    }

    #[test]
    fn no_byte_of_a_name_can_become_a_command() {
        for byte in 0..=u8::MAX {
            let is_control = byte < 0x20 || byte == 0x7f;
            let accepted = request(&[b'e', byte, b'e'], b"wonder").is_some();
            // A lone byte above 0x7f is no UTF-8.
            assert_eq!(accepted, !is_control && byte < 0x80, "{byte:#x}");
        }
        assert!(request("é*)(uid=*".as_bytes(), b"wonder").is_some());
    }

    #[test]
    fn passwords_that_prove_nothing_are_refused() {
        for secret in [b"".as_slice(), b"a\r\nb", b"a\nb", b"a\rb", b"a\0b", &[b'x'; 1025]] {
            assert_eq!(request(b"eve", secret), None);
        }
        assert!(request(b"eve", b" ").is_some());
    }
}
