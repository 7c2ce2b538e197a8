//! Requests, their changes and their replay, on an account with a log in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::mailbox::account::{History, KEYWORDS_MAX, MAILBOXES_MAX, Mailbox};
use crate::mailbox::change::{Added, Change};
use crate::mailbox::date::InternalDate;
use crate::mailbox::flags::{Flag, Flags, SystemFlag};
use crate::mailbox::message::BodyRecord;
use crate::mailbox::uid::{EmailId, SeqNo};
use crate::store::BodyRef;

/// An account and all that was ever written of it.
struct World {
    account: Account,
    log: Vec<(Vec<u8>, Option<BodyRef>)>,
    released: Vec<BodyRef>,
    now: i64,
    random: u128,
}

impl World {
    fn new() -> Self {
        Self { account: Account::new(), log: Vec::new(), released: Vec::new(), now: 1_000_000, random: 0 }
    }

    fn ask(&mut self, request: Request) -> Reply {
        self.random += 1000;
        let log = &mut self.log;
        let mut place = |payload: &[u8], body: Option<&[u8]>| {
            let offset = log.len() as u64;
            let body = body.map(|body| BodyRef::Inline { generation: 1, offset, length: body.len() as u32 });
            log.push((payload.to_vec(), body));
            body
        };
        let mut plan = Plan::new(&mut place);
        let reply = perform(&mut self.account, request, Timestamp(self.now), self.random, &mut plan);
        self.released.extend(plan.into_released());
        reply
    }

    fn append(&mut self, mailbox: &str, flags: &str) -> Reply {
        self.ask(Request::Append { mailbox: name(mailbox), messages: vec![message(flags)] })
    }

    fn mailbox(&self, mailbox: &str) -> &Mailbox {
        self.account.mailbox(&name(mailbox)).unwrap()
    }

    fn uids(&self, mailbox: &str) -> String {
        self.mailbox(mailbox).messages.iter().map(|message| message.uid).collect::<UidSet>().to_string()
    }

    fn names(&self) -> Vec<&str> {
        self.account.mailboxes().map(|mailbox| mailbox.name.as_str()).collect()
    }

    fn replay(&self, mut account: Account, from: usize) -> Account {
        for (payload, body) in &self.log[from..] {
            account.apply(&Change::decode(payload).unwrap(), *body).unwrap();
        }
        account
    }
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn flags(words: &str) -> Flags {
    words.split_whitespace().map(|word| Flag::parse(word).unwrap()).collect()
}

fn uids(numbers: &[u32]) -> UidSet {
    numbers.iter().filter_map(|&number| Uid::new(number)).collect()
}

fn message(words: &str) -> NewMessage {
    let body = BodyRecord::new(b"Subject: x\r\n\r\nhello\r\n").unwrap();
    NewMessage { flags: flags(words), internal_date: None, body }
}

fn refused(refusal: Refusal) -> Reply {
    Reply::Refused(refusal)
}

#[test]
fn a_new_account_has_the_usual_mailboxes() {
    let world = World::new();
    assert_eq!(world.names(), ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]);
    assert_eq!(world.account.special(SpecialUse::Sent).unwrap().name, name("Sent"));
    assert!(world.account.is_subscribed(&name("inbox")));
    assert_eq!(Account::new(), Account::new());
}

#[test]
fn several_messages_are_appended_at_once() {
    let mut world = World::new();
    let messages = vec![message("\\Seen"), message("$a"), message("")];
    let reply = world.ask(Request::Append { mailbox: MailboxName::inbox(), messages });
    assert_eq!(reply, Reply::Appended { uid_validity: UidValidity::MIN, uids: uids(&[1, 2, 3]) });
    let inbox = world.mailbox("INBOX");
    assert_eq!((inbox.len(), inbox.tally().unseen, inbox.recent()), (3, 2, 3));
    assert_eq!(inbox.messages[0].internal_date, InternalDate::utc(Timestamp(1_000_000)));
    let ids: BTreeSet<EmailId> = inbox.messages.iter().map(|message| message.email_id).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(world.append("Nowhere", ""), refused(Refusal::TryCreate));
}

