use proptest::prelude::*;

use super::*;
use crate::mailbox::{FlagChange, SystemFlag};
use crate::wire::imap::sequence::Bound;

fn parse_line(line: &str) -> Parsed<Command> {
    parse_with(line, &[])
}

fn parse_with(line: &str, literals: &[&'static str]) -> Parsed<Command> {
    let literals = literals.iter().map(|literal| Bytes::from_static(literal.as_bytes())).collect();
    let raw = Raw { text: format!("A {line}").into_bytes(), literals };
    parse(&raw).map(|tagged| tagged.command).map_err(|error| error.bad)
}

fn number(number: u32) -> SequenceSet {
    SequenceSet { ranges: vec![(Bound::Number(number), Bound::Number(number))], saved: false }
}

#[test]
fn every_command_is_known_in_any_case() {
    let lines = [
        "CAPABILITY",
        "noop",
        "Logout",
        "ID NIL",
        "ID (\"name\" \"x\" \"version\" NIL)",
        "ENABLE CONDSTORE X-FOO",
        "NAMESPACE",
        "SELECT INBOX",
        "SELECT INBOX (CONDSTORE)",
        "EXAMINE \"a b\"",
        "CREATE a",
        "CREATE a (USE (\\Sent \\Drafts))",
        "DELETE a",
        "RENAME a b",
        "SUBSCRIBE a",
        "UNSUBSCRIBE a",
        "LIST \"\" *",
        "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"a%\" b*) RETURN (CHILDREN STATUS (MESSAGES UNSEEN) SPECIAL-USE)",
        "LIST () \"\" %",
        "LSUB \"\" \"%\"",
        "STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN SIZE HIGHESTMODSEQ DELETED)",
        "IDLE",
        "CHECK",
        "CLOSE",
        "UNSELECT",
        "EXPUNGE",
        "UID EXPUNGE 1:3",
        "SEARCH ALL",
        "SEARCH RETURN (SAVE) OR $ 1:2 SAVEDSINCE 1-Jan-2020 SAVEDATESUPPORTED",
        "UID COPY $ Sent",
        "GETQUOTA \"\"",
        "GETQUOTAROOT INBOX",
        "uid search 1:* uid 5 (seen or from a to b)",
        "SEARCH RETURN (MIN COUNT) CHARSET utf-8 TEXT foo",
        "FETCH 1 ALL",
        "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345)",
        "FETCH 1 (BODY.PEEK[HEADER.FIELDS (From \"To\")] BODY[1.2.MIME]<0.100> RFC822.SIZE)",
        "STORE 1 +FLAGS (\\Deleted)",
        "STORE 1 (UNCHANGEDSINCE 5) FLAGS.SILENT \\Seen $Forwarded",
        "UID STORE 1:* -flags.silent ()",
        "COPY 1,2 Sent",
        "UID COPY 1 Sent",
        "MOVE 1 Trash",
        "UID MOVE * Trash",
    ];
    for line in lines {
        assert!(parse_line(line).is_ok(), "{line}: {:?}", parse_line(line));
    }
}

#[test]
fn what_is_no_command_is_refused() {
    let deep = format!("SEARCH {}ALL{}", "(".repeat(17), ")".repeat(17));
    let nots = format!("SEARCH {}ALL", "NOT ".repeat(300));
    let many = format!("SEARCH {}", vec!["ALL"; 300].join(" "));
    let parentheses = "(".repeat(1 << 20);
    let lines = [
        "",
        "FOO",
        "NOOP ",
        "NOOP x",
        "UID",
        "UID NOOP",
        "LOGIN a b",
        "AUTHENTICATE PLAIN",
        "STARTTLS",
        "SELECT",
        "SELECT a b",
        "SELECT a (FOO)",
        "SELECT \"a",
        "SELECT \"a\\x\"",
        "SELECT a(b",
        "SELECT {5}",
        "FETCH 1",
        "FETCH 0 FLAGS",
        "FETCH 1 (FLAGS",
        "FETCH 1 ()",
        "FETCH 1 BODY[",
        "FETCH 1 BODY[1.]",
        "FETCH 1 BODY[MIME]",
        "FETCH 1 BODY[0]",
        "FETCH 1 BODY[HEADER.FIELDS ()]",
        "FETCH 1 BODY[]<0.0>",
        "FETCH 1 BODY[]<0>",
        "STORE 1 FLAGS (\\Recent)",
        "STORE 1 +FLAGS",
        "STORE 1 (UNCHANGEDSINCE -1) FLAGS ()",
        "SEARCH",
        "SEARCH ()",
        "SEARCH OR ALL",
        "SEARCH SINCE 32-Jan-2020",
        "SEARCH LARGER 4294967296",
        "LIST \"\"",
        "LIST (RECURSIVEMATCH) \"\" *",
        "STATUS INBOX",
        "STATUS INBOX ()",
        "APPEND INBOX \"text\"",
        "ENABLE",
        "ID",
        &deep,
        &nots,
        &many,
        &parentheses,
        &format!("SEARCH {parentheses}"),
        &format!("FETCH 1 {parentheses}"),
    ];
    for line in lines {
        assert!(parse_line(line).is_err(), "{}", line.chars().take(80).collect::<String>());
    }
}

#[test]
fn a_command_without_a_tag_has_none_to_answer_to() {
    for text in ["", " NOOP", "+ NOOP", "* NOOP", "a\"b NOOP", "\0 NOOP"] {
        let raw = Raw { text: text.as_bytes().to_vec(), literals: Vec::new() };
        assert_eq!(parse(&raw).unwrap_err().tag, None, "{text}");
    }
    let raw = Raw { text: b"A".to_vec(), literals: Vec::new() };
    assert_eq!(parse(&raw).unwrap_err().tag.as_deref(), Some("A"));
}

#[test]
fn macros_are_spelt_out_and_uid_fetch_adds_the_uid() {
    let Ok(Command::Fetch(fetch)) = parse_line("UID FETCH 7 FAST") else { panic!() };
    use FetchItem::{Flags, InternalDate, Size, Uid};
    assert_eq!(fetch.items, [Uid, Flags, InternalDate, Size]);
    assert_eq!(fetch.set, number(7));
}

#[test]
fn sections_are_taken_apart() {
    let Ok(Command::Fetch(fetch)) = parse_line("FETCH 1 BODY.PEEK[4.2.HEADER.FIELDS.NOT (Date)]<5.10>") else {
        panic!()
    };
    let section = Section {
        label: Label::Body,
        part: vec![4, 2],
        text: SectionText::HeaderFieldsNot(vec![Bytes::from_static(b"Date")]),
        partial: Some(Partial { offset: 5, length: 10 }),
        peek: true,
    };
    assert_eq!(fetch.items, [FetchItem::Section(section)]);
}

#[test]
fn a_literal_stands_wherever_a_string_may() {
    let command = parse_with("SEARCH SUBJECT {3}\r\n BODY {1+}\r\n", &["foo", "x"]);
    let Ok(Command::Search(search)) = command else { panic!("{command:?}") };
    let subject = SearchKey::Header { name: Bytes::from_static(b"SUBJECT"), text: Bytes::from_static(b"foo") };
    assert_eq!(search.keys, [subject, SearchKey::Body(Bytes::from_static(b"x"))]);
}

#[test]
fn append_takes_flags_and_a_date_before_each_message() {
    let line = "APPEND INBOX (\\Seen) \" 7-Feb-1994 21:52:25 -0800\" {3}\r\n {1+}\r\n";
    let command = parse_with(line, &["foo", "x"]);
    let Ok(Command::Append(append)) = command else { panic!("{command:?}") };
    assert_eq!(append.messages.len(), 2);
    assert_eq!(append.messages[0].flags, SystemFlag::Seen.into());
    assert_eq!(append.messages[0].date.map(|date| date.offset_minutes), Some(-480));
    assert_eq!(append.messages[1].content, "x");
}

#[test]
fn store_says_what_becomes_of_the_flags() {
    let Ok(Command::Store(store)) = parse_line("STORE 1 (UNCHANGEDSINCE 0) -FLAGS.SILENT (\\Seen)") else { panic!() };
    assert_eq!(store.change, FlagChange::Remove(SystemFlag::Seen.into()));
    assert_eq!(store.mode, StoreMode::Silent);
    assert_eq!(store.unchanged_since, Some(0));
}

#[test]
fn a_long_chain_of_ors_is_no_attack() {
    let line = format!("SEARCH {}ALL", "OR FROM a ".repeat(60));
    assert!(parse_line(&line).is_ok());
}

proptest! {
    #[test]
    fn no_words_make_the_parser_panic(words in prop::collection::vec(word(), 0..20)) {
        let _ = parse_line(&words.join(" "));
    }
}

/// The words of the grammar, in any order.
fn word() -> impl Strategy<Value = String> {
    let words = [
        "FETCH",
        "UID",
        "SEARCH",
        "STORE",
        "LIST",
        "STATUS",
        "APPEND",
        "SELECT",
        "1:*",
        "(",
        ")",
        "((",
        "FLAGS",
        "+FLAGS",
        "BODY[",
        "BODY[1.2",
        "]<1.2>",
        "HEADER.FIELDS",
        "RETURN",
        "NOT",
        "OR",
        "SINCE",
        "1-Jan-2020",
        "\"",
        "\\",
        "\\Seen",
        "{5}\r\n",
        "NIL",
        "\"a b\"",
        "*",
        "%",
        "CHARSET",
        "MODSEQ",
        "(CHANGEDSINCE",
        "5)",
        "ENVELOPE",
        "é",
        "\0",
    ];
    prop_oneof![prop::sample::select(words.to_vec()).prop_map(str::to_owned), ".{0,6}"]
}
