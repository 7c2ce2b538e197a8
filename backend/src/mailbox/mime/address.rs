//! Address lists as ENVELOPE shows them (RFC 5322 §3.4 and §4.4): groups, routes, comments for names, and whatever else
//! is sent. Nothing is refused; what makes no sense becomes a mailbox without a host.

use super::cursor::Cursor;
use super::octets::Octets;
use super::summary::Address;

/// Reads an address list, up to `budget` elements, which are taken from it.
pub(super) fn parse_addresses(value: &[u8], budget: &mut usize) -> Vec<Address> {
    let mut list = List { cursor: Cursor::new(value), addresses: Vec::new(), is_in_group: false };
    while list.addresses.len() < *budget && !list.cursor.is_at_end() {
        list.element();
    }
    if list.is_in_group {
        list.addresses.push(Address::GroupEnd);
    }
    *budget = budget.saturating_sub(list.addresses.len());
    list.addresses
}

struct List<'a> {
    cursor: Cursor<'a>,
    addresses: Vec<Address>,
    is_in_group: bool,
}

/// Words read so far, not knowing yet whether they are a name or an address.
#[derive(Default)]
struct Words {
    /// As a display name: white space between words is one space.
    text: Vec<u8>,
    /// Where, in the text, the last `@` outside quotes is.
    at: Option<usize>,
    /// The last comment: the name of an address in the old style, `a@b (Name)`.
    comment: Vec<u8>,
    /// Whether there were words, be they empty: `""@example.org`.
    has_any: bool,
}

impl List<'_> {
    /// Reads up to the next separator.
    fn element(&mut self) {
        let words = self.words();
        match self.cursor.peek() {
            Some(b'<') => self.angle(words),
            Some(b':') => self.open_group(words),
            Some(b';') => {
                self.bare(words);
                if self.is_in_group {
                    self.addresses.push(Address::GroupEnd);
                    self.is_in_group = false;
                }
            }
            Some(_) | None => self.bare(words),
        }
        self.cursor.bump();
    }

    /// Reads words up to a byte that ends them: `<`, `:`, `;`, `,` or a stray `>`.
    fn words(&mut self) -> Words {
        let mut words = Words::default();
        loop {
            let spaced = self.skip_space();
            match self.cursor.peek() {
                None | Some(b'<' | b':' | b';' | b',' | b'>') => return words,
                Some(b'(') => words.comment = self.cursor.comment(),
                Some(b'"') => {
                    let text = self.cursor.quoted();
                    words.push(&text, spaced);
                }
                Some(b'@') => {
                    self.cursor.bump();
                    words.push(b"@", false);
                    words.at = Some(words.text.len() - 1);
                }
                Some(b'[') => {
                    let literal = self.cursor.until(|byte| byte == b']');
                    words.push(literal, false);
                    if self.cursor.eat(b']') {
                        words.text.push(b']');
                    }
                }
                Some(_) => words.push(self.cursor.until(ends_atom), spaced),
            }
        }
    }

    fn skip_space(&mut self) -> bool {
        let is_spaced = self.cursor.peek().is_some_and(|byte| byte.is_ascii_whitespace());
        self.cursor.skip_space();
        is_spaced
    }

    /// `name <route:mailbox@host>`
    fn angle(&mut self, name: Words) {
        self.cursor.bump();
        let route = self.route();
        let spec = self.words();
        self.cursor.until(|byte| byte == b'>' || byte == b',');
        if self.cursor.eat(b'>') {
            self.cursor.until(|byte| byte == b',' || byte == b';');
        }
        let name = [name.text, name.comment].into_iter().find(|text| !text.is_empty());
        let (mailbox, host) = spec.split();
        self.addresses.push(Address::One { name: name.map(Octets::from), route, mailbox, host });
        if self.cursor.peek() == Some(b';') && self.is_in_group {
            self.addresses.push(Address::GroupEnd);
            self.is_in_group = false;
        }
    }

    /// A source route, `@a,@b:` (RFC 5322 §4.4).
    fn route(&mut self) -> Option<Octets> {
        self.cursor.skip_comments();
        if self.cursor.peek() != Some(b'@') {
            return None;
        }
        let route = self.cursor.until(|byte| byte == b':' || byte == b'>');
        self.cursor.eat(b':');
        Some(route.trim_ascii().into())
    }

    fn open_group(&mut self, name: Words) {
        if self.is_in_group {
            self.addresses.push(Address::GroupEnd);
        }
        self.addresses.push(Address::GroupStart(name.text.into()));
        self.is_in_group = true;
    }

    /// `mailbox@host (Name)`
    fn bare(&mut self, words: Words) {
        if !words.has_any {
            return;
        }
        let name = (!words.comment.is_empty()).then(|| Octets::from(words.comment.as_slice()));
        let (mailbox, host) = words.split();
        self.addresses.push(Address::One { name, route: None, mailbox, host });
    }
}

