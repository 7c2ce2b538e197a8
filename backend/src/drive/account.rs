//! What sessions and deliveries ask of an account's worker.

use super::{clock, owned::Owned};
use crate::{
    mailbox::{Account, Reply, Request},
    worker::{CommitError, perform_in},
};

impl Owned<Account> {
    /// Has the account's worker carry out a request; the reply comes once its changes are durable and validated.
    ///
    /// # Errors
    /// See [`CommitError`]; a request that is refused is no error but [`Reply::Refused`].
    pub async fn perform(&self, request: Request) -> Result<Reply, CommitError> {
        let content = request.content_bytes();
        if content > 0 && !self.admits(content) {
            return Err(CommitError::Full);
        }
        let random = rand::random::<u128>();
        let now = clock::timestamp();
        self.update(move |account, batch| perform_in(batch, account, request, now, random)).await
    }
}
