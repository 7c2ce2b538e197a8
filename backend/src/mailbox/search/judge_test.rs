//! Criteria on whole messages, read piece by piece as a driver would.

use proptest::prelude::*;

use super::*;
use crate::mailbox::date::{InternalDate, Timestamp, day_number};
use crate::mailbox::flags::{Flag, Flags};
use crate::mailbox::message::{BodyRecord, Message};
use crate::mailbox::uid::{EmailId, ModSeq, Uid};
use crate::mailbox::uid_set::UidSet;
use crate::store::BodyRef;

const MESSAGE: &str = "From: =?iso-8859-1?Q?J=FCrgen_M=FCller?= <juergen@example.org>\r\n\
To: team: ann@example.net, \"Bob\" <bob@example.net>;\r\n\
Cc: carol@example.com\r\n\
Subject: =?utf-8?b?R3LDvMOfZSBhdXM=?=\r\n =?utf-8?q?_K=C3=B6ln?=\r\n\
Date: Tue, 24 Nov 2026 23:30:00 -0500\r\n\
X-Spam: no\r\n\
List-ID:\r\n\
MIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=b\r\n\
\r\n\
preamble\r\n\
--b\r\n\
Content-Type: text/plain; charset=iso-8859-15\r\n\
Content-Transfer-Encoding: quoted-printable\r\n\
\r\n\
Das kostet 5=A4, sch=\r\n\
=F6n!\r\n\
--b\r\n\
Content-Type: text/html; charset=utf-8\r\n\
Content-Transfer-Encoding: base64\r\n\
\r\n\
PHA+TmHDr3ZlPC9wPg==\r\n\
--b\r\n\
Content-Type: application/octet-stream\r\n\
\r\n\
hidden\r\n\
--b\r\n\
Content-Type: message/rfc822\r\n\
\r\n\
Subject: =?utf-8?q?forwarded?=\r\n\
\r\n\
inner text\r\n\
--b--\r\n";

fn message(record: &BodyRecord) -> Message {
    let length = record.bytes().len() as u32;
    Message {
        uid: Uid::new(7).unwrap(),
        size: record.size(),
        modseq: ModSeq(40),
        flags: ["\\Seen", "$Junk"].iter().map(|word| Flag::parse(word).unwrap()).collect::<Flags>(),
        internal_date: InternalDate { at: Timestamp(1_795_500_000), offset_minutes: 60 },
        saved: Timestamp(1_795_600_000),
        email_id: EmailId::new(1),
        body: BodyRef::Inline { generation: 0, offset: 0, length },
        summary_len: record.summary_len(),
    }
}

/// Judges a message, reading what is asked for; also says how often that was.
fn judged(raw: &str, criterion: &Criterion) -> (bool, usize) {
    let record = BodyRecord::new(raw.as_bytes()).unwrap();
    let message = message(&record);
    let subject = Subject { message: &message, is_recent: false, now: Timestamp(1_795_500_100) };
    let mut read = 0;
    for round in 0..4 {
        match criterion.judge(&subject, &record.bytes()[..read]) {
            Outcome::Matches => return (true, round),
            Outcome::Differs => return (false, round),
            Outcome::Needs(range) => {
                assert!(range.start == 0 && range.end as usize > read, "asks for what there is");
                read = range.end as usize;
            }
        }
    }
    panic!("asks for ever");
}

fn matches(criterion: &Criterion) -> bool {
    judged(MESSAGE, criterion).0
}

fn envelope(field: EnvelopeField, text: &str) -> Criterion {
    Criterion::Envelope(field, Needle::new(text))
}

fn header(name: &str, text: &str) -> Criterion {
    Criterion::Header(name.to_owned(), Needle::new(text))
}

fn body(text: &str) -> Criterion {
    Criterion::Body(Needle::new(text))
}

fn text(words: &str) -> Criterion {
    Criterion::Text(Needle::new(words))
}

#[test]
fn the_index_answers_without_reading() {
    let received = day_number(2026, 11, 24).unwrap();
    for (criterion, expected) in [
        (Criterion::All, true),
        (Criterion::Uids(UidSet::from(Uid::new(7).unwrap())), true),
        (Criterion::Uids(UidSet::new()), false),
        (Criterion::Flag(Flag::parse("\\seen").unwrap()), true),
        (Criterion::Flag(Flag::parse("$JUNK").unwrap()), true),
        (Criterion::Flag(Flag::parse("\\Draft").unwrap()), false),
        (Criterion::Recent, false),
        (Criterion::On(received), true),
        (Criterion::Before(received), false),
        (Criterion::Since(received), true),
        (Criterion::SavedOn(received + 1), true),
        (Criterion::SavedBefore(received), false),
        (Criterion::SavedSince(received), true),
        (Criterion::Older(99), true),
        (Criterion::Younger(99), false),
        (Criterion::Younger(100), true),
        (Criterion::Larger(100), true),
        (Criterion::Smaller(100), false),
        (Criterion::ModSeq(ModSeq(40)), true),
        (Criterion::ModSeq(ModSeq(41)), false),
        (Criterion::EmailId(EmailId::new(1)), true),
        (Criterion::All.negated(), false),
    ] {
        assert_eq!(judged(MESSAGE, &criterion), (expected, 0), "{criterion:?}");
    }
}

