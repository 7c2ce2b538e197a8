//! A shard of the queue as its worker sees it.

use super::{ReplayError, State};
use crate::{
    cluster::OwnableId,
    queue::{Queue, QueueChange},
    store::BodyRef,
};

impl State for Queue {
    fn fresh(_: &OwnableId) -> Self {
        Self::default()
    }

    fn replay(&mut self, payload: &[u8], body: Option<BodyRef>) -> Result<(), ReplayError> {
        let change = QueueChange::decode(payload).map_err(|error| ReplayError(error.to_string()))?;
        self.apply(&change, body).map_err(|error| ReplayError(error.to_string()))
    }

    fn encode_snapshot(&self) -> Vec<u8> {
        Self::encode_snapshot(self)
    }

    fn decode_snapshot(bytes: &[u8]) -> Result<Self, ReplayError> {
        Self::decode_snapshot(bytes).map_err(|error| ReplayError(error.to_string()))
    }
}