#[test]
fn a_delivery_tried_again_adds_nothing() {
    let mut world = World::new();
    let delivery = |transaction, recipient| Request::Deliver {
        id: Some(DeliveryId { transaction, recipient }),
        mailbox: MailboxName::inbox(),
        message: message(""),
    };
    assert_eq!(world.ask(delivery(7, 0)), Reply::Delivered { duplicate: false });
    assert_eq!(world.ask(delivery(7, 0)), Reply::Delivered { duplicate: true });
    assert_eq!(world.ask(delivery(7, 1)), Reply::Delivered { duplicate: false });
    world.account = Account::decode_snapshot(&world.account.encode_snapshot(&|body| body)).unwrap();
    assert_eq!(world.ask(delivery(7, 1)), Reply::Delivered { duplicate: true });
    assert_eq!(world.uids("INBOX"), "1:2");
}

#[test]
fn a_delivery_to_a_mailbox_that_is_gone_goes_to_inbox() {
    let mut world = World::new();
    world.ask(Request::Deliver { id: None, mailbox: name("Lists"), message: message("") });
    assert_eq!(world.uids("INBOX"), "1");
}

#[test]
fn store_spares_what_changed_later() {
    let mut world = World::new();
    (0..3).for_each(|_| drop(world.append("INBOX", "")));
    let (id, before) = (world.mailbox("INBOX").id, world.account.highest_modseq());
    let store = |numbers: &[u32], change, unchanged_since| Request::Store {
        mailbox: id,
        uids: uids(numbers),
        change,
        unchanged_since,
    };
    let reply = world.ask(store(&[2, 9], FlagChange::Add(flags("\\Seen $A")), None));
    assert_eq!(reply, Reply::Stored { modified: UidSet::new(), changed: uids(&[2]) });
    let reply = world.ask(store(&[1, 2, 3], FlagChange::Replace(flags("$a")), Some(before)));
    assert_eq!(reply, Reply::Stored { modified: uids(&[2]), changed: uids(&[1, 3]) });
    let modseqs: Vec<u64> = world.mailbox("INBOX").messages.iter().map(|message| message.modseq.0).collect();
    assert!(modseqs[0] == modseqs[2] && modseqs[0] > modseqs[1]);
    // What is already so is no change, and the mailbox has the keyword in one spelling.
    let writes = world.log.len();
    let reply = world.ask(store(&[1], FlagChange::Add(flags("$a")), None));
    assert_eq!(reply, Reply::Stored { modified: UidSet::new(), changed: UidSet::new() });
    assert_eq!(world.log.len(), writes);
    assert_eq!(world.mailbox("INBOX").messages[0].flags.to_string(), "$A");
}

#[test]
fn keywords_of_a_mailbox_are_limited_to_those_in_use() {
    let mut world = World::new();
    let many: Vec<String> = (0..KEYWORDS_MAX).map(|number| format!("k{number}")).collect();
    world.append("INBOX", &many.join(" "));
    assert_eq!(world.append("INBOX", "K1 k2"), Reply::Appended { uid_validity: UidValidity::MIN, uids: uids(&[2]) });
    assert_eq!(world.append("INBOX", "one-more"), refused(Refusal::LimitReached(Limit::Keywords)));
    let id = world.mailbox("INBOX").id;
    world.ask(Request::Remove { mailbox: id, uids: uids(&[1]) });
    assert_eq!(world.mailbox("INBOX").tally().keyword_count(), 2);
    assert!(matches!(world.append("INBOX", "one-more"), Reply::Appended { .. }));
}

