//! `SEARCH` and `ESEARCH` responses.

use super::text::print;
use crate::mailbox::ModSeq;
use crate::wire::imap::command::{Numbering, ReturnOption};

/// What a search found, in the numbers of its command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Ascending.
    pub numbers: Vec<u32>,
    /// To be told if the search named mod-sequences (RFC 7162 §3.1.5).
    pub modseq: Option<ModSeq>,
}

/// Writes `* SEARCH …` (RFC 3501 §7.2.5).
pub fn search(out: &mut Vec<u8>, found: &Found) {
    out.extend_from_slice(b"* SEARCH");
    for number in &found.numbers {
        print(out, format_args!(" {number}"));
    }
    if let Some(modseq) = found.modseq {
        print(out, format_args!(" (MODSEQ {modseq})"));
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes `* ESEARCH …` (RFC 4731 §3.1).
pub fn esearch(out: &mut Vec<u8>, tag: &str, numbering: Numbering, options: &[ReturnOption], found: &Found) {
    // A tag holds neither quote nor backslash (RFC 3501 §9).
    print(out, format_args!("* ESEARCH (TAG \"{tag}\")"));
    if numbering == Numbering::Uid {
        out.extend_from_slice(b" UID");
    }
    let wants = |option| options.contains(&option);
    // RFC 4731 §3.1: MIN, MAX and ALL are left out if nothing was found.
    if let (true, Some(lowest)) = (wants(ReturnOption::Min), found.numbers.first()) {
        print(out, format_args!(" MIN {lowest}"));
    }
    if let (true, Some(highest)) = (wants(ReturnOption::Max), found.numbers.last()) {
        print(out, format_args!(" MAX {highest}"));
    }
    if wants(ReturnOption::All) && !found.numbers.is_empty() {
        out.extend_from_slice(b" ALL ");
        number_set(out, &found.numbers);
    }
    if wants(ReturnOption::Count) {
        print(out, format_args!(" COUNT {}", found.numbers.len()));
    }
    if let Some(modseq) = found.modseq {
        print(out, format_args!(" MODSEQ {modseq}"));
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes ascending numbers as a sequence set: `1:3,7`.
pub fn number_set(out: &mut Vec<u8>, numbers: &[u32]) {
    let mut numbers = numbers.iter().copied().peekable();
    let mut comma = "";
    while let Some(first) = numbers.next() {
        let mut last = first;
        while let Some(next) = numbers.next_if(|next| *next - 1 == last) {
            last = next;
        }
        match first == last {
            true => print(out, format_args!("{comma}{first}")),
            false => print(out, format_args!("{comma}{first}:{last}")),
        }
        comma = ",";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_told_as_ranges() {
        let mut out = Vec::new();
        number_set(&mut out, &[1, 2, 3, 7, 9, 10]);
        assert_eq!(out, b"1:3,7,9:10");
    }

    #[test]
    fn nothing_found_is_told_by_count_alone() {
        let mut out = Vec::new();
        use ReturnOption::{All, Count, Max, Min};
        esearch(&mut out, "A1", Numbering::Uid, &[Min, Max, All, Count], &Found::default());
        assert_eq!(out, b"* ESEARCH (TAG \"A1\") UID COUNT 0\r\n");
    }
}
