//! I6: a state once shown never rolls back. Every state that is shown is remembered by its mod-sequence; whoever opens the
//! account finds at least the newest; a read that is answered is at least as new as what was shown when it began.

use super::{Glance, Ledger};
use crate::cluster::OwnableId;

pub fn on_shown(ownable: OwnableId, ledger: &mut Ledger, glance: &Glance) {
    let newest = newest(ledger);
    assert!(glance.modseq >= newest, "nothing older is shown: {ownable} {newest} then {} (I6)", glance.modseq);
    let known = *ledger.shown.entry(glance.modseq).or_insert(glance.digest);
    assert!(known == glance.digest, "one mod-sequence is one state: {ownable} {} (I6)", glance.modseq);
    ledger.uids.extend(glance.messages.iter().map(|(number, uid, _)| (*uid, *number)));
}

pub fn on_recovered(ownable: OwnableId, ledger: &Ledger, glance: &Glance) {
    let newest = newest(ledger);
    assert!(glance.modseq >= newest, "what was shown is recovered: {ownable} {newest}, found {} (I6)", glance.modseq);
    if let Some(known) = ledger.shown.get(&glance.modseq) {
        assert!(*known == glance.digest, "what was shown is recovered as it was: {ownable} {} (I6)", glance.modseq);
    }
}

/// A read that began when `floor` was the newest state shown is answered with `modseq`.
pub fn on_read(ownable: OwnableId, floor: u64, modseq: u64) {
    assert!(modseq >= floor, "no stale read: {ownable} is read at {modseq} after {floor} was shown (I6)");
}

/// The newest state shown.
pub fn newest(ledger: &Ledger) -> u64 {
    ledger.shown.last_key_value().map_or(0, |(modseq, _)| *modseq)
}