#[test]
fn expunge_takes_only_what_is_marked() {
    let mut world = World::new();
    for words in ["\\Deleted", "", "\\Deleted", "\\Deleted \\Seen"] {
        world.append("INBOX", words);
    }
    let id = world.mailbox("INBOX").id;
    let reply = world.ask(Request::Expunge { mailbox: id, uids: Some(uids(&[1, 2])) });
    assert_eq!(reply, Reply::Expunged { uids: uids(&[1]) });
    let reply = world.ask(Request::Expunge { mailbox: id, uids: None });
    assert_eq!(reply, Reply::Expunged { uids: uids(&[3, 4]) });
    assert_eq!(world.uids("INBOX"), "2");
    assert_eq!(world.released.len(), 3);
    world.append("INBOX", "");
    assert_eq!(world.uids("INBOX"), "2,5");
}

#[test]
fn a_body_is_released_with_its_last_message() {
    let mut world = World::new();
    world.append("INBOX", "");
    let (inbox, sent) = (world.mailbox("INBOX").id, world.mailbox("Sent").id);
    for _ in 0..2 {
        let reply = world.ask(Request::Copy { from: inbox, uids: UidSet::all(), to: name("Sent") });
        assert!(matches!(reply, Reply::Copied { .. }));
    }
    let (original, copy) = (&world.mailbox("INBOX").messages[0], &world.mailbox("Sent").messages[1]);
    assert_eq!((original.body, original.email_id), (copy.body, copy.email_id));
    world.ask(Request::Remove { mailbox: inbox, uids: UidSet::all() });
    assert!(world.released.is_empty());
    world.ask(Request::Remove { mailbox: sent, uids: UidSet::all() });
    assert_eq!(world.released.len(), 1);
}

#[test]
fn move_takes_the_next_uids_and_leaves_nothing_behind() {
    let mut world = World::new();
    (0..4).for_each(|_| drop(world.append("INBOX", "\\Seen $x")));
    world.append("Trash", "");
    let inbox = world.mailbox("INBOX").id;
    let uid_validity = world.mailbox("Trash").uid_validity;
    let reply = world.ask(Request::Move { from: inbox, uids: uids(&[1, 3, 77]), to: name("Trash") });
    assert_eq!(reply, Reply::Copied { uid_validity, from: uids(&[1, 3]), to: uids(&[2, 3]) });
    assert_eq!((world.uids("INBOX"), world.uids("Trash")), ("2,4".to_owned(), "1:3".to_owned()));
    assert!(world.mailbox("Trash").messages[2].flags.has(SystemFlag::Seen));
    let reply = world.ask(Request::Move { from: inbox, uids: uids(&[2]), to: name("INBOX") });
    assert!(matches!(reply, Reply::Copied { to, .. } if to == uids(&[5])));
    assert_eq!(world.uids("INBOX"), "4:5");
    let reply = world.ask(Request::Move { from: inbox, uids: uids(&[99]), to: name("Trash") });
    assert_eq!(reply, Reply::Copied { uid_validity, from: UidSet::new(), to: UidSet::new() });
    assert_eq!(
        world.ask(Request::Copy { from: inbox, uids: UidSet::all(), to: name("X") }),
        refused(Refusal::TryCreate)
    );
}

#[test]
fn a_quota_stops_copies_but_not_moves() {
    let mut world = World::new();
    world.append("INBOX", "");
    let size = world.account.usage().bytes;
    world.account.quota = Some(size + size / 2);
    assert_eq!(world.append("INBOX", ""), refused(Refusal::OverQuota));
    let inbox = world.mailbox("INBOX").id;
    let copy = Request::Copy { from: inbox, uids: UidSet::all(), to: name("Sent") };
    assert_eq!(world.ask(copy), refused(Refusal::OverQuota));
    let reply = world.ask(Request::Move { from: inbox, uids: UidSet::all(), to: name("Sent") });
    assert!(matches!(reply, Reply::Copied { .. }));
    assert_eq!(world.account.usage().bytes, size);
}

