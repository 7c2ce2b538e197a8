//! Deliberate mistakes, for tests only: a simulation or a crash test that cannot fail proves nothing.
//!
//! Each leaves out one rule. Outside of tests [`on`] is constantly false and costs nothing.

/// One rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub enum Sabotage {
    // The cluster.
    /// The controller grants before all who were listed have registered or are fenced.
    GrantUngathered,
    /// The controller grants what a member in doubt owns before it is fenced.
    GrantUnfenced,
    /// The controller forgets who is fenced before its lease can be over.
    GrantLeased,
    /// The read lease needs the controller alone, not every fellow.
    LeaseWithoutFellows,
    /// The read lease does not need the member's own tick.
    LeaseWithoutTick,
    /// A fence reports success and does nothing.
    SkipFence,
    /// A member whose live directory is gone goes on as if its tick had succeeded.
    IgnoreFence,
    /// A member takes grants from the controller of a term that is over.
    AcceptOldGrants,
    /// A controller does not hear of higher terms.
    IgnoreDeposal,
    /// A member gives back all it owns when it loses its controller.
    OwnersNeedController,
    // The worker.
    /// Answers are given as soon as a batch is gathered.
    AnswerUnwritten,
    /// Answers are given when a batch is synced, without a tick.
    SkipTick,
    /// A tick that is under way when a batch is synced counts.
    TickBeforeSync,
    /// The new state is shown when the batch is gathered.
    ShowUnvalidated,
    /// What recovery read is shown without a tick.
    OpenWithoutTick,
    /// A delivery that was taken is taken again.
    ForgetDeliveries,
    // The store.
    /// Batches are not synced.
    SkipBatchSync,
    /// Segments get their name before their header is synced.
    SkipHeaderSync,
    /// Body files are not synced.
    SkipBodySync,
    /// The names of body files are not synced.
    SkipBodyNameSync,
    /// Bytes beyond a sealed length count.
    SkipSeal,
    /// The last batch of a dead owner is trusted to be on disk.
    SkipCarry,
    /// The name of a segment without batches is trusted to be on disk.
    SkipOldNameSync,
    /// After an unclean end the old segment stays open until the first write.
    LinkLate,
    /// After a failed sync the batch is read back and believed.
    TrustFailedSync,
    /// A segment of a higher epoch does not stop a writer.
    IgnoreEpochs,
    /// Body files are deleted though it is not known that the state without them counts.
    DeleteUnvalidated,
    /// Segments are left out though messages still have their bodies there.
    DropLiving,
    /// Snapshots name bodies by the places they were moved from.
    ForgetMoves,
}

#[cfg(test)]
thread_local! {
    static CURRENT: std::cell::Cell<Option<Sabotage>> = const { std::cell::Cell::new(None) };
}

/// Whether this mistake is to be made now.
#[cfg(test)]
pub fn on(mistake: Sabotage) -> bool {
    CURRENT.get() == Some(mistake)
}

/// Whether this mistake is to be made now: never.
#[cfg(not(test))]
pub const fn on(_mistake: Sabotage) -> bool {
    false
}

/// Makes this thread commit the mistake from now on.
#[cfg(test)]
pub fn set(mistake: Option<Sabotage>) {
    CURRENT.set(mistake);
}

/// The mistake this thread commits, to be passed on to threads it starts.
#[cfg(test)]
pub fn current() -> Option<Sabotage> {
    CURRENT.get()
}
