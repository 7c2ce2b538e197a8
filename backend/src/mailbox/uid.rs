//! The numbers that name mailboxes and messages, each a type of its own so that none is taken for another.
//!
//! Every number rises only: a UID, a UIDVALIDITY, a mod-sequence or a mailbox id once given out is never given out again.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Defines a non-zero 32-bit number with the few operations they share.
macro_rules! nonzero_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(NonZeroU32);

        impl $name {
            /// The lowest.
            pub const MIN: Self = Self(NonZeroU32::MIN);
            /// The highest.
            pub const MAX: Self = Self(NonZeroU32::MAX);

            /// The number, unless it is zero.
            pub const fn new(number: u32) -> Option<Self> {
                match NonZeroU32::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The number as an integer.
            pub const fn get(self) -> u32 {
                self.0.get()
            }

            /// The number after this one, unless there is none.
            pub const fn next(self) -> Option<Self> {
                match self.0.checked_add(1) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

nonzero_number! {
    /// A message's unique identifier within one validity of its mailbox (RFC 9051 §2.3.1.1).
    Uid
}
nonzero_number! {
    /// Says for how long a mailbox's UIDs hold (RFC 9051 §2.3.1.1). Unique within the account, from a counter that is
    /// kept, so that no clock set back can repeat one.
    UidValidity
}
nonzero_number! {
    /// A message's position in a mailbox value, from 1 (RFC 9051 §2.3.1.2). Means nothing without that value and is never stored.
    SeqNo
}

impl SeqNo {
    /// The sequence number of the message at `index`, which counts from 0.
    pub fn from_index(index: usize) -> Self {
        let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        Self::new(number).unwrap_or(Self::MAX)
    }

    /// The position counted from 0.
    pub fn index(self) -> usize {
        self.get() as usize - 1
    }
}

/// A mod-sequence (RFC 7162): one counter per account, rising with every change. At most 63 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModSeq(pub u64);

impl ModSeq {
    /// The highest (RFC 7162 §7: a signed 64-bit number). No account lives to see it.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The mod-sequence after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for ModSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a mailbox for its whole life, through every rename (RFC 8474's MAILBOXID).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MailboxId(pub u64);

impl fmt::Display for MailboxId {
    /// Prints an `objectid` of RFC 8474: it begins with a letter, so that it is never taken for a number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "M{}", self.0)
    }
}

/// Names the content of a message; copies share it (RFC 8474's EMAILID).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailId([u8; 16]);

impl EmailId {
    /// The id with this value, which is random.
    pub fn new(random: u128) -> Self {
        Self(random.to_be_bytes())
    }
}

impl fmt::Display for EmailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Serialize for EmailId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for EmailId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        bytes.try_into().map(Self).map_err(|_| serde::de::Error::invalid_length(bytes.len(), &"16 bytes"))
    }
}

/// Names one delivery to one recipient, so that a retry between our own processes adds no second copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    /// Random, one per SMTP or LMTP transaction.
    pub transaction: u128,
    /// Which of the transaction's recipients, from 0.
    pub recipient: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_uid() {
        assert_eq!(Uid::new(0), None);
        assert_eq!(Uid::MAX.next(), None);
        assert_eq!(Uid::MIN.next().map(Uid::get), Some(2));
    }

    #[test]
    fn sequence_numbers_count_from_one() {
        assert_eq!(SeqNo::from_index(0), SeqNo::MIN);
        assert_eq!(SeqNo::from_index(6).index(), 6);
    }

    #[test]
    fn object_ids_begin_with_a_letter() {
        assert_eq!(MailboxId(7).to_string(), "M7");
        assert_eq!(EmailId::new(255).to_string(), "E000000000000000000000000000000ff");
    }
}
