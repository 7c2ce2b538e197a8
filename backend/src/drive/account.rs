//! An account as the worker of an ownable sees it: what its records mean, and how a request becomes records.

use super::{
    clock,
    owned::{CommitError, Owned, ReplayError, State},
};
use crate::{
    cluster::OwnableId,
    mailbox::{Account, Change, Plan, Reply, Request, perform},
    store::BodyRef,
};

impl State for Account {
    fn fresh(_: &OwnableId) -> Self {
        Self::new()
    }

    fn replay(&mut self, payload: &[u8], body: Option<BodyRef>) -> Result<(), ReplayError> {
        let change = Change::decode(payload).map_err(|error| ReplayError(error.to_string()))?;
        self.apply(&change, body).map_err(|error| ReplayError(error.to_string()))
    }

    fn encode_snapshot(&self) -> Vec<u8> {
        Self::encode_snapshot(self)
    }

    fn decode_snapshot(bytes: &[u8]) -> Result<Self, ReplayError> {
        Self::decode_snapshot(bytes).map_err(|error| ReplayError(error.to_string()))
    }
}

impl Owned<Account> {
    /// Has the account's worker carry out a request; the reply comes once its changes are durable and validated.
    ///
    /// # Errors
    /// See [`CommitError`]; a request that is refused is no error but [`Reply::Refused`].
    pub async fn perform(&self, request: Request) -> Result<Reply, CommitError> {
        let random = rand::random::<u128>();
        let now = clock::timestamp();
        self.update(move |account, batch| {
            let mut place = |payload: &[u8], body: Option<&[u8]>| batch.push(payload, body);
            perform(account, request, now, random, &mut Plan::new(&mut place))
        })
        .await
    }
}
