//! What is written down, and the rules it is held against.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// A message as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its UID.
    pub uid: u32,
    /// The number it carries.
    pub number: u64,
    /// Whether it is flagged.
    pub is_flagged: bool,
}

/// How much was acknowledged.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Count {
    /// Messages, for each recipient.
    pub messages: usize,
    /// Flags.
    pub flags: usize,
    /// Expunges.
    pub expunges: usize,
}

impl Count {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> usize {
        self.messages + self.flags + self.expunges
    }
}

#[derive(Default)]
pub struct Book {
    accounts: BTreeMap<String, Pages>,
    /// What was found to be wrong.
    pub wrongs: Vec<String>,
}

/// What is written down of one account.
#[derive(Default)]
pub struct Pages {
    /// Numbers that were acknowledged, by SMTP.
    delivered: BTreeSet<u64>,
    /// Numbers that were acknowledged, by IMAP; they are there at once.
    appended: BTreeSet<u64>,
    flagged: BTreeSet<u64>,
    /// Asked for; in doubt.
    expunging: BTreeSet<u64>,
    expunged: BTreeSet<u64>,
    /// What a client was shown: never anything else under this UID.
    seen: BTreeMap<u32, u64>,
    validity: Option<u32>,
}

impl Book {
    pub fn pages(&mut self, account: &str) -> &mut Pages {
        self.accounts.entry(account.to_owned()).or_default()
    }

    pub fn count(&self) -> Count {
        self.accounts.values().fold(Count::default(), |count, pages| Count {
            messages: count.messages + pages.delivered.len() + pages.appended.len(),
            flags: count.flags + pages.flagged.len(),
            expunges: count.expunges + pages.expunged.len(),
        })
    }

    pub fn delivered(&mut self, account: &str, number: u64) {
        self.pages(account).delivered.insert(number);
    }

    pub fn appended(&mut self, account: &str, number: u64) {
        self.pages(account).appended.insert(number);
    }

    pub fn flagged(&mut self, account: &str, number: u64) {
        self.pages(account).flagged.insert(number);
    }

    pub fn expunging(&mut self, account: &str, number: u64) {
        self.pages(account).expunging.insert(number);
    }

    pub fn expunged(&mut self, account: &str, number: u64) {
        self.pages(account).expunged.insert(number);
    }

    pub fn validity(&mut self, account: &str, validity: u32) {
        let before = *self.pages(account).validity.get_or_insert(validity);
        if before != validity {
            self.wrongs.push(format!("{account}: UIDVALIDITY was {before} and is {validity}"));
        }
    }

    /// Numbers that were seen and that nobody has asked to expunge or to flag.
    pub fn untouched(&mut self, account: &str) -> Vec<(u32, u64)> {
        let pages = self.pages(account);
        let is_untouched = |number: &u64| !pages.expunging.contains(number) && !pages.flagged.contains(number);
        pages.seen.iter().filter(|(_, number)| is_untouched(number)).map(|(uid, number)| (*uid, *number)).collect()
    }

    /// Numbers that must be there at any time from now on.
    pub fn due(&mut self, account: &str) -> BTreeSet<u64> {
        let pages = self.pages(account);
        pages.appended.difference(&pages.expunging).copied().collect()
    }

    /// What a client is shown of the messages above `above`. `due` must be there, as far as it is new.
    pub fn seen(&mut self, account: &str, above: u32, shown: &[Message], due: &BTreeSet<u64>) {
        let mut wrongs = Vec::new();
        let pages = self.pages(account);
        let highest = pages.seen.keys().next_back().copied().unwrap_or(0);
        for message in shown {
            match pages.seen.insert(message.uid, message.number) {
                Some(before) if before != message.number => wrongs
                    .push(format!("{account}: UID {} was message {before} and is {}", message.uid, message.number)),
                None if message.uid < highest => wrongs.push(format!(
                    "{account}: message {} appears under UID {}, below {highest} which was seen before",
                    message.number, message.uid
                )),
                Some(_) | None => {}
            }
        }
        let uids: BTreeSet<u32> = shown.iter().map(|message| message.uid).collect();
        let taken_back = pages
            .seen
            .range(above + 1..)
            .filter(|(uid, number)| !uids.contains(uid) && !pages.expunging.contains(number));
        wrongs.extend(
            taken_back.map(|(uid, number)| format!("{account}: message {number}, UID {uid}, was seen and is gone")),
        );
        let all: BTreeSet<u64> = pages.seen.values().copied().collect();
        wrongs.extend(due.difference(&all).map(|number| format!("{account}: appended message {number} is not shown")));
        self.wrongs.extend(wrongs);
    }

