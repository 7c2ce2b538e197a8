//! Small values: changes in order, sets, epochs. All fit into registers, for there will be a hundred million of them.

use std::fmt;

/// A change to an account: its delivery id, from 1.
pub type Change = u8;

/// An incarnation, from 0.
pub type Who = usize;

/// An ownable, from 0.
pub type Ownable = usize;

/// Changes in order, at most [`HISTORY_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct History(u32);

/// Four bits for each change.
pub const HISTORY_MAX: u8 = 8;

impl History {
    /// How many there are.
    #[must_use]
    pub fn len(self) -> u8 {
        (8 - self.0.leading_zeros() / 4) as u8
    }

    /// Whether nothing has happened.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The change at a place, from 0.
    #[must_use]
    pub fn at(self, place: u8) -> Change {
        ((self.0 >> (4 * u32::from(place))) & 15) as u8
    }

    /// With one more at the end.
    #[must_use]
    pub fn and(self, change: Change) -> Self {
        Self(self.0 | u32::from(change) << (4 * u32::from(self.len())))
    }

    /// The first `count`.
    #[must_use]
    pub fn first(self, count: u8) -> Self {
        if count >= HISTORY_MAX { self } else { Self(self.0 & ((1 << (4 * u32::from(count))) - 1)) }
    }

    /// What follows the first `count`.
    #[must_use]
    pub fn after(self, count: u8) -> Self {
        if count >= HISTORY_MAX { Self(0) } else { Self(self.0 >> (4 * u32::from(count))) }
    }

    /// This, and then that.
    #[must_use]
    pub fn then(self, more: Self) -> Self {
        more.iter().fold(self, Self::and)
    }

    /// Whether this begins with all of that.
    #[must_use]
    pub fn begins_with(self, start: Self) -> bool {
        self.len() >= start.len() && self.first(start.len()) == start
    }

    /// In order.
    pub fn iter(self) -> impl Iterator<Item = Change> {
        (0..self.len()).map(move |place| self.at(place))
    }

    /// Without order.
    #[must_use]
    pub fn set(self) -> Set {
        self.iter().fold(Set::default(), |set, change| set.with(usize::from(change)))
    }

    /// Whether a change is there twice.
    #[must_use]
    pub fn has_twice(self) -> bool {
        self.set().count() != u32::from(self.len())
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A set of numbers below 16: incarnations, or changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Set(u16);

impl Set {
    /// Whether `one` is in it.
    #[must_use]
    pub fn has(self, one: usize) -> bool {
        self.0 & (1 << one) != 0
    }

    /// With `one`.
    #[must_use]
    pub fn with(self, one: usize) -> Self {
        Self(self.0 | 1 << one)
    }

    /// Without `one`.
    #[must_use]
    pub fn without(self, one: usize) -> Self {
        Self(self.0 & !(1 << one))
    }

    /// With all of those.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether all of those are in it.
    #[must_use]
    pub fn has_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many are in it.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..16).filter(|one| self.has(*one))).finish()
    }
}

/// Counts ownerships of one ownable: the term first, then the number of the grant within it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Epoch {
    /// The term of the controller that granted.
    pub term: u8,
    /// The number of the grant in that term, from 1.
    pub number: u8,
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_taken_apart_and_put_together_again() {
        let history = [3, 1, 2].into_iter().fold(History::default(), History::and);
        assert_eq!((history.len(), history.at(1)), (3, 1));
        for count in 0..=3 {
            assert_eq!(history.first(count).then(history.after(count)), history);
            assert!(history.begins_with(history.first(count)));
        }
        assert!(!history.first(2).begins_with(history));
        assert!(!history.has_twice() && history.and(1).has_twice());
    }

    #[test]
    fn epochs_of_a_later_term_are_higher() {
        assert!(Epoch { term: 2, number: 1 } > Epoch { term: 1, number: 9 });
    }
}
