//! Where the changes of a request go on their way to the log.

use crate::mailbox::account::Account;
use crate::mailbox::change::Change;
use crate::store::BodyRef;

/// Puts a record into the batch being built, and tells where its body will be.
type Place<'p> = &'p mut dyn FnMut(&[u8], Option<&[u8]>) -> Option<BodyRef>;

/// Gathers the changes of requests. Where a body lies is known as soon as the batch takes it, so changes are put there
/// one by one as they are planned.
pub struct Plan<'p> {
    place: Place<'p>,
    changes: usize,
    released: Vec<BodyRef>,
}

impl std::fmt::Debug for Plan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("changes", &self.changes).field("released", &self.released).finish_non_exhaustive()
    }
}

impl<'p> Plan<'p> {
    /// A plan whose changes go to `place`: the encoded change and its body in, where the body will lie out. In the
    /// member it is [`Batch::push`](crate::store::Batch::push). All records of one request belong into one batch.
    pub fn new(place: Place<'p>) -> Self {
        Self { place, changes: 0, released: Vec::new() }
    }

    /// How many changes there are.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// Bodies no message has any more once the changes are durable.
    pub fn into_released(self) -> Vec<BodyRef> {
        self.released
    }

    /// Notes a body that no message will have any more.
    pub(super) fn release(&mut self, body: BodyRef) {
        self.released.push(body);
    }

    /// Places a change and applies it.
    ///
    /// # Panics
    /// If the change cannot be applied, or the batch does not take a body: our own bug, and going on would write a log
    /// that cannot be replayed. It costs the account its owner before anything is written.
    pub(super) fn commit(&mut self, account: &mut Account, change: &Change, body: Option<&[u8]>) {
        let body_ref = (self.place)(&change.encode(), body);
        self.changes += 1;
        #[expect(clippy::panic, reason = "a planned change that does not apply is a bug of ours")]
        if let Err(error) = account.apply(change, body_ref) {
            panic!("a planned change does not apply: {error}");
        }
    }
}
