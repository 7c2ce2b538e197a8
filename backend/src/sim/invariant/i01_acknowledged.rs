//! I1: what was acknowledged is recovered, once. Checked whenever an account is opened, and at the end of a run.

use std::collections::BTreeSet;

use super::{Glance, Ledger};
use crate::cluster::OwnableId;

pub fn check(ownable: OwnableId, ledger: &Ledger, glance: &Glance) {
    let mut present = BTreeSet::new();
    for (number, ..) in &glance.messages {
        assert!(present.insert(*number), "no message is doubled: {ownable} has {number} twice (I1)");
    }
    for number in ledger.delivered.difference(&ledger.doomed) {
        assert!(present.contains(number), "no acknowledged delivery is lost: {ownable} {number} (I1)");
    }
    for number in &ledger.removed {
        assert!(!present.contains(number), "what was removed stays away: {ownable} {number} (I1)");
    }
}
