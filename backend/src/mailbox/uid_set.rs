//! Sets of UIDs as sorted ranges. They are never walked number by number: `1:4294967295` costs as little as `1`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::uid::Uid;

/// Sorted ranges of UIDs that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<UidRange>")]
pub struct UidSet(Vec<UidRange>);

/// The UIDs from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UidRange {
    /// The lowest UID.
    pub first: Uid,
    /// The highest UID.
    pub last: Uid,
}

impl UidRange {
    /// The range between two UIDs, whichever comes first (RFC 9051 §9, `seq-range`).
    pub fn new(one: Uid, other: Uid) -> Self {
        Self { first: one.min(other), last: one.max(other) }
    }

    /// Whether the UID lies in the range.
    pub fn contains(self, uid: Uid) -> bool {
        self.first <= uid && uid <= self.last
    }

    /// How many numbers the range spans.
    pub fn span(self) -> u64 {
        u64::from(self.last.get()) - u64::from(self.first.get()) + 1
    }

    /// The UIDs of the range in order. Only for ranges known to be full.
    pub fn uids(self) -> impl Iterator<Item = Uid> {
        (self.first.get()..=self.last.get()).filter_map(Uid::new)
    }

    /// Whether `next`, which does not begin earlier, overlaps or touches this range.
    fn reaches(self, next: UidRange) -> bool {
        u64::from(next.first.get()) <= u64::from(self.last.get()) + 1
    }
}

impl UidSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of all UIDs.
    pub fn all() -> Self {
        Self(vec![UidRange { first: Uid::MIN, last: Uid::MAX }])
    }

    /// The ranges, in order.
    pub fn ranges(&self) -> &[UidRange] {
        &self.0
    }

    /// Whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers the set holds.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|range| range.span()).sum()
    }

    /// Whether the UID is in the set.
    pub fn contains(&self, uid: Uid) -> bool {
        let after = self.0.partition_point(|range| range.last < uid);
        self.0.get(after).is_some_and(|range| range.contains(uid))
    }

    /// Adds a UID; cheapest when it is higher than all before.
    pub fn insert(&mut self, uid: Uid) {
        self.insert_range(UidRange { first: uid, last: uid });
    }

    /// Adds a range; cheapest when it is higher than all before.
    pub fn insert_range(&mut self, range: UidRange) {
        let start = self.0.partition_point(|known| !known.reaches(range));
        let end = start + self.0[start..].partition_point(|known| range.reaches(*known));
        let merged = match self.0.get(start..end) {
            Some([first, .., last]) => {
                UidRange { first: first.first.min(range.first), last: last.last.max(range.last) }
            }
            Some([one]) => UidRange { first: one.first.min(range.first), last: one.last.max(range.last) },
            _ => range,
        };
        self.0.splice(start..end, [merged]);
    }

    /// All UIDs in order. Only for sets known to hold no more than there are messages.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.0.iter().flat_map(|range| range.uids())
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        uids.into_iter().map(|uid| UidRange { first: uid, last: uid }).collect()
    }
}

impl FromIterator<UidRange> for UidSet {
    fn from_iter<I: IntoIterator<Item = UidRange>>(ranges: I) -> Self {
        let mut sorted: Vec<UidRange> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<UidRange> = Vec::new();
        for range in sorted {
            match merged.last_mut() {
                Some(last) if last.reaches(range) => last.last = last.last.max(range.last),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }
}

impl From<Vec<UidRange>> for UidSet {
    fn from(ranges: Vec<UidRange>) -> Self {
        ranges.into_iter().map(|range| UidRange::new(range.first, range.last)).collect()
    }
}

impl From<Uid> for UidSet {
    fn from(uid: Uid) -> Self {
        Self(vec![UidRange { first: uid, last: uid }])
    }
}

impl fmt::Display for UidSet {
    /// Prints an RFC 9051 `sequence-set`, such as `1:4,7`; nothing for the empty set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}", range.first)?;
            if range.last != range.first {
                write!(f, ":{}", range.last)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn uid(number: u32) -> Uid {
        Uid::new(number).unwrap()
    }

    #[test]
    fn touching_ranges_are_one() {
        let set: UidSet = [3, 1, 2, 7].into_iter().map(uid).collect();
        assert_eq!(set.to_string(), "1:3,7");
        assert_eq!(set.len(), 4);
    }

    #[test]
    fn the_whole_space_costs_one_range() {
        assert_eq!(UidSet::all().to_string(), "1:4294967295");
        assert_eq!(UidSet::all().len(), u64::from(u32::MAX));
        assert!(UidSet::all().contains(Uid::MAX));
    }

    proptest! {
        #[test]
        fn a_uid_set_is_a_set(ranges in prop::collection::vec((1u32..60, 1u32..60), 0..12)) {
            let model: BTreeSet<u32> = ranges.iter().flat_map(|&(a, b)| a.min(b)..=a.max(b)).collect();
            let collected: UidSet = ranges.iter().map(|&(a, b)| UidRange::new(uid(a), uid(b))).collect();
            let mut inserted = UidSet::new();
            for &(a, b) in &ranges {
                inserted.insert_range(UidRange::new(uid(a), uid(b)));
            }
            prop_assert_eq!(&collected, &inserted);
            prop_assert_eq!(collected.iter().map(Uid::get).collect::<BTreeSet<_>>(), model.clone());
            prop_assert_eq!(collected.len() as usize, model.len());
            for number in 1..70 {
                prop_assert_eq!(collected.contains(uid(number)), model.contains(&number));
            }
        }
    }
}