#[test]
fn create_makes_what_is_missing_above() {
    let mut world = World::new();
    let create = |text| Request::Create { name: name(text), special_use: None };
    assert!(matches!(world.ask(create("a/b/c")), Reply::Created { .. }));
    assert_eq!(world.names()[6..], ["a", "a/b", "a/b/c"]);
    assert_eq!(world.ask(create("a/b")), refused(Refusal::AlreadyExists));
    assert_eq!(world.ask(create("inbox")), refused(Refusal::AlreadyExists));
    let another_sent = Request::Create { name: name("Gesendet"), special_use: Some(SpecialUse::Sent) };
    assert_eq!(world.ask(another_sent), refused(Refusal::UseTaken));
}

#[test]
fn mailboxes_are_limited() {
    let mut world = World::new();
    for number in 6..MAILBOXES_MAX {
        world.ask(Request::Create { name: name(&number.to_string()), special_use: None });
    }
    assert_eq!(world.account.mailbox_count(), MAILBOXES_MAX);
    let create = Request::Create { name: name("x"), special_use: None };
    assert_eq!(world.ask(create), refused(Refusal::LimitReached(Limit::Mailboxes)));
}

#[test]
fn a_mailbox_made_again_has_another_validity() {
    let mut world = World::new();
    let mut validities = BTreeSet::new();
    for _ in 0..5 {
        world.ask(Request::Create { name: name("a"), special_use: None });
        assert!(validities.insert(world.mailbox("a").uid_validity));
        world.account = Account::decode_snapshot(&world.account.encode_snapshot(&|body| body)).unwrap();
        assert_eq!(world.ask(Request::Delete { name: name("a") }), Reply::Done);
        world.account = Account::decode_snapshot(&world.account.encode_snapshot(&|body| body)).unwrap();
    }
}

#[test]
fn delete_spares_inbox_and_what_has_children() {
    let mut world = World::new();
    world.ask(Request::Create { name: name("a/b"), special_use: None });
    world.append("a/b", "");
    let delete = |text| Request::Delete { name: name(text) };
    assert_eq!(world.ask(delete("a")), refused(Refusal::HasChildren));
    assert_eq!(world.ask(delete("INBOX")), refused(Refusal::CannotDeleteInbox));
    assert_eq!(world.ask(delete("b")), refused(Refusal::NoSuchMailbox));
    assert_eq!(world.ask(delete("a/b")), Reply::Done);
    assert_eq!(world.released.len(), 1);
    assert_eq!(world.account.usage().messages, 0);
    assert_eq!(world.ask(delete("a")), Reply::Done);
}

#[test]
fn rename_takes_what_is_below_along() {
    let mut world = World::new();
    for text in ["a/b/c", "a-b", "ab"] {
        world.ask(Request::Create { name: name(text), special_use: None });
    }
    let id = world.mailbox("a/b/c").id;
    let rename = |from, to| Request::Rename { from: name(from), to: name(to) };
    assert_eq!(world.ask(rename("a", "x/y")), Reply::Done);
    assert_eq!(world.names()[6..], ["a-b", "ab", "x", "x/y", "x/y/b", "x/y/b/c"]);
    assert_eq!(world.mailbox("x/y/b/c").id, id);
    assert_eq!(world.ask(rename("x", "x/z")), refused(Refusal::BelowItself));
    assert_eq!(world.ask(rename("x", "x")), refused(Refusal::AlreadyExists));
    assert_eq!(world.ask(rename("q", "r")), refused(Refusal::NoSuchMailbox));
    let too_deep = ["d"; 15].join("/");
    assert_eq!(world.ask(rename("x", &too_deep)), refused(Refusal::NameInvalid(NameError::TooDeep)));
}

