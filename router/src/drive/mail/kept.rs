//! Connections that a client's earlier transactions left open, for its next ones.
//!
//! They carry that client's preamble, so they serve nobody else. One that the member closed meanwhile is replaced
//! silently, as nothing was sent on it yet.

use std::net::SocketAddr;

use parking_lot::Mutex;

use super::MailClient;

/// Connections kept for one client at most: one for each member of a few clusters.
const KEPT_MAX: usize = 8;

/// The idle connections of one client.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Vec<(SocketAddr, MailClient)>>);

impl Kept {
    /// Takes a connection to a member, if there is one.
    #[must_use]
    pub fn take(&self, member: SocketAddr) -> Option<MailClient> {
        let mut kept = self.0.lock();
        let at = kept.iter().position(|(address, _)| *address == member)?;
        Some(kept.remove(at).1)
    }

    /// Keeps a connection whose transaction is over; the one unused for longest makes room.
    pub fn put(&self, member: SocketAddr, client: MailClient) {
        let mut kept = self.0.lock();
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push((member, client));
    }
}
