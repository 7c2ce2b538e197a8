//! What stands before a connection, or between our own processes.

use laniakea_backend::cluster::fuzz_message;
use laniakea_router::{
    handoff::{Moved, Preamble, SealedTicket, TicketKey},
    session::Fault,
    wire::proxy::{ProxyError, ProxyHeader, bytes_wanted},
};

/// The header of a balancer, version 1 or 2, read as the driver reads it: never a byte too many.
pub(crate) fn proxy(bytes: &[u8]) {
    let header = read(bytes, ProxyHeader::decode);
    if let Some(header) = header {
        let encoded = header.encode();
        let again = ProxyHeader::decode(&encoded).ok().flatten();
        assert_eq!(again, Some((header, encoded.len())), "a header reads as it was written");
    }
}

/// The preamble of a router.
pub(crate) fn preamble(bytes: &[u8]) {
    if let Some(preamble) = read(bytes, Preamble::decode) {
        let encoded = preamble.encode();
        let again = Preamble::decode(&encoded).ok().flatten();
        assert_eq!(again, Some((preamble, encoded.len())), "a preamble reads as it was written");
    }
}

fn read<T, E: From<ProxyError>>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>) -> Option<T> {
    let mut wanted = bytes_wanted(&[]);
    let mut buffer = Vec::new();
    loop {
        let more = bytes.get(buffer.len()..buffer.len() + wanted)?;
        buffer.extend_from_slice(more);
        match decode(&buffer) {
            Ok(Some((value, used))) => {
                assert_eq!(used, buffer.len(), "bytes of what follows were read");
                return Some(value);
            }
            Ok(None) => wanted = bytes_wanted(&buffer),
            Err(_) => return None,
        }
        assert!(wanted > 0, "waits for nothing");
    }
}

/// What a member answers to a login.
pub(crate) fn moved(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(moved) = text.parse::<Moved>() {
        assert_eq!(moved.to_string().parse(), Ok(moved));
    }
    let _ = (Fault::of_imap_reply(&text), Fault::of_pop3_reply(&text));
}

/// A ticket that nobody of the cluster has sealed is never believed.
pub(crate) fn ticket(bytes: &[u8]) {
    let key = TicketKey::new(&[7; 32]);
    let sealed = SealedTicket::from_bytes(bytes);
    assert!(sealed.is_none_or(|ticket| key.open(&ticket, 0).is_err()), "a ticket out of nothing");
    let text = String::from_utf8_lossy(bytes);
    assert!(SealedTicket::from_base64(&text).is_none_or(|ticket| key.open(&ticket, 0).is_err()));
}

/// What members tell one another.
pub(crate) fn control(bytes: &[u8]) {
    fuzz_message(bytes);
}