#[test]
fn renaming_inbox_empties_it() {
    let mut world = World::new();
    world.ask(Request::Create { name: name("INBOX/kept"), special_use: None });
    (0..2).for_each(|_| drop(world.append("INBOX", "")));
    assert_eq!(world.ask(Request::Rename { from: name("inbox"), to: name("old/mail") }), Reply::Done);
    assert_eq!((world.uids("INBOX"), world.uids("old/mail")), (String::new(), "1:2".to_owned()));
    assert!(world.account.mailbox(&name("INBOX/kept")).is_some());
    assert_eq!(world.mailbox("INBOX").uid_next.get(), 3);
}

#[test]
fn names_without_a_mailbox_may_be_subscribed() {
    let mut world = World::new();
    let subscribe = |on| Request::Subscribe { name: name("later"), on };
    assert_eq!(world.ask(subscribe(true)), Reply::Done);
    assert!(world.account.is_subscribed(&name("later")));
    let writes = world.log.len();
    assert_eq!(world.ask(subscribe(true)), Reply::Done);
    assert_eq!(world.log.len(), writes);
    assert_eq!(world.ask(subscribe(false)), Reply::Done);
    assert!(!world.account.is_subscribed(&name("later")));
}

#[test]
fn each_message_is_recent_once() {
    let mut world = World::new();
    (0..2).for_each(|_| drop(world.append("INBOX", "")));
    let take = Request::TakeRecent { mailbox: world.mailbox("INBOX").id };
    assert_eq!(world.ask(take.clone()), Reply::TakenRecent { from: Uid::MIN });
    world.append("INBOX", "");
    assert_eq!(world.mailbox("INBOX").recent(), 1);
    assert_eq!(world.ask(take.clone()), Reply::TakenRecent { from: Uid::new(3).unwrap() });
    let writes = world.log.len();
    assert_eq!(world.ask(take), Reply::TakenRecent { from: Uid::new(4).unwrap() });
    assert_eq!(world.log.len(), writes);
}

#[test]
fn a_mailbox_out_of_uids_is_numbered_anew() {
    let mut world = World::new();
    world.append("INBOX", "");
    world.append("INBOX", "\\Seen");
    let inbox = world.mailbox("INBOX").clone();
    // A message with the last UID but one, as if four thousand million had gone before.
    let added = Added {
        mailbox: inbox.id,
        uid: Uid::new(u32::MAX - 1).unwrap(),
        modseq: world.account.highest_modseq().next(),
        flags: Flags::new(),
        internal_date: InternalDate::utc(Timestamp(0)),
        saved: Timestamp(0),
        email_id: EmailId::new(1),
        size: 10,
        summary_len: 0,
        delivery: None,
    };
    let body = BodyRef::Inline { generation: 9, offset: 0, length: 10 };
    let change = Change::Added(added);
    world.account.apply(&change, Some(body)).unwrap();
    world.log.push((change.encode(), Some(body)));
    assert_eq!(world.mailbox("INBOX").uid_next, Uid::MAX);

    let reply = world.append("INBOX", "");
    let now = world.mailbox("INBOX");
    assert!(now.uid_validity > inbox.uid_validity);
    assert_eq!(reply, Reply::Appended { uid_validity: now.uid_validity, uids: uids(&[4]) });
    assert_eq!(world.uids("INBOX"), "1:4");
    let changes = now.changes_since(&inbox);
    assert_eq!((changes.expunged.len(), changes.added), (2, 4));
    assert_eq!(world.replay(Account::new(), 0), world.account);
}

