//! Passwords proved a moment ago, so that a client that logs in again costs microseconds. Pure: the time is passed in.
//!
//! Only successes are kept, under a keyed hash of account, password and stored hash: whoever reads this memory learns no
//! password, and a changed password makes an old proof unfindable.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

use crate::name::Secret;

/// How long a proof holds.
const PROOF_AGE_MAX: Duration = Duration::from_secs(60);
/// How many are kept: 10 MiB at most.
const PROOFS_MAX: usize = 100_000;

/// One account, one password, one stored hash; meaningless without the key of this process.
pub(super) type Proof = [u8; 32];

/// The proofs of the last minute.
pub(super) struct Proofs {
    key: [u8; 32],
    proved: HashMap<Proof, Instant>,
    order: VecDeque<(Instant, Proof)>,
}

impl Proofs {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key, proved: HashMap::new(), order: VecDeque::new() }
    }

    /// Computes under which proof a check would be remembered.
    pub(super) fn proof(&self, account: Uuid, password: &Secret, stored: &str) -> Proof {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return rand::random() };
        mac.update(account.as_bytes());
        // The length keeps password and stored hash apart.
        mac.update(&(password.expose().len() as u64).to_be_bytes());
        mac.update(password.expose());
        mac.update(stored.as_bytes());
        mac.finalize().into_bytes().into()
    }

    pub(super) fn holds(&self, proof: &Proof, now: Instant) -> bool {
        self.proved.get(proof).is_some_and(|at| now.saturating_duration_since(*at) < PROOF_AGE_MAX)
    }

    pub(super) fn insert(&mut self, proof: Proof, now: Instant) {
        self.expire(now);
        if self.proved.insert(proof, now).is_none() {
            self.order.push_back((now, proof));
        }
    }

    /// Drops what is too old, and the oldest when there are too many.
    fn expire(&mut self, now: Instant) {
        while let Some((at, proof)) = self.order.front().copied() {
            if now.saturating_duration_since(at) < PROOF_AGE_MAX && self.order.len() < PROOFS_MAX {
                return;
            }
            self.order.pop_front();
            match self.proved.get(&proof) {
                // It was proved again since: it stays until that has aged too.
                Some(again) if *again > at && self.order.len() < PROOFS_MAX => self.order.push_back((*again, proof)),
                _ => {
                    self.proved.remove(&proof);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(proofs: &Proofs, account: u128, password: &str, stored: &str) -> Proof {
        proofs.proof(Uuid::from_u128(account), &Secret::new(password.as_bytes().to_vec()), stored)
    }

    #[test]
    fn a_proof_holds_for_its_account_password_and_hash_alone() {
        let mut proofs = Proofs::new([7; 32]);
        let now = Instant::now();
        let right = proof(&proofs, 1, "pw", "{X}h");
        proofs.insert(right, now);
        assert!(proofs.holds(&right, now));
        for (account, password, stored) in [(2, "pw", "{X}h"), (1, "pw{", "X}h"), (1, "pw", "{X}i")] {
            assert!(!proofs.holds(&proof(&proofs, account, password, stored), now));
        }
    }

    #[test]
    fn a_proof_ends_after_a_minute_and_the_memory_is_bounded() {
        let mut proofs = Proofs::new([7; 32]);
        let start = Instant::now();
        let first = proof(&proofs, 1, "pw", "h");
        proofs.insert(first, start);
        assert!(!proofs.holds(&first, start + PROOF_AGE_MAX));
        for n in 0..(PROOFS_MAX as u64 + 10) {
            let mut other = [0; 32];
            other[..8].copy_from_slice(&n.to_be_bytes());
            proofs.insert(other, start);
        }
        assert!(proofs.proved.len() <= PROOFS_MAX && proofs.order.len() <= PROOFS_MAX);
        proofs.insert(first, start + PROOF_AGE_MAX * 2);
        assert_eq!(proofs.proved.len(), 1);
    }
}