#[test]
fn the_summary_answers_for_the_envelope() {
    let sent = day_number(2026, 11, 24).unwrap();
    for (criterion, expected) in [
        (envelope(EnvelopeField::From, "j\u{fc}rgen m"), true),
        (envelope(EnvelopeField::From, "JUERGEN@EXAMPLE.ORG"), true),
        (envelope(EnvelopeField::To, "team"), true),
        (envelope(EnvelopeField::To, "bob <bob@"), true),
        (envelope(EnvelopeField::To, "carol"), false),
        (envelope(EnvelopeField::Cc, "carol"), true),
        (envelope(EnvelopeField::Bcc, ""), true),
        (envelope(EnvelopeField::Subject, "GR\u{dc}SSE AUS K\u{d6}LN"), true),
        (Criterion::SentOn(sent), true),
        (Criterion::SentBefore(sent), false),
        (Criterion::SentSince(sent + 1), false),
    ] {
        assert_eq!(judged(MESSAGE, &criterion), (expected, 1), "{criterion:?}");
    }
}

#[test]
fn header_fields_are_looked_up_by_name() {
    assert!(matches(&header("x-spam", "NO")) && !matches(&header("X-Spam", "yes")));
    assert!(matches(&header("list-id", "")) && !matches(&header("X-None", "")));
    assert!(matches(&header("subject", "gr\u{fc}\u{df}e")));
}

#[test]
fn bodies_are_searched_decoded() {
    assert!(matches(&body("5\u{20ac}, SCH\u{d6}N")) && matches(&body("na\u{ef}ve")));
    assert!(matches(&body("forwarded")) && matches(&body("inner text")));
    assert!(!matches(&body("hidden")) && !matches(&body("x-spam")) && !matches(&body("kostet 5=A4")));
    assert!(matches(&text("x-spam: no")) && matches(&text("k\u{f6}ln")) && matches(&text("inner")));
    assert!(matches(&text("subject: gr\u{fc}sse aus k\u{f6}ln")) && !matches(&text("no list-id")));
    assert!(matches(&text("")) && matches(&body("")));
}

#[test]
fn text_does_not_run_over_from_one_part_into_the_next() {
    assert!(!matches(&body("n!<p>")) && !matches(&body("n!\r\n<p>")));
}

#[test]
fn what_is_cheap_to_know_is_asked_first() {
    let all = Criterion::And(vec![body("5"), Criterion::Recent]);
    assert_eq!(judged(MESSAGE, &all), (false, 0));
    let either = Criterion::Or(Box::new((body("absent"), Criterion::All)));
    assert_eq!(judged(MESSAGE, &either), (true, 0));
    let all = Criterion::And(vec![body("5"), envelope(EnvelopeField::To, "nobody")]);
    assert_eq!(judged(MESSAGE, &all), (false, 1));
    let long = format!("X: {}\r\n{MESSAGE}", "y".repeat(100_000));
    assert_eq!(judged(&long, &header("x-spam", "no")), (true, 2));
}

#[test]
fn a_summary_that_cannot_be_read_is_made_again() {
    let record = BodyRecord::new(MESSAGE.as_bytes()).unwrap();
    let message = message(&record);
    let subject = Subject { message: &message, is_recent: false, now: Timestamp(0) };
    let mut damaged = record.bytes().to_vec();
    damaged[0] ^= 0xff;
    assert_eq!(body("naive").judge(&subject, &damaged), Outcome::Differs);
    assert_eq!(body("inner text").judge(&subject, &damaged), Outcome::Matches);
}

#[test]
fn a_message_without_a_date_was_sent_on_no_day() {
    for criterion in [Criterion::SentBefore(i64::MAX), Criterion::SentSince(i64::MIN)] {
        assert!(!judged("Subject: x\r\n\r\n", &criterion).0);
        assert!(!judged("Date: whenever\r\n\r\n", &criterion).0);
    }
}

fn criteria() -> impl Strategy<Value = Criterion> {
    let leaf = prop_oneof![
        Just(Criterion::All),
        Just(Criterion::Recent),
        "[a-z]{0,2}".prop_map(|words| body(&words)),
        "[a-z]{0,2}".prop_map(|words| text(&words)),
        "[a-z]{0,2}".prop_map(|words| header("subject", &words)),
        "[a-z]{0,2}".prop_map(|words| envelope(EnvelopeField::Subject, &words)),
        any::<i64>().prop_map(Criterion::SentBefore),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(Criterion::negated),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Criterion::And),
            (inner.clone(), inner).prop_map(|either| Criterion::Or(Box::new(either))),
        ]
    })
}

proptest! {
    #[test]
    fn reading_piece_by_piece_finds_the_same(criterion in criteria(), tail in "[a-z \r\n:]{0,40}") {
        let raw = format!("Subject: {tail}\r\n\r\n{tail}");
        let record = BodyRecord::new(raw.as_bytes()).unwrap();
        let message = message(&record);
        let subject = Subject { message: &message, is_recent: false, now: Timestamp(1_795_500_100) };
        let at_once = criterion.judge(&subject, record.bytes());
        let (matches, rounds) = judged(&raw, &criterion);
        prop_assert_eq!(at_once, if matches { Outcome::Matches } else { Outcome::Differs });
        prop_assert!(rounds <= 3);
    }

    #[test]
    fn any_bytes_can_be_judged(bytes in prop::collection::vec(any::<u8>(), 0..300), criterion in criteria()) {
        let record = BodyRecord::new(MESSAGE.as_bytes()).unwrap();
        let mut message = message(&record);
        let length = bytes.len() as u32;
        message.summary_len = record.summary_len().min(length);
        message.size = length - message.summary_len;
        message.body = BodyRef::Inline { generation: 0, offset: 0, length };
        let subject = Subject { message: &message, is_recent: false, now: Timestamp(0) };
        prop_assert!(!matches!(criterion.judge(&subject, &bytes), Outcome::Needs(_)));
    }
}
