//! Epochs: which ownership of an account a record, a file name or a message belongs to.
//!
//! An epoch is unique in its cluster and rises with every grant of the same ownable: the term rises with every
//! controller, the number with every grant of one controller. Epochs are compared, never computed with.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Counts ownerships: the fencing token in every record and file name an owner writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// The term of the controller that granted.
    pub term: u64,
    /// Counts the grants of that term, from 1.
    pub number: u64,
}

impl Epoch {
    /// Packs the epoch so that packed values order as epochs do.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        (self.term as u128) << 64 | self.number as u128
    }

    /// Unpacks what [`Epoch::to_u128`] packed.
    #[must_use]
    pub const fn from_u128(packed: u128) -> Self {
        Self { term: (packed >> 64) as u64, number: packed as u64 }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.number)
    }
}

/// A text that is no epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is written as term.number")]
pub struct NotAnEpoch;

impl FromStr for Epoch {
    type Err = NotAnEpoch;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (term, number) = text.split_once('.').ok_or(NotAnEpoch)?;
        Ok(Self { term: term.parse().map_err(|_| NotAnEpoch)?, number: number.parse().map_err(|_| NotAnEpoch)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_term_beats_any_number_packed_or_not() {
        let early = Epoch { term: 1, number: u64::MAX };
        let late = Epoch { term: 2, number: 0 };
        assert!(early < late);
        assert!(early.to_u128() < late.to_u128());
    }

    #[test]
    fn packing_and_printing_lose_nothing() {
        let epoch = Epoch { term: 7, number: 1 << 63 };
        assert_eq!(Epoch::from_u128(epoch.to_u128()), epoch);
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert_eq!("7".parse::<Epoch>(), Err(NotAnEpoch));
    }
}
