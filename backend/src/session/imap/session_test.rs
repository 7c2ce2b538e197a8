//! What dialogues cannot show: bounds, faults, deadlines, and agreement with a model of a client.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;

use super::dialogue_test::World;
use super::outbox::SLICE_BYTES;
use super::*;
use crate::mailbox::MailboxName;
use crate::session::BodyFault;

/// A session whose driver does only what it is told.
struct Bench {
    world: World,
    session: ImapSession,
}

impl Bench {
    fn new(world: World) -> Bench {
        let account = Arc::clone(&world.account);
        let session = ImapSession::new(Instant::now(), account, &SessionSettings::default(), Vec::new());
        Bench { world, session }
    }

    fn with_messages(messages: &[&[u8]]) -> Bench {
        let mut world = World::default();
        for message in messages {
            world.add("INBOX", message);
        }
        Bench::new(world)
    }

    fn tell(&mut self, input: Input<'_>) {
        self.session.handle(Instant::now(), input);
    }

    fn say(&mut self, line: &str) {
        self.tell(Input::Bytes(format!("{line}\r\n").as_bytes()));
    }

    /// Everything the session does until it waits, with no question answered.
    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.session.poll()).collect()
    }

    /// What the session says until it waits for the client, with every question answered.
    fn run(&mut self) -> String {
        let mut said = Vec::new();
        while let Some(output) = self.session.poll() {
            match output {
                Output::Write(bytes) => said.extend_from_slice(&bytes),
                Output::Close => said.extend_from_slice(b"(close)"),
                other => self.answer(other),
            }
        }
        String::from_utf8(said).unwrap()
    }

    fn answer(&mut self, question: Output) {
        match question {
            Output::Permit => self.tell(Input::Permitted),
            Output::Read { body, range } => {
                let body = self.world.read(body, range);
                self.tell(Input::Body(body));
            }
            Output::Ask(request) => {
                let reply = self.world.perform(request);
                self.tell(Input::State(Arc::clone(&self.world.account)));
                self.tell(Input::Reply(reply));
            }
            Output::Write(_) | Output::Close => {}
        }
    }

    fn command(&mut self, line: &str) -> String {
        self.say(line);
        self.run()
    }

    /// Another session's doing, published but not told to ours.
    fn elsewhere(&mut self, line: &str) {
        let world = std::mem::take(&mut self.world);
        let mut other = Bench::new(world);
        other.command("x SELECT INBOX");
        other.command(line);
        self.world = other.world;
        self.tell(Input::State(Arc::clone(&self.world.account)));
    }
}

fn written(outputs: &[Output]) -> usize {
    let length = |output: &Output| match output {
        Output::Write(bytes) => bytes.len(),
        _ => 0,
    };
    outputs.iter().map(length).sum()
}

#[test]
fn the_reply_to_select_waits_for_the_permit() {
    let mut bench = Bench::with_messages(&[]);
    bench.say("a SELECT INBOX");
    assert!(matches!(bench.outputs().as_slice(), [Output::Permit]));
    bench.tell(Input::Permitted);
    assert!(bench.run().ends_with("a OK [READ-WRITE] SELECT completed\r\n"));
    bench.say("b STATUS Sent (MESSAGES)");
    assert!(matches!(bench.outputs().as_slice(), [Output::Permit]));
}

#[test]
fn what_happens_while_the_permit_is_out_is_told_afterwards() {
    let mut bench = Bench::with_messages(&[b"one"]);
    bench.command("a EXAMINE INBOX");
    bench.say("b EXAMINE INBOX");
    let questions = bench.outputs();
    assert!(matches!(questions.first(), Some(Output::Permit)), "{questions:?}");
    bench.world.add("INBOX", b"two");
    bench.tell(Input::State(Arc::clone(&bench.world.account)));
    bench.tell(Input::Permitted);
    assert!(bench.run().contains("* 1 EXISTS"));
    assert!(bench.command("c NOOP").starts_with("* 2 EXISTS"));
}

#[test]
fn a_burst_that_nobody_saw_is_told_whole() {
    let mut bench = Bench::with_messages(&[b"first", b"second"]);
    bench.command("a SELECT INBOX");
    // Hundreds of states are published before the session is woken, for the last one only.
    let mut other = Bench::new(std::mem::take(&mut bench.world));
    other.command("x SELECT INBOX");
    for _ in 0..250 {
        other.world.add("INBOX", b"more");
    }
    other.command("x STORE 2 +FLAGS (\\Deleted)");
    other.command("x EXPUNGE");
    for _ in 0..250 {
        other.world.add("INBOX", b"more");
    }
    bench.world = other.world;
    bench.tell(Input::State(Arc::clone(&bench.world.account)));
    let said = bench.command("b NOOP");
    assert!(said.contains("* 2 EXPUNGE\r\n") && said.contains("* 501 EXISTS\r\n"), "{said}");
    let uids = [1].into_iter().chain(3..=502).map(|uid| format!(" {uid}")).collect::<String>();
    let said = bench.command("c UID SEARCH ALL");
    assert!(said.contains(&uids), "{said}");
}

