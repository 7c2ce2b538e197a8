//! An account as its worker sees it: what its records mean, and how a request becomes records.

use super::{ReplayError, State};
use crate::{
    cluster::OwnableId,
    mailbox::{Account, Change, Plan, Reply, Request, Timestamp, perform},
    store::{Batch, BodyRef, Contents},
};

impl Contents for Account {
    fn encode_snapshot(&self, place: &dyn Fn(BodyRef) -> BodyRef) -> Vec<u8> {
        Self::encode_snapshot(self, place)
    }

    fn for_each_body(&self, visit: &mut dyn FnMut(BodyRef)) {
        self.bodies().for_each(visit);
    }

    fn body_bytes(&self) -> u64 {
        self.usage().bytes
    }
}

impl State for Account {
    fn fresh(_: &OwnableId) -> Self {
        Self::new()
    }

    fn replay(&mut self, payload: &[u8], body: Option<BodyRef>) -> Result<(), ReplayError> {
        let change = Change::decode(payload).map_err(|error| ReplayError(error.to_string()))?;
        self.apply(&change, body).map_err(|error| ReplayError(error.to_string()))
    }

    fn decode_snapshot(bytes: &[u8]) -> Result<Self, ReplayError> {
        Self::decode_snapshot(bytes).map_err(|error| ReplayError(error.to_string()))
    }
}

/// Carries out a request on a tentative copy of the account; its changes become records of the batch. `now` dates what
/// comes in; `random` names it.
pub fn perform_in(batch: &mut Batch, account: &mut Account, request: Request, now: Timestamp, random: u128) -> Reply {
    let mut place = |payload: &[u8], body: Option<&[u8]>| batch.push(payload, body);
    perform(account, request, now, random, &mut Plan::new(&mut place))
}