    /// Acknowledged messages that are not among these.
    pub fn missing(&mut self, account: &str, shown: &[Message]) -> Vec<u64> {
        let there: BTreeSet<u64> = shown.iter().map(|message| message.number).collect();
        let pages = self.pages(account);
        let acknowledged = pages.delivered.iter().chain(&pages.appended);
        acknowledged.filter(|number| !there.contains(number) && !pages.expunging.contains(number)).copied().collect()
    }

    /// The last word on an account.
    pub fn judge(&mut self, account: &str, shown: &[Message]) {
        let mut wrongs: Vec<String> =
            self.missing(account, shown).iter().map(|number| format!("{account}: LOST message {number}")).collect();
        let pages = self.pages(account);
        let mut there = BTreeSet::new();
        for message in shown {
            if !there.insert(message.number) {
                wrongs.push(format!("{account}: DOUBLED message {}", message.number));
            }
            if pages.expunged.contains(&message.number) {
                wrongs.push(format!("{account}: expunged message {} is back", message.number));
            }
            if pages.flagged.contains(&message.number) && !message.is_flagged {
                wrongs.push(format!("{account}: LOST flag of message {}", message.number));
            }
        }
        self.wrongs.extend(wrongs);
        let due = BTreeSet::new();
        self.seen(account, 0, shown, &due);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(uid: u32, number: u64) -> Message {
        Message { uid, number, is_flagged: false }
    }

    fn wrongs(work: impl FnOnce(&mut Book)) -> Vec<String> {
        let mut book = Book::default();
        book.delivered("a", 1);
        book.appended("a", 2);
        book.seen("a", 0, &[message(1, 1), message(2, 2)], &BTreeSet::from([2]));
        assert!(book.wrongs.is_empty());
        work(&mut book);
        book.wrongs
    }

    #[test]
    fn what_is_as_it_was_acknowledged_is_right() {
        let all = [message(1, 1), message(2, 2), message(3, 3)];
        assert!(wrongs(|book| book.judge("a", &all)).is_empty());
        // What was asked to be expunged may be gone or not; what is in doubt may be there or not.
        assert!(
            wrongs(|book| {
                book.expunging("a", 1);
                book.judge("a", &all[1..]);
            })
            .is_empty()
        );
    }

    #[test]
    fn everything_that_is_wrong_is_found() {
        let (one, two) = (message(1, 1), message(2, 2));
        let cases: [(&str, Vec<Message>); 4] = [
            ("LOST message 2", vec![one.clone()]),
            ("DOUBLED", vec![one.clone(), two.clone(), message(3, 2)]),
            ("UID 2 was message 2 and is 7", vec![one.clone(), message(2, 7), message(3, 2)]),
            ("was seen and is gone", vec![message(3, 1), two.clone()]),
        ];
        for (text, shown) in cases {
            let found = wrongs(|book| book.judge("a", &shown));
            assert!(found.iter().any(|wrong| wrong.contains(text)), "{text}: {found:?}");
        }
        assert!(!wrongs(|book| book.seen("a", 2, &[], &BTreeSet::from([9]))).is_empty());
        assert!(
            !wrongs(|book| {
                book.validity("a", 1);
                book.validity("a", 2);
            })
            .is_empty()
        );
        assert!(
            !wrongs(|book| {
                book.expunging("a", 1);
                book.expunged("a", 1);
                book.judge("a", &[one.clone(), two.clone()]);
            })
            .is_empty()
        );
        assert!(
            !wrongs(|book| {
                book.flagged("a", 1);
                book.judge("a", &[one.clone(), two.clone()]);
            })
            .is_empty()
        );
    }
}