#[test]
fn a_session_is_told_exactly_what_changed() {
    let mut world = World::new();
    (0..5).for_each(|_| drop(world.append("INBOX", "")));
    let old = world.mailbox("INBOX").clone();
    let store = |numbers: &[u32], words| Request::Store {
        mailbox: old.id,
        uids: uids(numbers),
        change: FlagChange::Add(flags(words)),
        unchanged_since: None,
    };
    assert!(world.mailbox("INBOX").changes_since(&old).is_empty());
    world.ask(store(&[1, 4, 5], "\\Seen"));
    world.ask(store(&[2, 5], "\\Deleted"));
    world.append("INBOX", "\\Deleted");
    world.append("INBOX", "");
    world.ask(Request::Expunge { mailbox: old.id, uids: None });
    let changes = world.mailbox("INBOX").changes_since(&old);
    let positions = |numbers: &[u32]| numbers.iter().map(|&n| SeqNo::new(n).unwrap()).collect::<Vec<_>>();
    assert_eq!(changes.expunged.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), positions(&[2, 5]));
    assert_eq!((changes.flagged, changes.added), (positions(&[1, 3]), 1));
    assert_eq!(world.mailbox("INBOX").vanished_since(old.highest_modseq), uids(&[2, 5, 6]));
}

#[test]
fn what_does_not_change_is_shared() {
    let mut world = World::new();
    world.append("Sent", "");
    let before = world.account.clone();
    world.append("INBOX", "");
    let shares =
        |text: &str| Arc::ptr_eq(before.mailbox(&name(text)).unwrap(), world.account.mailbox(&name(text)).unwrap());
    assert!(shares("Sent") && !shares("INBOX"));
    assert!(before.mailbox(&MailboxName::inbox()).unwrap().is_empty());
}

#[test]
fn accounts_go_from_thread_to_thread() {
    fn is_shareable<T: Send + Sync + 'static>() {}
    is_shareable::<Account>();
    is_shareable::<Request>();
}

#[test]
fn damaged_changes_are_refused_and_never_panic() {
    let mut world = World::new();
    world.append("INBOX", "$a");
    let good = world.log[0].0.clone();
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            if let Ok(change) = Change::decode(&bad) {
                let _ = Account::new().apply(&change, world.log[0].1);
            }
        }
        assert!(Change::decode(&good[..at]).is_err());
    }
    let again = Change::decode(&good).unwrap();
    assert!(world.account.clone().apply(&again, world.log[0].1).is_err());
    assert!(Account::new().apply(&again, None).is_err());
}

/// One request of a random sequence, in small numbers.
#[derive(Debug, Clone)]
enum Step {
    Append(usize, u8, usize),
    Deliver(u128),
    Store(usize, Vec<u32>, u8, u8, Option<u64>),
    Expunge(usize, Option<Vec<u32>>),
    Remove(usize, Vec<u32>),
    Transfer(usize, Vec<u32>, usize, bool),
    Create(usize),
    Rename(usize, usize),
    Delete(usize),
    Subscribe(usize, bool),
    TakeRecent(usize),
    Wait,
    Snapshot,
}

const NAMES: [&str; 8] = ["INBOX", "Sent", "a", "a/b", "a/b/c", "x", "x/a", "INBOX/y"];
const FLAG_CHOICES: [&str; 6] = ["", "\\Seen", "\\Deleted", "\\Deleted \\Seen $a", "$b $A", "\\Flagged $c"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..NAMES.len();
    let uids = || prop::collection::vec(1u32..14, 0..5);
    let flags = 0..FLAG_CHOICES.len() as u8;
    let step = prop_oneof![
        6 => (name.clone(), flags.clone(), 1usize..4).prop_map(|(m, f, n)| Step::Append(m, f, n)),
        2 => (0u128..4).prop_map(Step::Deliver),
        5 => (name.clone(), uids(), 0u8..3, flags, prop::option::of(0u64..60))
            .prop_map(|(m, u, how, f, since)| Step::Store(m, u, how, f, since)),
        2 => (name.clone(), prop::option::of(uids())).prop_map(|(m, u)| Step::Expunge(m, u)),
        2 => (name.clone(), uids()).prop_map(|(m, u)| Step::Remove(m, u)),
        4 => (name.clone(), uids(), name.clone(), any::<bool>()).prop_map(|(m, u, to, k)| Step::Transfer(m, u, to, k)),
        3 => name.clone().prop_map(Step::Create),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => name.clone().prop_map(Step::Delete),
        1 => (name.clone(), any::<bool>()).prop_map(|(m, on)| Step::Subscribe(m, on)),
        1 => name.prop_map(Step::TakeRecent),
        1 => Just(Step::Wait),
        1 => Just(Step::Snapshot),
    ];
    prop::collection::vec(step, 1..40)
}

