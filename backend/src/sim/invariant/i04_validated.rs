//! I4: nothing of a batch is seen outside before it is validated: by a tick of the same process that began after the batch
//! was synced, and has succeeded. Checked whenever a state is shown and whenever an answer is given. Moments are counted in
//! events, so that two in the same microsecond have an order.

use std::collections::BTreeMap;

use crate::{cluster::OwnableId, sim::world::ProcessId};

/// How far the newest batch of a log has come, or what was read when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    UnderWay,
    /// The disk has it since this event.
    Synced(u64),
}

#[derive(Debug, Default)]
pub struct Validations {
    batches: BTreeMap<(ProcessId, OwnableId), Batch>,
    /// When the newest tick that succeeded began.
    ticks: BTreeMap<ProcessId, u64>,
}

impl Validations {
    /// A batch is gathered, or the log is being opened.
    pub fn on_begun(&mut self, process: ProcessId, ownable: OwnableId) {
        self.batches.insert((process, ownable), Batch::UnderWay);
    }

    /// The disk has all of it.
    pub fn on_synced(&mut self, process: ProcessId, ownable: OwnableId, event: u64) {
        if let Some(batch) = self.batches.get_mut(&(process, ownable)) {
            *batch = Batch::Synced(event);
        }
    }

    /// Nothing comes of it: what is there is what was there before.
    pub fn on_failed(&mut self, process: ProcessId, ownable: OwnableId) {
        self.batches.remove(&(process, ownable));
    }

    /// A tick that began then has succeeded.
    pub fn on_ticked(&mut self, process: ProcessId, begun: u64) {
        let newest = self.ticks.entry(process).or_default();
        *newest = begun.max(*newest);
    }

    /// Somebody outside sees what the process has of it.
    pub fn on_seen(&self, process: ProcessId, ownable: OwnableId) {
        let tick = self.ticks.get(&process).copied();
        let is_validated = match self.batches.get(&(process, ownable)) {
            None => true,
            Some(Batch::UnderWay) => false,
            Some(Batch::Synced(event)) => tick.is_some_and(|begun| begun > *event),
        };
        assert!(
            is_validated,
            "nothing is seen before it is validated: {ownable} at {process:?}, {:?}, newest tick {tick:?} (I4)",
            self.batches.get(&(process, ownable))
        );
    }
}
