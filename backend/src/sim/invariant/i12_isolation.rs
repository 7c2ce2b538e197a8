//! I12: one bad file affects one account. In some runs a bit of one account's files is flipped; that account may be
//! quarantined, or may have to be read by a person. All checks hold for all others, liveness too.

use super::Witness;
use crate::cluster::OwnableId;

impl Witness {
    /// Whether nothing is to be expected of this one.
    pub fn is_damaged(&self, ownable: OwnableId) -> bool {
        self.damaged == Some(ownable)
    }
}