#[test]
fn no_command_is_read_while_an_answer_is_out() {
    let mut bench = Bench::with_messages(&[]);
    bench.say("a CREATE x\r\nb CREATE y");
    assert!(matches!(bench.outputs().as_slice(), [Output::Ask(_)]));
    assert!(bench.outputs().is_empty());
}

#[test]
fn a_busy_session_wants_no_more_than_a_buffer_of_bytes() {
    let mut bench = Bench::with_messages(&[]);
    bench.say("a CREATE x");
    bench.outputs();
    assert!(bench.session.wants_bytes());
    bench.tell(Input::Bytes(&vec![b'x'; UNREAD_BYTES_MAX]));
    assert!(!bench.session.wants_bytes());
}

#[test]
fn a_silent_client_is_logged_out_and_a_busy_one_is_not() {
    let mut bench = Bench::with_messages(&[]);
    let deadline = bench.session.deadline().unwrap();
    bench.session.handle(deadline - Duration::from_secs(1), Input::Deadline);
    assert!(bench.outputs().is_empty());
    bench.session.handle(deadline, Input::Deadline);
    assert_eq!(bench.run(), "* BYE logged out after a long silence\r\n(close)");
    let mut bench = Bench::with_messages(&[]);
    bench.say("a CREATE x");
    bench.outputs();
    assert_eq!(bench.session.deadline(), None);
    let late = Instant::now() + 2 * SILENCE_MAX;
    bench.session.handle(late, Input::Failed(Fault::Unavailable));
    bench.outputs();
    assert_eq!(bench.session.deadline(), Some(late + SILENCE_MAX));
}

#[test]
fn a_passing_fault_costs_the_command_and_a_lasting_one_the_connection() {
    let mut bench = Bench::with_messages(&[]);
    bench.say("a CREATE x");
    bench.outputs();
    bench.tell(Input::Failed(Fault::Unavailable));
    assert_eq!(bench.run(), "a NO [UNAVAILABLE] temporarily unavailable\r\n");
    bench.say("b SELECT INBOX");
    bench.outputs();
    bench.tell(Input::Failed(Fault::Departed));
    assert_eq!(bench.run(), "* BYE [UNAVAILABLE] the account is served elsewhere now\r\n(close)");
    assert_eq!(bench.command("c NOOP"), "");
}

#[test]
fn nothing_is_said_in_the_middle_of_a_message() {
    let large = vec![b'x'; 300_000];
    let mut bench = Bench::with_messages(&[&large]);
    bench.command("a EXAMINE INBOX");
    bench.say("b FETCH 1 BODY[]");
    let question = bench.outputs().pop().unwrap();
    bench.answer(question);
    let outputs = bench.outputs();
    assert!(
        matches!(
            outputs.as_slice(),
            [Output::Write(_), Output::Read { .. }, Output::Read { .. }]
                | [Output::Read { .. }, Output::Read { .. }, Output::Write(_)]
        ),
        "{outputs:?}"
    );
    bench.tell(Input::Failed(Fault::ShuttingDown));
    assert!(matches!(bench.outputs().as_slice(), [Output::Close]));
}

#[test]
fn a_body_that_breaks_off_ends_the_connection() {
    let large = vec![b'x'; 300_000];
    let mut bench = Bench::with_messages(&[&large]);
    bench.command("a EXAMINE INBOX");
    bench.say("b FETCH 1 BODY[]");
    let question = bench.outputs().pop().unwrap();
    bench.answer(question);
    bench.outputs();
    bench.tell(Input::Body(Err(BodyFault::Unavailable)));
    assert!(matches!(bench.outputs().as_slice(), [Output::Close]));
}

#[test]
fn a_message_that_cannot_be_read_is_passed_over_and_said_to_be() {
    let mut bench = Bench::with_messages(&[b"one", b"two"]);
    bench.command("a EXAMINE INBOX");
    bench.say("b FETCH 1:2 BODY[]");
    bench.outputs();
    bench.tell(Input::Body(Err(BodyFault::Gone)));
    bench.tell(Input::Body(Ok(Bytes::from_static(b"two"))));
    assert_eq!(bench.run(), "* 2 FETCH (BODY[] {3}\r\ntwo)\r\nb NO [EXPUNGEISSUED] some messages are gone\r\n");
}

