//! Tickets: "this account was authenticated a moment ago", sealed by the cluster's key.
//!
//! Confidential and authentic (AES-256-GCM); a ticket is not bound to a connection, so it lives only as long as a
//! redirect takes. It never leaves the handoff network.

use std::{fmt, io, path::Path, time::Duration};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::fill,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use laniakea_directory::AccountId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How long a ticket is believed by the clock of the member that sealed it; a redirect takes milliseconds.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(30);
/// How far the clocks of two members may be apart, either way. As usual with Kerberos (RFC 4120 §8.2): a ticket names one
/// account and never leaves the handoff network, so minutes cost little, and seconds would make members with clocks
/// that differ refuse each other's clients.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(300);
/// Room a ticket may take in a preamble of 4 KiB.
const SEALED_BYTES_MAX: usize = 3072;
/// The only format so far.
const VERSION: u8 = 1;
/// Authenticated along with each ticket, so that no other use of the key can be taken for one.
const PURPOSE: &[u8] = b"laniakea ticket\x01";
const KEY_BYTES: usize = 32;

/// Who has proved to be whom, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The account that was logged in to.
    pub account: AccountId,
    /// The name the client used.
    pub login: String,
    /// When it stops being believed, in milliseconds of Unix time.
    pub expires_unix_ms: u64,
    /// The state of a session to be resumed; empty for a fresh login.
    pub state: Vec<u8>,
}

/// A ticket as it travels; only the holders of the key can read or make one.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedTicket(Vec<u8>);

/// The cluster's key for tickets.
pub struct TicketKey {
    seal: LessSafeKey,
    derive: hmac::Key,
}

/// Why a ticket is not believed, or a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// The key file cannot be read.
    #[error("read the cluster key")]
    Read(#[from] io::Error),
    /// The key file does not hold 32 bytes.
    #[error("the cluster key has {0} bytes instead of 32")]
    KeyLength(usize),
    /// Not a ticket of ours: damaged, forged, or sealed by another cluster.
    #[error("the ticket was not sealed by this cluster")]
    Forged,
    /// Ours, but too old, or of a clock too far ahead.
    #[error("the ticket has expired, or the clocks of two members are more than five minutes apart")]
    Expired,
    /// Larger than a preamble can carry.
    #[error("the ticket is too large")]
    TooLarge,
}

impl TicketKey {
    /// Reads the key from its file of 32 bytes.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has another length.
    pub fn load(path: &Path) -> Result<Self, TicketError> {
        let bytes = Zeroizing::new(std::fs::read(path)?);
        let key = bytes.as_slice().try_into().map_err(|_| TicketError::KeyLength(bytes.len()))?;
        Ok(Self::new(key))
    }

    /// Takes the key itself.
    #[must_use]
    #[expect(clippy::expect_used, reason = "AES-256 takes every key of 32 bytes")]
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self {
            seal: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes")),
            derive: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// Derives a secret for another purpose, which tells nothing of the key.
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> [u8; KEY_BYTES] {
        let tag = hmac::sign(&self.derive, purpose);
        let mut secret = [0; KEY_BYTES];
        secret.iter_mut().zip(tag.as_ref()).for_each(|(byte, source)| *byte = *source);
        secret
    }

    /// Seals a ticket under a fresh random nonce.
    ///
    /// # Errors
    ///
    /// If its state does not fit into a preamble, or the system has no randomness to give.
    pub fn seal(&self, ticket: &Ticket) -> Result<SealedTicket, TicketError> {
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce).map_err(|_| io::Error::other("no randomness"))?;
        let mut text = postcard::to_stdvec(ticket).map_err(|_| TicketError::TooLarge)?;
        self.seal
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(PURPOSE), &mut text)
            .map_err(|_| TicketError::TooLarge)?;
        let sealed = [&[VERSION], nonce.as_slice(), &text].concat();
        if sealed.len() > SEALED_BYTES_MAX { Err(TicketError::TooLarge) } else { Ok(SealedTicket(sealed)) }
    }

    /// Opens a ticket and checks that it has not expired, as far as clocks that differ can tell.
    ///
    /// # Errors
    ///
    /// If it was not sealed with this key, or is too old.
    pub fn open(&self, sealed: &SealedTicket, now_unix_ms: u64) -> Result<Ticket, TicketError> {
        let rest = sealed.0.strip_prefix(&[VERSION]).ok_or(TicketError::Forged)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(TicketError::Forged)?;
        let mut text = text.to_vec();
        let plain = self
            .seal
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(PURPOSE), &mut text)
            .map_err(|_| TicketError::Forged)?;
        let ticket: Ticket = postcard::from_bytes(plain).map_err(|_| TicketError::Forged)?;
        let until = ticket.expires_unix_ms.saturating_add(millis(CLOCKS_APART_MAX));
        let from = ticket.expires_unix_ms.saturating_sub(millis(TICKET_LIFETIME + CLOCKS_APART_MAX));
        if (from..until).contains(&now_unix_ms) { Ok(ticket) } else { Err(TicketError::Expired) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey(…)")
    }
}

