//! Deliberate mistakes, for tests only: a crash test that cannot fail proves nothing.
//!
//! Outside of tests [`on`] is constantly false and costs nothing.

/// One deliberate mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub enum Sabotage {
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
    /// A body that is moved is not read from its new place after an opening.
    ForgetReplayedMoves,
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