#[test]
fn a_large_message_comes_in_pieces_and_whole() {
    let large: Vec<u8> = (0..1_000_000u32).map(|index| b'a' + (index % 26) as u8).collect();
    let mut bench = Bench::with_messages(&[&large]);
    bench.command("a EXAMINE INBOX");
    bench.say("b FETCH 1 (UID BODY[] BODY[]<999990.100>)");
    let (mut said, mut questions) = (Vec::new(), Vec::new());
    loop {
        let outputs = bench.outputs();
        assert!(written(&outputs) <= 3 * SLICE_BYTES, "{}", written(&outputs));
        for output in outputs {
            match output {
                Output::Write(bytes) => said.extend_from_slice(&bytes),
                other => questions.push(other),
            }
        }
        assert!(questions.len() <= 4);
        if questions.is_empty() {
            break;
        }
        let question = questions.remove(0);
        bench.answer(question);
    }
    let mut expected = b"* 1 FETCH (UID 1 BODY[] {1000000}\r\n".to_vec();
    expected.extend_from_slice(&large);
    expected.extend_from_slice(b" BODY[]<999990> {10}\r\n");
    expected.extend_from_slice(&large[999_990..]);
    expected.extend_from_slice(b")\r\nb OK FETCH completed\r\n");
    assert!(said == expected, "{}", said.len());
}

#[test]
fn an_answer_about_many_messages_is_made_in_slices() {
    let mut world = World::default();
    world.add_many("INBOX", 20_000);
    let mut bench = Bench::new(world);
    bench.command("a EXAMINE INBOX");
    bench.say("b FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)");
    let mut said = 0;
    while let Some(output) = bench.session.poll() {
        let Output::Write(bytes) = output else { panic!("{output:?}") };
        assert!(bytes.len() < SLICE_BYTES + 1024);
        said += bytes.len();
    }
    assert!(said > 20_000 * 60);
    bench.say("c FETCH 1:* BODY[]");
    let reads = bench.outputs().iter().filter(|output| matches!(output, Output::Read { .. })).count();
    assert_eq!(reads, 4);
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<ImapSession>() <= 768, "{}", size_of::<ImapSession>());
    let mut bench = Bench::with_messages(&[b"one"]);
    bench.command("a SELECT INBOX");
    bench.command("b IDLE");
    assert_eq!(bench.session.reader.buffered(), 0);
}

/// What a client knows from what it was told: how many messages there are, and of each its UID and
/// flags, if it has heard of them.
#[derive(Default)]
struct ClientModel {
    messages: Vec<Known>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    uid: Option<u32>,
    /// Whether it has `\Deleted`, and whether `\Flagged`.
    flags: Option<[bool; 2]>,
}

impl ClientModel {
    /// Reads an answer as a client does, and holds it against the rules.
    fn read(&mut self, said: &str, may_expunge: bool) {
        for line in said.lines().filter_map(|line| line.strip_prefix("* ")) {
            let mut words = line.split(' ');
            let Some(number) = words.next().and_then(|word| word.parse::<usize>().ok()) else { continue };
            match words.next() {
                Some("EXISTS") => {
                    assert!(number >= self.messages.len(), "fewer messages without an expunge: {line}");
                    self.messages.resize(number, Known::default());
                }
                Some("EXPUNGE") => {
                    assert!(may_expunge, "expunge at the wrong time: {line}");
                    self.messages.remove(number - 1);
                }
                Some("FETCH") => self.on_fetch(number, line),
                _ => {}
            }
        }
    }

    fn on_fetch(&mut self, number: usize, line: &str) {
        let known = &mut self.messages[number - 1];
        let uid = line.split_once("UID ").and_then(|(_, rest)| rest.split([' ', ')']).next()?.parse().ok());
        if let Some(uid) = uid {
            assert!(known.uid.is_none_or(|known| known == uid), "another message under the same number: {line}");
            known.uid = Some(uid);
        }
        if let Some((_, flags)) = line.split_once("FLAGS (") {
            let flags = flags.split(')').next().unwrap();
            known.flags = Some(["\\Deleted", "\\Flagged"].map(|flag| flags.contains(flag)));
        }
    }

    /// What a client concludes from a silent STORE that went well, when it knew of `count` messages.
    fn conclude(&mut self, count: usize, line: &str, said: &str) {
        let Some(set) =
            line.strip_prefix("STORE ").and_then(|rest| rest.strip_suffix(",*:* -FLAGS.SILENT (\\Deleted)"))
        else {
            return;
        };
        let (first, last) = set.split_once(':').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        if said.contains("b OK") {
            for (index, known) in self.messages.iter_mut().enumerate() {
                // Whoever was told otherwise in the answer knows better.
                let told = said.contains(&format!("* {} FETCH", index + 1));
                let number = index + 1;
                if ((first..=last).contains(&number) || number == count) && !told {
                    known.flags = known.flags.map(|[_, is_flagged]| [false, is_flagged]);
                }
            }
        }
    }
}

