//! I3: epochs of an ownable strictly rise, and a grant follows the release or the fence of the one before. Checked at
//! every grant that reaches a process which may still promise something.

use std::collections::BTreeMap;

use crate::cluster::{Epoch, OwnableId};

#[derive(Debug, Default)]
pub struct Epochs(BTreeMap<OwnableId, Epoch>);

impl Epochs {
    /// A process that is not fenced was granted an ownable; `others` hold it and are not fenced.
    pub fn on_grant(&mut self, ownable: OwnableId, epoch: Epoch, others: &[String]) {
        let before = self.0.insert(ownable, epoch);
        assert!(before.is_none_or(|before| before < epoch), "epochs rise: {ownable} {before:?} then {epoch} (I3)");
        assert!(others.is_empty(), "one owner: {ownable} was granted under {epoch} while {others:?} hold it (I3)");
    }
}
