//! Deliberate mistakes, for tests only: a simulation that cannot fail proves nothing.
//!
//! Each leaves out one rule of `PROTOCOL.md`. Outside of tests [`on`] is constantly false and costs nothing.

/// One rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub enum Sabotage {
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
}

#[cfg(test)]
thread_local! {
    static CURRENT: std::cell::Cell<Option<Sabotage>> = const { std::cell::Cell::new(None) };
}

/// Whether this rule is to be left out now.
#[cfg(test)]
pub fn on(mistake: Sabotage) -> bool {
    CURRENT.get() == Some(mistake)
}

/// Whether this rule is to be left out now: never.
#[cfg(not(test))]
pub const fn on(_mistake: Sabotage) -> bool {
    false
}

/// Makes this thread leave out that rule from now on.
#[cfg(test)]
pub fn set(mistake: Option<Sabotage>) {
    CURRENT.set(mistake);
}
