//! I8: a member acts only for the highest term it has adopted. Checked at every grant that a process takes.

use crate::cluster::{Epoch, OwnableId};

pub fn on_grant(ownable: OwnableId, epoch: Epoch, adopted: u64) {
    assert!(epoch.term >= adopted, "a grant is of the highest term: {ownable} {epoch} in term {adopted} (I8)");
}
