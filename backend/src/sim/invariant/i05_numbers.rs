//! I5: UIDs and mod-sequences strictly rise and are never reused. Checked in every state that is shown or recovered.

use super::{Glance, Ledger};
use crate::cluster::OwnableId;

pub fn check(ownable: OwnableId, ledger: &mut Ledger, glance: &Glance) {
    let mut last = 0;
    for (number, uid, modseq) in &glance.messages {
        assert!(last < *uid && *uid < glance.uid_next, "UIDs rise: {ownable} {last} then {uid} (I5)");
        assert!(*modseq <= glance.modseq, "no message is newer than its account: {ownable} {number} (I5)");
        last = *uid;
        // Only what was shown binds: an unvalidated batch may be lost, and its numbers with it.
        if let Some(other) = ledger.uids.get(uid) {
            assert!(other == number, "no UID is used twice: {ownable} {uid} was {other} and is {number} (I5)");
        }
    }
}