impl Words {
    fn push(&mut self, word: &[u8], spaced: bool) {
        if spaced && !self.text.is_empty() && !self.text.ends_with(b"@") {
            self.text.push(b' ');
        }
        self.text.extend_from_slice(word);
        self.has_any = true;
    }

    /// The text before and after the last `@`.
    fn split(&self) -> (Octets, Octets) {
        let Some(at) = self.at else { return (self.text.as_slice().into(), Octets::default()) };
        (self.text[..at].into(), self.text[at + 1..].into())
    }
}

fn ends_atom(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"<>:;,(\"@[".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> String {
        let show = |address: &Address| match address {
            Address::One { name, route, mailbox, host } => {
                let name = name.as_ref().map_or(String::new(), |name| format!("{name}|"));
                let route = route.as_ref().map_or(String::new(), |route| format!("{route}:"));
                format!("{name}{route}{mailbox}@{host}")
            }
            Address::GroupStart(name) => format!("[{name}"),
            Address::GroupEnd => "]".to_owned(),
        };
        let addresses = parse_addresses(value.as_bytes(), &mut 100);
        addresses.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_usual_forms() {
        assert_eq!(shown("a@b.org"), "a@b.org");
        assert_eq!(shown("Mary Smith <mary@x.test>, jdoe@y.test"), "Mary Smith|mary@x.test jdoe@y.test");
        assert_eq!(shown("\"Joe Q. Public\" <joe@x>, <boss@nil.test>"), "Joe Q. Public|joe@x boss@nil.test");
        assert_eq!(shown("\"Giant; \\\"Big\\\" Box\" <s@g.net>"), "Giant; \"Big\" Box|s@g.net");
        assert_eq!(shown("=?utf-8?q?J=C3=BCrgen?= M <j@x>"), "=?utf-8?q?J=C3=BCrgen?= M|j@x");
    }

    #[test]
    fn groups_begin_and_end() {
        assert_eq!(
            shown("A Group:Ed Jones <joe@where.test>,joe@w.test,John <jdoe@one.test>;"),
            "[A Group Ed Jones|joe@where.test joe@w.test John|jdoe@one.test ]"
        );
        assert_eq!(shown("Undisclosed recipients:;"), "[Undisclosed recipients ]");
        assert_eq!(shown("a: b@c; d@e, f: g@h"), "[a b@c ] d@e [f g@h ]");
        assert_eq!(shown("a: <b@c>; d: e@f;"), "[a b@c ] [d e@f ]");
    }

    #[test]
    fn obsolete_forms() {
        assert_eq!(shown("Mary <@machine.tld,@b:mary@ex.net>"), "Mary|@machine.tld,@b:mary@ex.net");
        assert_eq!(shown("Pete(A nice \\) chap) <pete(his)@silly.test(host)>"), "Pete|pete@silly.test");
        assert_eq!(shown("jdoe@machine(comment).  ex"), "comment|jdoe@machine. ex");
        assert_eq!(shown("old@style (The Name)"), "The Name|old@style");
        assert_eq!(shown("1234 @ local(blah) .machine .ex"), "blah|1234@local .machine .ex");
        assert_eq!(shown(", ,a@b,,"), "a@b");
        assert_eq!(shown("j@[127.0.0.1]"), "j@[127.0.0.1]");
    }

    #[test]
    fn odd_syntax_is_shown_as_well_as_can_be() {
        assert_eq!(shown("\"\"@example.org"), "@example.org");
        assert_eq!(shown("<>"), "@");
        assert_eq!(shown("postmaster"), "postmaster@");
        assert_eq!(shown("\"a@b\"@c"), "a@b@c");
        assert_eq!(shown("a <b@c"), "a|b@c");
        assert_eq!(shown("x <a@b> junk, y@z"), "x|a@b y@z");
        assert_eq!(shown("> a@b"), "a@b");
        assert_eq!(shown(""), "");
    }

    #[test]
    fn a_flood_is_cut() {
        let mut budget = 2000;
        let addresses = parse_addresses("a@b,".repeat(500_000).as_bytes(), &mut budget);
        assert_eq!((addresses.len(), budget), (2000, 0));
        assert!(parse_addresses(b"a@b", &mut budget).is_empty());
    }
}
