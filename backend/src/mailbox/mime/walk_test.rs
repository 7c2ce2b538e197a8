//! Messages as they come, and messages as an enemy makes them.

use proptest::prelude::*;

use super::walk::{DEPTH_MAX, PARTS_MAX};
use super::*;

/// The structure on one line: type, body, children.
fn shown(message: &str, part: &Part) -> String {
    let body = message[part.body.range()].escape_default();
    match &part.content {
        Content::Leaf => format!("{}/{} {}L \"{body}\"", part.media_type, part.subtype, part.lines),
        Content::Multipart(parts) => {
            let parts: Vec<String> = parts.iter().map(|part| shown(message, part)).collect();
            format!("{} [{}]", part.subtype, parts.join(", "))
        }
        Content::Message(inner) => {
            let subject = inner.0.subject.clone().unwrap_or_default();
            format!("message {}L \"{subject}\" ({})", part.lines, shown(message, &inner.1))
        }
    }
}

fn structure(message: &str) -> String {
    shown(message, &summarise(message.as_bytes()).structure)
}

const ALTERNATIVE: &str = "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\n\
To: \"Smith, Bob\" <bob@example.net>, ann@example.net\r\n\
Date: Tue, 24 Nov 2026 10:00:00 +0100\r\n\
Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n and more\r\n\
Message-ID: <1@example.org>\r\n\
MIME-Version: 1.0\r\n\
Content-Type: multipart/alternative;\r\n\tboundary=\"=_b1\"\r\n\
\r\n\
This is a multi-part message in MIME format.\r\n\
--=_b1\r\n\
Content-Type: text/plain; charset=utf-8; format=flowed\r\n\
Content-Transfer-Encoding: 8bit\r\n\
\r\n\
Hello\r\nthere\r\n\
\r\n\
--=_b1 \r\n\
Content-Type: text/html\r\n\
Content-ID: <part2@example.org>\r\n\
Content-Disposition: inline; filename*0=a; filename*1=b.html\r\n\
Content-Language: de, en\r\n\
\r\n\
<p>Hello\r\n\
--=_b1--\r\n\
epilogue\r\n";

#[test]
fn an_everyday_message() {
    let summary = summarise(ALTERNATIVE.as_bytes());
    assert_eq!(
        shown(ALTERNATIVE, &summary.structure),
        "alternative [text/plain 2L \"Hello\\r\\nthere\\r\\n\", text/html 1L \"<p>Hello\"]"
    );
    let envelope = &summary.envelope;
    assert_eq!(envelope.subject, Some("=?utf-8?b?R3LDvMOfZQ==?= and more".into()));
    assert_eq!(envelope.message_id, Some("<1@example.org>".into()));
    assert_eq!((envelope.to.len(), envelope.sender_or_from()), (2, &envelope.from[..]));
    let Content::Multipart(parts) = &summary.structure.content else { panic!() };
    assert_eq!(parts[0].encoding, "8bit".into());
    assert_eq!(parts[1].id, Some("<part2@example.org>".into()));
    let disposition = parts[1].disposition.as_ref().unwrap();
    assert_eq!((&disposition.kind, &disposition.parameters[0].value), (&"inline".into(), &"ab.html".into()));
    assert_eq!(parts[1].languages, ["de".into(), "en".into()]);
    assert!(ALTERNATIVE[summary.header_len() as usize..].starts_with("This is a multi"));
}

#[test]
fn line_feeds_alone_end_lines_too() {
    let message = ALTERNATIVE.replace("\r\n", "\n");
    assert_eq!(structure(&message), "alternative [text/plain 2L \"Hello\\nthere\\n\", text/html 1L \"<p>Hello\"]");
}

#[test]
fn messages_lie_in_messages() {
    let message =
        "Content-Type: message/rfc822\n\nSubject: outer\nContent-Type: message/rfc822\n\nSubject: inner\n\nx\ny";
    assert_eq!(structure(message), "message 7L \"outer\" (message 4L \"inner\" (text/plain 2L \"x\\ny\"))");
}

#[test]
fn a_digest_holds_messages() {
    let message = "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: one\n\n1\n--d\nContent-Type: text/plain\n\n2\n--d--";
    assert_eq!(structure(message), "digest [message 3L \"one\" (text/plain 1L \"1\"), text/plain 1L \"2\"]");
}

#[test]
fn an_outer_delimiter_ends_all_that_is_inside() {
    let message = "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n\
        --b\n\nnever closed\n--a\n\nnext\n--a--\n";
    assert_eq!(structure(message), "mixed [mixed [text/plain 1L \"never closed\"], text/plain 1L \"next\"]");
}

#[test]
fn the_end_of_the_message_ends_everything() {
    let message =
        "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n\nSubject: x\n\nbody";
    assert_eq!(structure(message), "mixed [message 3L \"x\" (text/plain 1L \"body\")]");
}

