use proptest::prelude::*;

use super::*;

const MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// Everything a reader makes of `input` that comes in pieces of the sizes given, over and over.
fn events(input: &[u8], sizes: &[usize]) -> Vec<Event> {
    let mut reader = Reader::new(MESSAGE_BYTES_MAX, Vec::new());
    let mut found = Vec::new();
    let mut rest = input;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
        let (piece, after) = rest.split_at(size);
        reader.feed(piece);
        while let Some(event) = reader.command() {
            let over = matches!(event, Event::Fatal(_));
            found.push(event);
            if over {
                return found;
            }
        }
        rest = after;
    }
    found
}

fn whole(input: impl AsRef<[u8]>) -> Vec<Event> {
    events(input.as_ref(), &[])
}

fn command(text: &[u8], literals: &[&[u8]]) -> Event {
    Event::Command(Raw {
        text: text.to_vec(),
        literals: literals.iter().map(|literal| Bytes::copy_from_slice(literal)).collect(),
    })
}

fn refused(tag: &str, why: Refusal) -> Event {
    Event::Refused { tag: Some(tag.to_owned()), why }
}

#[test]
fn lines_become_commands() {
    assert_eq!(whole("A NOOP\r\nB NOOP\r\n"), [command(b"A NOOP", &[]), command(b"B NOOP", &[])]);
}

#[test]
fn a_synchronising_literal_is_asked_for_and_kept_beside_its_line() {
    assert_eq!(
        whole("A SELECT {3}\r\na\r\n\r\nB NOOP\r\n"),
        [Event::Continue, command(b"A SELECT {3}\r\n", &[b"a\r\n"]), command(b"B NOOP", &[])]
    );
}

#[test]
fn a_non_synchronising_literal_is_taken_unasked() {
    assert_eq!(whole("A RENAME {1+}\r\na {0+}\r\n\r\n"), [command(b"A RENAME {1+}\r\n {0+}\r\n", &[b"a", b""])]);
}

#[test]
fn a_bare_line_feed_spoils_its_command_and_no_other() {
    assert_eq!(whole("A NOOP\nB NOOP\r\n"), [refused("A", Refusal::BareLineFeed), command(b"B NOOP", &[])]);
}

#[test]
fn an_oversized_synchronising_literal_is_refused_before_it_comes() {
    for number in ["65537", "2147483647", "4294967296", "99999999999999999999999"] {
        assert_eq!(
            whole(format!("A SELECT {{{number}}}\r\nB NOOP\r\n")),
            [refused("A", Refusal::LiteralTooLarge), command(b"B NOOP", &[])]
        );
    }
}

#[test]
fn an_oversized_non_synchronising_literal_is_thrown_away() {
    let input = format!("A SELECT {{65537+}}\r\n{}\r\nB NOOP\r\n", "x\r\n".repeat(21_845) + "xx");
    assert_eq!(whole(input), [refused("A", Refusal::LiteralTooLarge), command(b"B NOOP", &[])]);
}

#[test]
fn a_non_synchronising_literal_beyond_all_bounds_ends_the_connection() {
    assert_eq!(whole("A SELECT {4294967296+}\r\n"), [Event::Fatal(Refusal::LiteralTooLarge)]);
}

#[test]
fn only_the_message_of_an_append_may_be_large() {
    let input = "A append {5}\r\nINBOX (\\Seen) {70000}\r\n";
    assert_eq!(whole(input), [Event::Continue, Event::Continue]);
    assert_eq!(whole("A APPEND INBOX {70000}\r\n"), [Event::Continue]);
    assert_eq!(whole("A APPEND {70000}\r\n"), [refused("A", Refusal::LiteralTooLarge)]);
    assert_eq!(whole("A APPEND INBOX {1048577}\r\n"), [refused("A", Refusal::MessageTooLarge)]);
}

#[test]
fn several_messages_of_one_append_share_the_limit() {
    let input = format!("A APPEND INBOX {{600000+}}\r\n{} {{600000}}\r\n", "x".repeat(600_000));
    assert_eq!(whole(input), [refused("A", Refusal::MessageTooLarge)]);
}

#[test]
fn a_line_over_the_limit_ends_the_connection() {
    let mut reader = Reader::new(MESSAGE_BYTES_MAX, Vec::new());
    for _ in 0..64 {
        assert_eq!(reader.command(), None);
        reader.feed(&[b'x'; 1024]);
    }
    reader.feed(b"x");
    assert_eq!(reader.command(), Some(Event::Fatal(Refusal::LineTooLong)));
    reader.feed(&[b'x'; 1024]);
    assert_eq!(reader.buffered(), 0);
}

#[test]
fn the_lines_between_literals_count_together() {
    let input = format!("A SEARCH {}", format!("{}{{0+}}\r\n", "x".repeat(1000)).repeat(70));
    assert_eq!(whole(input), [Event::Fatal(Refusal::LineTooLong)]);
}

#[test]
fn a_million_empty_literals_cost_no_memory() {
    let input = format!("A NOOP {}\r\nB NOOP\r\n", "{0+}\r\n ".repeat(1_000_000));
    assert_eq!(events(input.as_bytes(), &[4096]), [refused("A", Refusal::TooManyLiterals), command(b"B NOOP", &[])]);
}

#[test]
fn literals_that_are_announced_and_never_come_cost_no_memory() {
    let mut reader = Reader::new(MESSAGE_BYTES_MAX, Vec::new());
    reader.feed(b"A APPEND INBOX {1048576}\r\n");
    assert_eq!(reader.command(), Some(Event::Continue));
    assert_eq!(reader.command(), None);
    assert_eq!(reader.buffered(), 0);
}

#[test]
fn what_is_no_marker_is_text() {
    for line in ["A {}", "A {+}", "A {-1}", "A {1+ }", "A {a}", "A 5}", "A {5} "] {
        assert_eq!(whole(format!("{line}\r\n")), [command(line.as_bytes(), &[])]);
    }
}

#[test]
fn done_is_read_as_a_line() {
    let mut reader = Reader::new(MESSAGE_BYTES_MAX, b"DONE {5}\r\nA NOOP\r\n".to_vec());
    assert_eq!(reader.line(), Some(Ok(Bytes::from_static(b"DONE {5}"))));
    assert_eq!(reader.command(), Some(command(b"A NOOP", &[])));
}

/// Something a client might send, right or wrong.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"A APPEND a ".to_vec()),
        Just(b"{70000+}\r\n".to_vec()),
        (0usize..40).prop_map(|n| format!("A1 SELECT {{{n}}}\r\n{}", "y".repeat(n)).into_bytes()),
        (0usize..40).prop_map(|n| format!(" {{{n}+}}\r\n{}", "\n".repeat(n)).into_bytes()),
        prop::collection::vec(any::<u8>(), 0..20),
        "[a-zA-Z0-9 (){}%*\"\\\\\\[\\].+-]{0,20}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn commands_do_not_depend_on_how_the_bytes_are_cut(
        pieces in prop::collection::vec(piece(), 0..30),
        sizes in prop::collection::vec(1usize..30, 1..10),
    ) {
        let input = pieces.concat();
        prop_assert_eq!(whole(&input), events(&input, &sizes));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(pieces in prop::collection::vec(piece(), 0..30)) {
        crate::wire::imap::fuzz_commands(&pieces.concat());
    }
}
