//! A shard of the queue as its worker sees it.

use super::{ReplayError, State};
use crate::{
    cluster::OwnableId,
    queue::{Queue, QueueChange},
    store::{BodyRef, Contents},
};

impl Contents for Queue {
    fn encode_snapshot(&self, place: &dyn Fn(BodyRef) -> BodyRef) -> Vec<u8> {
        Self::encode_snapshot(self, place)
    }

    fn for_each_body(&self, visit: &mut dyn FnMut(BodyRef)) {
        self.bodies().for_each(visit);
    }

    fn body_bytes(&self) -> u64 {
        self.content_bytes()
    }
}

impl State for Queue {
    fn fresh(_: &OwnableId) -> Self {
        Self::default()
    }

    fn replay(&mut self, payload: &[u8], body: Option<BodyRef>) -> Result<(), ReplayError> {
        let change = QueueChange::decode(payload).map_err(|error| ReplayError(error.to_string()))?;
        self.apply(&change, body).map_err(|error| ReplayError(error.to_string()))
    }

    fn decode_snapshot(bytes: &[u8]) -> Result<Self, ReplayError> {
        Self::decode_snapshot(bytes).map_err(|error| ReplayError(error.to_string()))
    }
}