#[test]
fn a_boundary_used_twice_is_the_inner_ones_first() {
    let message = "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=a\n\n\
        --a\n\nin\n--a--\n--a\n\nout\n--a--\n";
    assert_eq!(structure(message), "mixed [mixed [text/plain 1L \"in\"], text/plain 1L \"out\"]");
}

#[test]
fn a_body_does_not_have_the_line_end_of_its_delimiter() {
    let message = "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n\
        --i\r\n\r\n\r\n--i--\r\n--o\r\n--o\r\nX: y\r\n--o--\r\n";
    let summary = summarise(message.as_bytes());
    assert_eq!(structure(message), "mixed [mixed [text/plain 0L \"\"], text/plain 0L \"\", text/plain 0L \"\"]");
    let inner = summary.section(&[1], SectionKind::Whole).unwrap();
    assert_eq!(&message[inner.range()], "--i\r\n\r\n\r\n--i--");
    let cut_short = summary.section(&[3], SectionKind::Mime).unwrap();
    assert_eq!(&message[cut_short.range()], "X: y\r\n");
}

#[test]
fn what_is_broken_is_shown_as_text() {
    assert_eq!(structure(""), "text/plain 0L \"\"");
    assert_eq!(structure("Content-Type: nonsense\n\nx"), "text/plain 1L \"x\"");
    assert_eq!(structure("Content-Type: multipart/mixed\n\nx"), "text/plain 1L \"x\"");
    assert_eq!(structure("Content-Type: multipart/mixed; boundary=a\n\nx\n"), "text/plain 1L \"x\\n\"");
    assert_eq!(structure("Content-Type: multipart/mixed; boundary=\"\"\n\n--\n"), "text/plain 1L \"--\\n\"");
    let encoded = "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdA==\n";
    assert_eq!(structure(encoded), "application/octet-stream 1L \"U3ViamVjdA==\\n\"");
}

fn depth(part: &Part) -> usize {
    match &part.content {
        Content::Leaf => 0,
        Content::Multipart(parts) => 1 + parts.iter().map(depth).max().unwrap_or(0),
        Content::Message(inner) => 1 + depth(&inner.1),
    }
}

fn count(part: &Part) -> usize {
    match &part.content {
        Content::Leaf => 1,
        Content::Multipart(parts) => 1 + parts.iter().map(count).sum::<usize>(),
        Content::Message(inner) => 1 + count(&inner.1),
    }
}

/// Messages made to cost time, memory or stack; with `size` about so many bytes long.
fn bombs(size: usize) -> Vec<(&'static str, String)> {
    let nested: String =
        (0..size / 60).map(|level| format!("Content-Type: multipart/mixed; boundary={level}\n\n--{level}\n")).collect();
    let same: String = "Content-Type: multipart/mixed; boundary=b\n\n--b\n".repeat(size / 48);
    let many = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(size / 8));
    let prefix = "Content-Type: multipart/mixed; boundary=b\n\n--b\n".repeat(64);
    vec![
        ("nested multiparts", nested),
        ("nested multiparts of one boundary", same),
        ("nested messages", "Content-Type: message/rfc822\n\n".repeat(size / 30)),
        ("parts without end", many),
        ("header lines", "To: a@b\n".repeat(size / 8)),
        ("header lines in a part", format!("{prefix}{}", "X: y\n".repeat(size / 5))),
        ("one endless header", format!("To: {}", "a@b,\n ".repeat(size / 6))),
        ("parameters", format!("Content-Type: a/b{}", "; x*0*=y".repeat(size / 8))),
        ("comments", format!("From: {}", "(".repeat(size))),
        ("quotes", format!("From: {}", "\"\\".repeat(size / 2))),
        ("encoded words", format!("Subject: {}", "=?a?q?".repeat(size / 6))),
        ("dashes", format!("{prefix}{}", "--\n".repeat(size / 3))),
        ("almost delimiters", format!("{prefix}{}", "--c\n".repeat(size / 4))),
        ("delimiters of an outer part", format!("{prefix}{}", "--b--\n".repeat(size / 6))),
        ("line feeds", format!("{prefix}\n{}", "\n".repeat(size))),
        ("one line", format!("{prefix}\n--{}", "b".repeat(size))),
    ]
}

#[test]
fn bombs_are_cut_at_the_limits() {
    for (what, message) in bombs(600_000) {
        let summary = summarise(message.as_bytes());
        assert!(depth(&summary.structure) <= DEPTH_MAX, "{what}");
        assert!(count(&summary.structure) <= PARTS_MAX, "{what}");
        assert!(summary.encode().len() < message.len() + 1024, "{what}");
        assert_eq!(Summary::decode(&summary.encode()).as_ref(), Ok(&summary), "{what}");
        assert_eq!(summary.structure.body.end as usize, message.len(), "{what}");
    }
}