impl SealedTicket {
    /// Takes the bytes of a TLV; whether they are a ticket, only the key can tell.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= SEALED_BYTES_MAX).then(|| Self(bytes.to_vec()))
    }

    /// Returns the bytes for a TLV.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the form used inside a response code.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        Self::from_bytes(&URL_SAFE_NO_PAD.decode(text).ok()?)
    }
}

impl fmt::Display for SealedTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl fmt::Debug for SealedTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever reads a log within the ticket's lifetime must not be able to use it.
        write!(f, "SealedTicket({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEALED_MS: u64 = 1_000_000_000;

    fn ticket() -> Ticket {
        let account = "6f3c1c7e-6b0b-4f0e-9b56-3f6a2a5d9a10".parse().unwrap();
        Ticket { account, login: "eve@example.org".into(), expires_unix_ms: SEALED_MS + 30_000, state: vec![] }
    }

    #[test]
    fn a_ticket_opens_until_it_expires_at_members_whose_clocks_differ() {
        let key = TicketKey::new(&[7; 32]);
        let sealed = key.seal(&ticket()).unwrap();
        for now in [SEALED_MS, SEALED_MS - 300_000, SEALED_MS + 329_999] {
            assert_eq!(key.open(&sealed, now).unwrap(), ticket());
        }
        // Too old, or from a clock that would make it last for long.
        for now in [SEALED_MS + 330_000, SEALED_MS - 300_001, 0] {
            assert!(matches!(key.open(&sealed, now), Err(TicketError::Expired)));
        }
    }

    #[test]
    fn another_clusters_ticket_is_not_believed() {
        let sealed = TicketKey::new(&[7; 32]).seal(&ticket()).unwrap();
        assert!(matches!(TicketKey::new(&[8; 32]).open(&sealed, 0), Err(TicketError::Forged)));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let key = TicketKey::new(&[7; 32]);
        let sealed = key.seal(&ticket()).unwrap();
        for index in 0..sealed.0.len() {
            let mut bytes = sealed.0.clone();
            bytes[index] ^= 1;
            assert!(matches!(key.open(&SealedTicket(bytes), 0), Err(TicketError::Forged)), "byte {index}");
        }
    }

    #[test]
    fn a_ticket_survives_base64_and_every_truncation_is_forged() {
        let key = TicketKey::new(&[7; 32]);
        let sealed = key.seal(&ticket()).unwrap();
        assert_eq!(SealedTicket::from_base64(&sealed.to_string()), Some(sealed.clone()));
        for length in 0..sealed.0.len() {
            assert!(matches!(key.open(&SealedTicket(sealed.0[..length].to_vec()), 0), Err(TicketError::Forged)));
        }
    }

    #[test]
    fn two_seals_of_one_ticket_differ() {
        let key = TicketKey::new(&[7; 32]);
        assert_ne!(key.seal(&ticket()).unwrap(), key.seal(&ticket()).unwrap());
    }

    #[test]
    fn a_state_that_fits_no_preamble_is_refused() {
        let big = Ticket { state: vec![0; SEALED_BYTES_MAX], ..ticket() };
        assert!(matches!(TicketKey::new(&[7; 32]).seal(&big), Err(TicketError::TooLarge)));
    }
}
