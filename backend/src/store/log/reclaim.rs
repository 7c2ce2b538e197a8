//! When and what to compact. Pure: it counts bytes.
//!
//! The bodies that are still needed, of those segments that have more bytes nobody needs than bodies that are, are written
//! once more behind the newest batch; then the segments can go. So a byte is copied only if at least one is won by it,
//! which bounds what compaction adds to what is written anyway. It begins when more than half of a log is waste, so what a
//! log takes is bounded as well. A body counts with all that a record of it takes: of many short ones, the records are most.

/// What one segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Which.
    pub generation: u64,
    /// Its length.
    pub length: u64,
    /// How many bytes it would take to write the bodies again that somebody still needs.
    pub living: u64,
}

impl Content {
    /// What would be won by it.
    pub fn waste(&self) -> u64 {
        self.length.saturating_sub(self.living)
    }
}

/// The segments to be emptied, or `None` if that is not worth it. `least` is how much has to be won.
pub fn victims(segments: &[Content], least: u64) -> Option<Vec<u64>> {
    let living: u64 = segments.iter().map(|segment| segment.living).sum();
    let waste: u64 = segments.iter().map(Content::waste).sum();
    if waste < least.max(living) {
        return None;
    }
    let is_poor = |segment: &&Content| segment.waste() >= segment.living;
    let victims: Vec<u64> = segments.iter().filter(is_poor).map(|segment| segment.generation).collect();
    (!victims.is_empty()).then_some(victims)
}

/// How far a compaction has come. Each stage but the first ends with a snapshot of a place behind the last mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// Bodies are being moved; a mark will tell that all are.
    Moving,
    /// One snapshot names no body in the old segments; the snapshot to fall back to still needs them.
    Settling,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(generation: u64, length: u64, living: u64) -> Content {
        Content { generation, length, living }
    }

    #[test]
    fn nothing_is_done_for_little() {
        assert_eq!(victims(&[content(1, 100, 51), content(2, 10, 5)], 0), None);
        assert_eq!(victims(&[content(1, 100, 0)], 101), None);
        assert_eq!(victims(&[], 0), None);
    }

    #[test]
    fn segments_that_are_mostly_needed_are_left_alone() {
        assert_eq!(victims(&[content(1, 100, 90), content(2, 300, 20), content(3, 10, 0)], 50), Some(vec![2, 3]));
    }

    proptest::proptest! {
        #[test]
        fn at_least_as_much_is_won_as_is_copied(lengths in proptest::collection::vec((0..1000_u64, 0..1000_u64), 0..9)) {
            let segments: Vec<Content> = lengths.iter().zip(1..).map(|((a, b), generation)| content(generation, *a.max(b), *a.min(b))).collect();
            if let Some(victims) = victims(&segments, 1) {
                let (chosen, left): (Vec<Content>, Vec<Content>) = segments.iter().partition(|s| victims.contains(&s.generation));
                let sum = |of: &[Content], what: fn(&Content) -> u64| of.iter().map(what).sum::<u64>();
                proptest::prop_assert!(sum(&chosen, |s| s.living) <= sum(&chosen, Content::waste));
                proptest::prop_assert!(sum(&left, Content::waste) <= sum(&left, |s| s.living));
            }
        }
    }
}