fn request(step: Step, account: &Account) -> Option<Request> {
    let id = |mailbox: usize| account.mailbox(&name(NAMES[mailbox])).map(|mailbox| mailbox.id);
    let choice = |index: u8| FLAG_CHOICES[usize::from(index)];
    Some(match step {
        Step::Append(mailbox, words, count) => {
            Request::Append { mailbox: name(NAMES[mailbox]), messages: vec![message(choice(words)); count] }
        }
        Step::Deliver(transaction) => Request::Deliver {
            id: Some(DeliveryId { transaction, recipient: 0 }),
            mailbox: MailboxName::inbox(),
            message: message(""),
        },
        Step::Store(mailbox, numbers, how, words, since) => Request::Store {
            mailbox: id(mailbox)?,
            uids: uids(&numbers),
            change: [FlagChange::Replace, FlagChange::Add, FlagChange::Remove][usize::from(how)](flags(choice(words))),
            unchanged_since: since.map(ModSeq),
        },
        Step::Expunge(mailbox, numbers) => {
            Request::Expunge { mailbox: id(mailbox)?, uids: numbers.map(|numbers| uids(&numbers)) }
        }
        Step::Remove(mailbox, numbers) => Request::Remove { mailbox: id(mailbox)?, uids: uids(&numbers) },
        Step::Transfer(from, numbers, to, false) => {
            Request::Copy { from: id(from)?, uids: uids(&numbers), to: name(NAMES[to]) }
        }
        Step::Transfer(from, numbers, to, true) => {
            Request::Move { from: id(from)?, uids: uids(&numbers), to: name(NAMES[to]) }
        }
        Step::Create(mailbox) => Request::Create { name: name(NAMES[mailbox]), special_use: None },
        Step::Rename(from, to) => Request::Rename { from: name(NAMES[from]), to: name(NAMES[to]) },
        Step::Delete(mailbox) => Request::Delete { name: name(NAMES[mailbox]) },
        Step::Subscribe(mailbox, on) => Request::Subscribe { name: name(NAMES[mailbox]), on },
        Step::TakeRecent(mailbox) => Request::TakeRecent { mailbox: id(mailbox)? },
        Step::Wait | Step::Snapshot => return None,
    })
}

/// What is kept, not counted, is what counting gives; numbers rise; names have their parents.
fn check_invariants(account: &Account) {
    let (mut messages, mut bytes) = (0, 0);
    let mut contents: BTreeMap<EmailId, u32> = BTreeMap::new();
    for mailbox in account.mailboxes() {
        let mut tally = crate::mailbox::account::Tally::default();
        let mut last = 0;
        for message in &mailbox.messages {
            assert!(message.uid.get() > last && message.uid < mailbox.uid_next);
            assert!(message.modseq <= mailbox.highest_modseq);
            last = message.uid.get();
            tally.add(message);
            *contents.entry(message.email_id).or_insert(0) += 1;
        }
        assert_eq!(tally, mailbox.tally);
        assert!(mailbox.highest_modseq <= account.highest_modseq() && mailbox.recent_from <= mailbox.uid_next);
        assert!(mailbox.name.parent().is_none_or(|parent| account.mailbox(&parent).is_some()));
        messages += mailbox.len() as u64;
        bytes += tally.bytes;
    }
    contents.retain(|_, count| *count > 1);
    assert_eq!(contents.into_iter().collect::<imbl::OrdMap<_, _>>(), account.copies);
    assert_eq!((account.usage().messages, account.usage().bytes), (messages, bytes));
    let validities: BTreeSet<_> = account.mailboxes().map(|mailbox| mailbox.uid_validity).collect();
    assert_eq!(validities.len(), account.mailbox_count());
    assert!(account.mailbox(&MailboxName::inbox()).is_some());
}