/// Something either session does to the shared mailbox.
fn deed() -> impl Strategy<Value = (bool, String, bool)> {
    let numbers = (1u32..8, 1u32..8).prop_map(|(one, other)| format!("{}:{}", one.min(other), one.max(other)));
    let plain = prop_oneof![
        numbers.clone().prop_map(|set| (format!("UID STORE {set} +FLAGS (\\Deleted)"), true)),
        numbers.clone().prop_map(|set| (format!("UID STORE {set} +FLAGS (\\Flagged)"), true)),
        numbers.clone().prop_map(|set| (format!("UID STORE {set} -FLAGS (\\Flagged)"), true)),
        numbers.clone().prop_map(|set| (format!("STORE {set},*:* -FLAGS.SILENT (\\Deleted)"), false)),
        numbers.clone().prop_map(|set| (format!("FETCH {set},* (UID FLAGS)"), false)),
        numbers.clone().prop_map(|set| (format!("FETCH {set} BODY[]"), false)),
        numbers.clone().prop_map(|set| (format!("UID FETCH {set} (FLAGS BODY.PEEK[TEXT])"), true)),
        numbers.clone().prop_map(|set| (format!("UID MOVE {set} INBOX"), true)),
        numbers.prop_map(|set| (format!("UID COPY {set} INBOX"), true)),
        Just(("EXPUNGE".to_owned(), true)),
        Just(("NOOP".to_owned(), true)),
        Just(("APPEND INBOX {1+}\r\nx".to_owned(), true)),
        Just(("IDLE\r\nDONE".to_owned(), true)),
    ];
    (any::<bool>(), plain).prop_map(|(mine, (line, may_expunge))| (mine, line, may_expunge))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_clients_picture_is_the_mailbox_whatever_two_sessions_do(deeds in prop::collection::vec(deed(), 1..25)) {
        let mut bench = Bench::with_messages(&[b"1", b"2", b"3"]);
        let mut client = ClientModel::default();
        client.read(&bench.command("a SELECT INBOX"), true);
        for (mine, line, may_expunge) in deeds {
            if mine {
                let count = client.messages.len();
                let said = bench.command(&format!("b {line}"));
                client.read(&said, may_expunge);
                client.conclude(count, &line, &said);
            } else {
                bench.elsewhere(&format!("c {line}"));
            }
        }
        client.read(&bench.command("d NOOP"), true);
        let told = client.messages.clone();
        client.read(&bench.command("e FETCH 1:* (UID FLAGS)"), false);
        let inbox = bench.world.account.mailbox(&MailboxName::inbox()).unwrap();
        let flags = |message: &crate::mailbox::Message| {
            Some([message.flags.is_deleted(), message.flags.has(crate::mailbox::SystemFlag::Flagged)])
        };
        let truth: Vec<Known> = inbox
            .iter()
            .map(|(_, message)| Known { uid: Some(message.uid.get()), flags: flags(message) })
            .collect();
        prop_assert_eq!(&client.messages, &truth);
        for (told, truth) in told.iter().zip(&truth) {
            prop_assert!(told.flags.is_none() || told.flags == truth.flags, "{told:?} is {truth:?}");
        }
    }

    #[test]
    fn what_is_said_does_not_depend_on_how_commands_are_cut(sizes in prop::collection::vec(1usize..40, 1..8)) {
        let input = b"a SELECT INBOX\r\nb FETCH 1:* (UID BODY[])\r\nc STORE 1 +FLAGS (\\Deleted x)\r\n\
                      d APPEND INBOX {3+}\r\nabc\r\ne EXPUNGE\r\nf IDLE\r\nDONE\r\ng SEARCH SEEN\r\nrubbish\r\n\
                      h SELECT {4+}\r\nSent\r\ni LOGOUT\r\n";
        let mut whole = Bench::with_messages(&[b"one", b"two"]);
        whole.tell(Input::Bytes(input));
        let expected = whole.run();
        let mut bench = Bench::with_messages(&[b"one", b"two"]);
        let (mut said, mut rest) = (String::new(), input.as_slice());
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            bench.tell(Input::Bytes(piece));
            said += &bench.run();
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(said, expected);
    }

    #[test]
    fn no_bytes_make_a_session_panic(lines in prop::collection::vec("[ -~]{0,40}|a (UID )?(FETCH|STORE|SEARCH|COPY|LIST) .{0,30}", 1..15)) {
        let mut bench = Bench::with_messages(&[b"Subject: x\r\n\r\none", b"two"]);
        bench.command("a SELECT INBOX");
        for line in lines {
            bench.command(&line);
        }
    }
}