/// Run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn measure_bombs() {
    for (what, message) in bombs(50_000_000) {
        let start = std::time::Instant::now();
        let summary = summarise(message.as_bytes());
        println!("{what:40} {:6} parts {:8.1} ms", count(&summary.structure), start.elapsed().as_secs_f64() * 1e3);
    }
}

/// Offsets lie within what contains them, in order.
fn check_spans(part: &Part, within: Span) {
    assert!(within.start <= part.header.start && part.header.start <= part.header.end);
    assert!(part.header.end == part.body.start && part.body.start <= part.body.end && part.body.end <= within.end);
    match &part.content {
        Content::Leaf => {}
        Content::Multipart(parts) => {
            assert!(!parts.is_empty());
            parts.iter().for_each(|child| check_spans(child, part.body));
            assert!(parts.is_sorted_by(|one, next| one.body.end <= next.header.start));
        }
        Content::Message(inner) => check_spans(&inner.1, part.body),
    }
}

/// A message to be put together.
#[derive(Debug, Clone)]
enum Tree {
    Text(Vec<String>),
    Multipart(Vec<Tree>),
    Message(Box<Tree>),
}

fn trees() -> impl Strategy<Value = Tree> {
    let line = "[ -~]{0,20}|--|--[0-9]{1,3}|--x--";
    let text = prop::collection::vec(line, 0..4).prop_map(Tree::Text);
    text.prop_recursive(5, 30, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Tree::Multipart),
            inner.prop_map(|tree| Tree::Message(Box::new(tree))),
        ]
    })
}

/// Writes a tree as an entity, and what is to be found in it.
fn compose(tree: &Tree, next_boundary: &mut u32) -> (String, String) {
    match tree {
        Tree::Text(lines) => {
            let body = lines.join("\r\n");
            let count = body.matches('\n').count() + usize::from(!body.is_empty() && !body.ends_with('\n'));
            let expected = format!("text/plain {count}L \"{}\"", body.escape_default());
            (format!("Content-Type: text/plain\r\n\r\n{body}"), expected)
        }
        Tree::Multipart(children) => {
            let boundary = format!("=_{next_boundary}");
            *next_boundary += 1;
            let mut text = format!("Content-Type: multipart/mixed;\r\n boundary=\"{boundary}\"\r\n\r\npreamble");
            let mut expected = Vec::new();
            for child in children {
                let (entity, found) = compose(child, next_boundary);
                text.push_str(&format!("\r\n--{boundary}\r\n{entity}"));
                expected.push(found);
            }
            text.push_str(&format!("\r\n--{boundary}--\r\nepilogue"));
            (text, format!("mixed [{}]", expected.join(", ")))
        }
        Tree::Message(inner) => {
            let (entity, found) = compose(inner, next_boundary);
            let count = entity.matches('\n').count() + 1 + usize::from(!entity.ends_with('\n'));
            let text = format!("Content-Type: message/rfc822\r\n\r\nSubject: s\r\n{entity}");
            (text, format!("message {count}L \"s\" ({found})"))
        }
    }
}

fn check(message: &[u8]) {
    let summary = summarise(message);
    check_spans(&summary.structure, Span { start: 0, end: message.len() as u32 });
    assert_eq!(Summary::decode(&summary.encode()).as_ref(), Ok(&summary));
}

const SCRAPS: [&str; 22] = [
    "Content-Type: multipart/mixed; boundary=a",
    "Content-Type: multipart/digest; boundary=\"b\"",
    "Content-Type: message/rfc822",
    "Content-Type: text/plain",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "--a",
    "--b",
    "--a--",
    "--b--",
    "--ab",
    "To: x@y, g: h@i;",
    "Subject: ",
    " ",
    "x",
    "\0",
    "(",
    "\"",
    "=?utf-8?q?x?=",
    "From: \"\"@z <",
    "\n\n",
];

proptest! {
    #[test]
    fn what_was_put_together_is_found_again(tree in trees()) {
        let (message, expected) = compose(&tree, &mut 0);
        prop_assert_eq!(structure(&message), expected);
        check(message.as_bytes());
    }

    #[test]
    fn any_bytes_are_a_message(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }

    #[test]
    fn any_scraps_are_a_message(scraps in prop::collection::vec(prop::sample::select(&SCRAPS[..]), 0..60)) {
        check(scraps.concat().as_bytes());
    }

    #[test]
    fn damaged_messages_are_messages(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = ALTERNATIVE.as_bytes().to_vec();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()));
        check(&bytes);
    }

    #[test]
    fn damaged_summaries_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = summarise(ALTERNATIVE.as_bytes()).encode();
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(summary) = Summary::decode(&bytes) {
            let _ = summary.section(&[1], SectionKind::Whole);
        }
    }
}