/// What changed between two values, found by comparing every message.
fn check_changes(old: &Mailbox, new: &Mailbox) {
    let changes = new.changes_since(old);
    let present = |mailbox: &Mailbox, uid| mailbox.find(uid).is_some();
    let expunged: Vec<_> = old.iter().filter(|(_, m)| !present(new, m.uid)).map(|(seq, m)| (seq, m.uid)).collect();
    let added = new.messages.iter().filter(|message| !present(old, message.uid)).count();
    let is_flagged = |uid, modseq| old.find(uid).is_some_and(|(_, before)| before.modseq != modseq);
    let flagged: Vec<_> = new.iter().filter(|(_, m)| is_flagged(m.uid, m.modseq)).map(|(seq, _)| seq).collect();
    assert_eq!(changes, crate::mailbox::Changes { expunged: expunged.clone(), added, flagged });
    // Without its histories a mailbox finds the same by walking.
    let forgetful = Mailbox {
        expunged: History::beginning_at(new.highest_modseq),
        flagged: History::beginning_at(new.highest_modseq),
        ..new.clone()
    };
    assert_eq!(forgetful.changes_since(old), changes);
    assert!(forgetful.vanished_since(ModSeq(0)).iter().all(|uid| uid < new.uid_next && !present(new, uid)));
    let vanished = new.vanished_since(old.highest_modseq);
    assert!(expunged.iter().all(|(_, uid)| vanished.contains(*uid)));
    assert!(vanished.iter().all(|uid| !present(new, uid)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_requests_can_be_replayed(steps in steps()) {
        let mut world = World::new();
        let mut snapshot = (world.account.encode_snapshot(&|body| body), 0);
        let mut history = vec![world.account.clone()];
        let mut uids_seen: BTreeSet<(UidValidity, Uid)> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Wait => world.now += 3 * 86_400,
                Step::Snapshot => snapshot = (world.account.encode_snapshot(&|body| body), world.log.len()),
                _ => {}
            }
            let Some(request) = request(step, &world.account) else { continue };
            let (before, writes) = (world.account.clone(), world.log.len());
            match world.ask(request) {
                Reply::Refused(_) => prop_assert_eq!((&world.account, world.log.len()), (&before, writes)),
                Reply::Appended { uid_validity, uids } => {
                    for uid in uids.iter() {
                        prop_assert!(uids_seen.insert((uid_validity, uid)), "a UID was given out again");
                    }
                }
                Reply::Copied { uid_validity, from, to } => {
                    prop_assert_eq!(from.len(), to.len());
                    for uid in to.iter() {
                        prop_assert!(uids_seen.insert((uid_validity, uid)), "a UID was given out again");
                    }
                }
                _ => {}
            }
            prop_assert!(world.account.highest_modseq() >= before.highest_modseq());
            check_invariants(&world.account);
            history.push(world.account.clone());
        }
        prop_assert_eq!(&world.replay(Account::new(), 0), &world.account);
        let restored = Account::decode_snapshot(&snapshot.0).unwrap();
        prop_assert_eq!(&world.replay(restored, snapshot.1), &world.account);
        for old in &history {
            for mailbox in world.account.mailboxes() {
                if let Some(old) = old.by_id(mailbox.id) {
                    check_changes(old, mailbox);
                }
            }
        }
    }

    #[test]
    fn damaged_snapshots_never_panic(steps in steps(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut world = World::new();
        for step in steps {
            if let Some(request) = request(step, &world.account) {
                world.ask(request);
            }
        }
        let mut bytes = world.account.encode_snapshot(&|body| body);
        let at = at.index(bytes.len());
        prop_assert!(Account::decode_snapshot(&bytes[..at]).is_err());
        bytes[at] = value;
        let _ = Account::decode_snapshot(&bytes);
    }
}
