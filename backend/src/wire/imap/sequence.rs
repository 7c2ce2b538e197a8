//! Sequence sets (RFC 3501 §9, `sequence-set`): of sequence numbers or of UIDs, as the command
//! says.

use super::cursor::{Bad, Cursor, Parsed};

/// Ranges in one set. `1:4294967295` repeated costs nothing more than its text, but each range is
/// looked up.
pub const RANGES_MAX: usize = 10_000;

/// What a client wrote: ranges in any order, overlapping, backwards, with `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSet {
    /// Each from one end to the other, in either order.
    pub ranges: Vec<(Bound, Bound)>,
    /// `$`: what the last search saved, instead of ranges (RFC 5182 §2.1).
    pub saved: bool,
}

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A number of 1 or more.
    Number(u32),
    /// `*`: the largest number in use.
    Last,
}

impl SequenceSet {
    /// Takes a set such as `2,4:7,9,12:*`, or `$`.
    pub fn parse(cursor: &mut Cursor<'_>) -> Parsed<SequenceSet> {
        let mut ranges = Vec::new();
        if cursor.take(b'$') {
            return Ok(SequenceSet { ranges, saved: true });
        }
        loop {
            if ranges.len() == RANGES_MAX {
                return Err(Bad("too many ranges"));
            }
            let start = Bound::parse(cursor)?;
            let end = match cursor.take(b':') {
                true => Bound::parse(cursor)?,
                false => start,
            };
            ranges.push((start, end));
            if !cursor.take(b',') {
                return Ok(SequenceSet { ranges, saved: false });
            }
        }
    }

    /// The numbers meant, where `last` is what `*` stands for: ascending ranges that neither
    /// overlap nor touch.
    ///
    /// `*` of an empty mailbox means nothing: ranges that need it are left out.
    pub fn resolve(&self, last: Option<u32>) -> Vec<(u32, u32)> {
        let mut resolved: Vec<(u32, u32)> = self
            .ranges
            .iter()
            .filter_map(|(start, end)| Some((start.resolve(last)?, end.resolve(last)?)))
            .map(|(start, end)| (start.min(end), start.max(end)))
            .collect();
        resolved.sort_unstable();
        resolved.dedup_by(|next, kept| {
            let joins = next.0 <= kept.1.saturating_add(1);
            if joins {
                kept.1 = kept.1.max(next.1);
            }
            joins
        });
        resolved
    }
}

impl Bound {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Bound> {
        if cursor.take(b'*') {
            return Ok(Bound::Last);
        }
        match cursor.number()? {
            0 => Err(Bad("0 is no message number")),
            number => Ok(Bound::Number(number)),
        }
    }

    fn resolve(self, last: Option<u32>) -> Option<u32> {
        match self {
            Bound::Number(number) => Some(number),
            Bound::Last => last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::imap::read::Raw;

    fn parse(text: &str) -> Parsed<SequenceSet> {
        let raw = Raw { text: text.as_bytes().to_vec(), literals: Vec::new() };
        let mut cursor = Cursor::new(&raw);
        let set = SequenceSet::parse(&mut cursor)?;
        cursor.end()?;
        Ok(set)
    }

    #[test]
    fn ranges_are_sorted_and_joined() {
        let set = parse("5:3,4:9,1,2,12:*,20").unwrap();
        assert_eq!(set.resolve(Some(15)), [(1, 9), (12, 15), (20, 20)]);
    }

    #[test]
    fn a_star_means_the_last_number_on_either_side() {
        assert_eq!(parse("*:4").unwrap().resolve(Some(2)), [(2, 4)]);
        assert_eq!(parse("9:*").unwrap().resolve(Some(2)), [(2, 9)]);
        assert_eq!(parse("*").unwrap().resolve(None), []);
    }

    #[test]
    fn the_largest_numbers_join_without_overflow() {
        let set = parse("4294967295,4294967294:4294967295").unwrap();
        assert_eq!(set.resolve(None), [(4_294_967_294, u32::MAX)]);
    }

    #[test]
    fn zero_rubbish_and_too_large_numbers_are_refused() {
        for text in ["0", "1:0", "", ",", "1,", "1:", ":1", "a", "4294967296", "-1", "1 ", "$,1", "1,$"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_number_of_ranges_is_limited() {
        assert!(parse(&vec!["1"; RANGES_MAX].join(",")).is_ok());
        assert!(parse(&vec!["1"; RANGES_MAX + 1].join(",")).is_err());
    }
}
