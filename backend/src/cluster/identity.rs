//! Who is who: runs of members, their slots, and controllers by term.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

use laniakea_directory::MemberName;

/// One run of a member. A number is never used twice, so a fenced incarnation can never come back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// The member.
    pub member: MemberName,
    /// Rises with every start of the member.
    pub number: u64,
}

impl Incarnation {
    /// Reads what [`fmt::Display`] wrote: the number stands after the last dot.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (member, number) = text.rsplit_once('.')?;
        if member.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self { member: MemberName::new(member), number: number.parse().ok()? })
    }

    /// Says whether this is an earlier run of the same member.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        self.member == other.member && self.number < other.number
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.member, self.number)
    }
}

/// An incarnation and how to reach it; as it wrote itself into the cluster's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Who it is.
    pub incarnation: Incarnation,
    /// The member's bit in [`Slots`], for ever.
    pub slot: u8,
    /// Where it speaks the cluster's protocol.
    pub control: SocketAddr,
    /// Where it takes connections from routers and fellow members.
    pub handoff: SocketAddr,
}

/// Who was made controller in a term. Immutable once it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermRecord {
    /// Counts controllers, from 1.
    pub term: u64,
    /// The controller of that term.
    pub controller: Incarnation,
}

/// A set of members, by slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Slots(pub u64);

/// How many members a cluster may ever have had.
pub const SLOTS_MAX: u8 = 64;

impl Slots {
    /// No member.
    pub const NONE: Self = Self(0);

    /// Says whether the member of `slot` is in the set.
    #[must_use]
    pub const fn contains(self, slot: u8) -> bool {
        slot < SLOTS_MAX && self.0 >> slot & 1 == 1
    }

    /// The set with the member of `slot`.
    #[must_use]
    pub const fn with(self, slot: u8) -> Self {
        if slot < SLOTS_MAX { Self(self.0 | 1 << slot) } else { self }
    }

    /// The set without the member of `slot`.
    #[must_use]
    pub const fn without(self, slot: u8) -> Self {
        if slot < SLOTS_MAX { Self(self.0 & !(1 << slot)) } else { self }
    }

    /// How many members are in the set.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Says whether nobody is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The members of either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The slots in the set, lowest first.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let slot = u8::try_from(left.trailing_zeros()).ok().filter(|slot| *slot < SLOTS_MAX)?;
            left &= left - 1;
            Some(slot)
        })
    }
}

impl FromIterator<u8> for Slots {
    fn from_iter<I: IntoIterator<Item = u8>>(slots: I) -> Self {
        slots.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_survives_text_even_when_the_member_has_dots() {
        let incarnation = Incarnation { member: MemberName::new("a.example.org"), number: 12 };
        assert_eq!(Incarnation::parse(&incarnation.to_string()), Some(incarnation));
        for wrong in ["a", ".1", "a.", "a.+1", "a.x"] {
            assert_eq!(Incarnation::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn slots_beyond_the_limit_are_in_no_set() {
        let set: Slots = [0, 63, 64, 200].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63]);
        assert!(!set.contains(64));
        assert_eq!(set.without(0).len(), 1);
    }
}
