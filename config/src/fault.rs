//! What is wrong with a configuration file, told so that it can be put right: where, what was expected, what to try.
//!
//! All faults of a file are collected and shown together, in the order of its lines. Nothing here reads a file.

use std::{fmt, path::PathBuf};

/// A stretch of one line of the file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters to underline; at least 1.
    pub length: usize,
}

/// One thing to put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands; missing when the file as a whole could not be read.
    pub place: Option<Place>,
    /// What is wrong.
    pub what: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// What to type instead, or to do.
    pub suggestion: Option<String>,
}

impl Fault {
    /// A fault at `place`.
    #[must_use]
    pub fn at(place: Place, what: impl Into<String>) -> Self {
        Self { place: Some(place), what: what.into(), expected: None, suggestion: None }
    }

    /// A fault of the file as a whole.
    #[must_use]
    pub fn of_file(what: impl Into<String>) -> Self {
        Self { place: None, what: what.into(), expected: None, suggestion: None }
    }

    /// Adds what would have been right.
    #[must_use]
    pub fn expected(mut self, text: impl Into<String>) -> Self {
        self.expected = Some(text.into());
        self
    }

    /// Adds what to try.
    #[must_use]
    pub fn suggest(mut self, text: impl Into<String>) -> Self {
        self.suggestion = Some(text.into());
        self
    }
}

/// Everything wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    file: PathBuf,
    text: String,
    list: Vec<Fault>,
}

impl Faults {
    /// Collects `list`, sorted by place. `text` is the file, for showing the lines.
    #[must_use]
    pub fn new(file: PathBuf, text: String, mut list: Vec<Fault>) -> Self {
        list.sort_by_key(|fault| fault.place);
        Self { file, text, list }
    }

    /// The faults, by line.
    #[must_use]
    pub fn list(&self) -> &[Fault] {
        &self.list
    }

    /// As a JSON array, for tools.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let one = |fault: &Fault| {
            serde_json::json!({
                "file": self.file,
                "line": fault.place.map(|place| place.line),
                "column": fault.place.map(|place| place.column),
                "what": fault.what,
                "expected": fault.expected,
                "suggestion": fault.suggestion,
            })
        };
        self.list.iter().map(one).collect()
    }

    fn show(&self, fault: &Fault, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        let Some(place) = fault.place else {
            writeln!(out, "{file}: {}", fault.what)?;
            return show_advice(fault, out);
        };
        writeln!(out, "{file}:{}:{}: {}", place.line, place.column, fault.what)?;
        if let Some(line) = self.text.lines().nth(place.line - 1) {
            let before: String =
                line.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            writeln!(out, "{:>6} | {line}", place.line)?;
            writeln!(out, "       | {before}{}", "^".repeat(place.length.max(1)))?;
        }
        show_advice(fault, out)
    }
}

fn show_advice(fault: &Fault, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(expected) = &fault.expected {
        writeln!(out, "         expected: {expected}")?;
    }
    if let Some(suggestion) = &fault.suggestion {
        writeln!(out, "         try: {suggestion}")?;
    }
    Ok(())
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.list {
            self.show(fault, out)?;
        }
        match self.list.len() {
            1 => write!(out, "1 fault in {}", self.file.display()),
            count => write!(out, "{count} faults in {}", self.file.display()),
        }
    }
}

impl std::error::Error for Faults {}

/// The one of `known` that was probably meant by `typed`, if any is near enough.
#[must_use]
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(typed);
    let scored = known.into_iter().map(|name| (distance(&wanted, &plain(name)), name));
    let (far, name) = scored.min_by_key(|(far, _)| *far)?;
    (far <= (wanted.chars().count() / 3).max(1)).then_some(name)
}

/// How many letters must be added, dropped, changed or swapped with their neighbour (Damerau-Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, far) | (far, 0) => far,
                _ => {
                    let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let mut least = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        least = least.min(rows[i - 2][j - 2] + 1);
                    }
                    least
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_word_that_was_meant() {
        let known = ["name", "listen", "proxy_from", "cache_file"];
        for (typed, meant) in [
            ("lisen", "listen"),
            ("proxy-from", "proxy_from"),
            ("proxyFrom", "proxy_from"),
            ("naem", "name"),
            ("Listen", "listen"),
        ] {
            assert_eq!(nearest(typed, known), Some(meant), "{typed}");
        }
        assert_eq!(nearest("colour", known), None);
    }

    #[test]
    fn a_fault_shows_its_line_and_what_to_try() {
        let fault = Fault::at(Place { line: 2, column: 3, length: 5 }, "unknown key `lisen`")
            .expected("name or listen")
            .suggest("`listen`");
        let faults = Faults::new("a.yaml".into(), "routers:\n  lisen: 1\n".into(), vec![fault]);
        assert_eq!(
            faults.to_string(),
            "a.yaml:2:3: unknown key `lisen`\n     2 |   lisen: 1\n       |   ^^^^^\n         expected: name or listen\n         try: `listen`\n1 fault in a.yaml"
        );
    }
}
