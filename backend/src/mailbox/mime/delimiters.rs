//! The boundaries a line is compared with (RFC 2046 §5.1.1).

use std::collections::HashMap;

/// Longest boundary that is followed. RFC 2046 §5.1.1 says 70.
pub(super) const BOUNDARY_BYTES_MAX: usize = 256;

/// The boundaries of the multiparts being walked. Looking one up costs the same however deep they are.
#[derive(Debug, Default)]
pub(super) struct Delimiters {
    /// For each boundary, the levels that use it, the innermost last.
    levels: HashMap<Vec<u8>, Vec<usize>>,
}

/// A line that is a delimiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delimiter {
    /// Of which level.
    pub(super) level: usize,
    /// Whether it is the last of its multipart.
    pub(super) is_close: bool,
}

impl Delimiters {
    /// Begins to look for a boundary.
    pub(super) fn open(&mut self, boundary: &[u8], level: usize) {
        self.levels.entry(boundary.to_vec()).or_default().push(level);
    }

    /// Looks no longer for the boundary of a level.
    pub(super) fn close(&mut self, boundary: &[u8], level: usize) {
        if let Some(levels) = self.levels.get_mut(boundary) {
            levels.retain(|other| *other != level);
            if levels.is_empty() {
                self.levels.remove(boundary);
            }
        }
    }

    /// Whether a line, without its end, is a delimiter. White space after the boundary does not count.
    pub(super) fn find(&self, line: &[u8]) -> Option<Delimiter> {
        let text = line.strip_prefix(b"--")?;
        if self.levels.is_empty() || text.len() > 2 * BOUNDARY_BYTES_MAX {
            return None;
        }
        let text = text.trim_ascii_end();
        let open = self.level(text).map(|level| Delimiter { level, is_close: false });
        open.or_else(|| self.level(text.strip_suffix(b"--")?).map(|level| Delimiter { level, is_close: true }))
    }

    fn level(&self, boundary: &[u8]) -> Option<usize> {
        self.levels.get(boundary)?.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_that_begins_another_is_not_taken_for_it() {
        let mut delimiters = Delimiters::default();
        delimiters.open(b"a", 0);
        delimiters.open(b"a-b", 1);
        let found = |line: &[u8]| delimiters.find(line).map(|found| (found.level, found.is_close));
        assert_eq!(found(b"--a"), Some((0, false)));
        assert_eq!(found(b"--a-b-- \t"), Some((1, true)));
        assert_eq!(found(b"--ab"), None);
        assert_eq!(found(b"-a"), None);
    }

    #[test]
    fn of_equal_boundaries_the_innermost_counts() {
        let mut delimiters = Delimiters::default();
        delimiters.open(b"x", 0);
        delimiters.open(b"x", 3);
        assert_eq!(delimiters.find(b"--x").unwrap().level, 3);
        delimiters.close(b"x", 3);
        assert_eq!(delimiters.find(b"--x").unwrap().level, 0);
        delimiters.close(b"x", 0);
        assert_eq!(delimiters.find(b"--x"), None);
    }
}
