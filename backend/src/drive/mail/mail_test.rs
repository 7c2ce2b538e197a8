//! Mail between whole members: real clusters on scratch folders, real sockets. A member that crashes is a runtime that is
//! torn down. Deadlines are generous: nothing here measures time.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use bytes::Bytes;
use laniakea_config::{Advertised, ClusterTiming, Limits, Mechanism, ProbePolicy, Service, TlsSettings};
use laniakea_directory::{
    AccountId, AccountRecord, Address, ClusterName, ClusterRecord, Directory, MemberName, Secret, Status,
};
use laniakea_router::{
    drive::{RouterContext, Routes, ServerTls, listener::Gate, mail::Budget, watch},
    handoff::TicketKey,
    session::smtp::Recipient,
    wire::smtp::{MailParameters, Mailbox, RcptParameters, Reply, parse_reply},
};
use laniakea_test_ports::free_address;
use tokio::runtime::Runtime;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    deliver::Addressee,
    drive::{
        accept::{accept_clients, accept_handoffs},
        admission::Urgency,
        arbiter::initialise_storage,
        clock,
        control::{ClusterHandle, ControlSettings},
        registry::{Access, Registry},
        storage::Storage,
    },
    mailbox::MailboxName,
    queue::NewEntry,
    worker::WorkerTiming,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Cluster `one` with members `a` and `b` and accounts alice and bob; cluster `two` with member `c` and account carol.
struct World {
    folder: tempfile::TempDir,
    directory: Directory,
    handoffs: Vec<(&'static str, SocketAddr)>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for cluster in ["one", "two"] {
            initialise_storage(&folder.path().join(cluster), &ClusterName::new(cluster)).unwrap();
        }
        fs::write(folder.path().join("key"), [7; 32]).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("certificate.pem"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let handoffs: Vec<_> = ["a", "b", "c"].map(|member| (member, free_address())).into();
        let cluster = |name: &str, members: &[(&str, SocketAddr)]| ClusterRecord {
            name: ClusterName::new(name),
            members: members.iter().map(|(_, address)| address.to_string()).collect(),
        };
        let accounts = vec![account("alice", 1, "one"), account("bob", 2, "one"), account("carol", 3, "two")];
        let clusters = vec![cluster("one", &handoffs[..2]), cluster("two", &handoffs[2..])];
        Self { folder, directory: Directory::in_memory(accounts, clusters), handoffs }
    }

    fn start(&self, name: &'static str) -> Node {
        let handoff = self.handoffs.iter().find(|(member, _)| *member == name).unwrap().1;
        Node::start(self.folder.path(), self.directory.clone(), name, handoff)
    }
}

fn account(name: &str, number: u128, cluster: &str) -> (AccountRecord, Secret) {
    let record = AccountRecord {
        id: AccountId(uuid::Uuid::from_u128(number)),
        dn: String::new(),
        login: name.into(),
        addresses: vec![Address::parse(&format!("{name}@x.example")).unwrap()],
        mail_host: cluster.into(),
        forward: None,
        status: Status::Active,
        quota: None,
    };
    (record, Secret::default())
}

/// One member, in a runtime of its own.
struct Node {
    runtime: Option<Runtime>,
    member: Arc<Member>,
    mail: Arc<MailService>,
    smtp: SocketAddr,
    lmtp: SocketAddr,
}

impl Node {
    fn start(folder: &Path, directory: Directory, name: &'static str, handoff: SocketAddr) -> Self {
        let cluster = if name == "c" { "two" } else { "one" };
        let runtime = Runtime::new().unwrap();
        let limits = Limits {
            message_bytes_max: 1 << 24,
            recipients_max: 10,
            connections_per_address_max: 400,
            connections_max: 1000,
            login: PATIENCE,
            idle: PATIENCE,
            memory_bytes_max: 1 << 28,
        };
        let tls = TlsSettings {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            ca: None,
            others: vec![],
        };
        let front = Arc::new(RouterContext {
            name: name.into(),
            domain: "x.example".into(),
            routes: Routes::new(directory.clone(), Default::default()),
            suspicion: Default::default(),
            directory,
            foreign: Default::default(),
            smarthost: Default::default(),
            mechanisms: Mechanism::ALWAYS.into(),
            tls: ServerTls::load(&tls).unwrap(),
            memory: Budget::new(limits.memory_bytes_max),
            limits,
            gate: Gate::new(1000, 2, 400),
            proxy_from: Vec::new(),
            trust_from: Vec::new(),
            shutdown: CancellationToken::new(),
            drained: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let timing = ClusterTiming::default();
        let control = ControlSettings {
            cluster: ClusterName::new(cluster),
            member: MemberName::new(name),
            storage: folder.join(cluster),
            key: folder.join("key"),
            control: "127.0.0.1:0".parse().unwrap(),
            advertise: Advertised { control: "127.0.0.1:0".parse().unwrap(), handoff },
            probe: ProbePolicy::Off,
            timing,
        };
        let worker = WorkerTiming { idle_release: PATIENCE, commit: PATIENCE, grace: timing.release / 2 };
        let (smtp, lmtp) = (free_address(), free_address());
        let (member, mail) = runtime.block_on(async {
            let seat = ClusterHandle::start(control).await.unwrap();
            let member = Arc::new(Member {
                cluster_name: ClusterName::new(cluster),
                registry: Registry::new(
                    Storage::new(folder.join(cluster), 0),
                    seat,
                    worker,
                    timing.claim,
                    Default::default(),
                ),
                front: front.clone(),
                tokens: Default::default(),
                ticket_key: TicketKey::new(&[7; 32]),
                sessions: AtomicUsize::new(0),
            });
            let mail = MailService::new(member.clone(), MailSettings { host: "x.example".into(), handoff });
            let running = mail.clone();
            front.tasks.spawn(async move { running.run().await });
            front.tasks.spawn(watch(front.clone()));
            let listen = |address| tokio::net::TcpListener::bind(address);
            let trusted = vec!["127.0.0.0/8".parse().unwrap()];
            front.tasks.spawn(accept_handoffs(listen(handoff).await.unwrap(), trusted, member.clone(), mail.clone()));
            for (service, address) in [(Service::Smtp, smtp), (Service::Lmtp, lmtp)] {
                let listener = listen(address).await.unwrap();
                front.tasks.spawn(accept_clients(listener, service, member.clone(), mail.clone()));
            }
            (member, mail)
        });
        let node = Self { runtime: Some(runtime), member, mail, smtp, lmtp };
        node.sees(|members| members.contains(&name.to_owned()));
        node
    }

    /// Waits until the cluster looks so to this member.
    fn sees(&self, wanted: impl Fn(&[String]) -> bool) {
        until("the view", || {
            let view = self.member.registry.cluster().view();
            let members: Vec<String> = view.members.iter().map(|member| member.name.to_string()).collect();
            view.registered && wanted(&members)
        });
    }

    fn run<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(what)
    }

    /// The messages in an account's INBOX, if this member owns the account or can.
    fn inbox(&self, number: u128) -> Option<Vec<String>> {
        self.run(async {
            let id = AccountId(uuid::Uuid::from_u128(number));
            let Ok(Access::Here(pass)) = self.member.registry.account(id, None, Urgency::Awaited).await else {
                return None;
            };
            let state = pass.state();
            let inbox = state.mailbox(&MailboxName::inbox()).unwrap();
            let mut messages = Vec::new();
            for message in &inbox.messages {
                let range = u64::from(message.summary_len)..message.body.len();
                messages.push(String::from_utf8(pass.read(message.body, range).await.unwrap()).unwrap());
            }
            Some(messages)
        })
    }

    /// Ends as by `kill -9`.
    fn crash(mut self) {
        drop((self.mail, self.member));
        self.runtime.take().unwrap().shutdown_background();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client that waits for each answer.
struct Caller {
    tcp: TcpStream,
    received: Vec<u8>,
}

impl Caller {
    fn new(address: SocketAddr, hello: &str) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut caller = Self { tcp, received: Vec::new() };
        assert_eq!(caller.hears().code, 220);
        assert_eq!(caller.asks(&format!("{hello} client.example")).code, 250);
        caller
    }

    fn asks(&mut self, line: &str) -> Reply {
        self.tcp.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.hears()
    }

    fn hears(&mut self) -> Reply {
        loop {
            if let Some((reply, used)) = parse_reply(&self.received).unwrap() {
                self.received.drain(..used);
                return reply;
            }
            let mut bytes = [0; 4096];
            let len = self.tcp.read(&mut bytes).unwrap();
            assert_ne!(len, 0, "the member closed the connection");
            self.received.extend_from_slice(&bytes[..len]);
        }
    }

    fn sends(&mut self, recipients: &[&str], content: &str, replies: usize) -> Vec<Reply> {
        assert_eq!(self.asks("MAIL FROM:<alice@x.example>").code, 250);
        for recipient in recipients {
            let reply = self.asks(&format!("RCPT TO:<{recipient}@x.example>"));
            assert_eq!(reply.code, 250, "{reply}");
        }
        assert_eq!(self.asks("DATA").code, 354);
        self.tcp.write_all(format!("{content}\r\n.\r\n").as_bytes()).unwrap();
        (0..replies).map(|_| self.hears()).collect()
    }
}

fn smtp(node: &Node, recipients: &[&str], content: &str) -> Reply {
    Caller::new(node.smtp, "EHLO").sends(recipients, content, 1).remove(0)
}

fn lmtp(node: &Node, recipients: &[&str], content: &str) -> Vec<String> {
    let replies = Caller::new(node.lmtp, "LHLO").sends(recipients, content, recipients.len());
    replies.iter().map(ToString::to_string).collect()
}

#[test]
fn a_message_enters_once_and_ends_in_the_account_wherever_it_is_open() {
    let world = World::new();
    let (a, b, c) = (world.start("a"), world.start("b"), world.start("c"));
    a.sees(|members| members.len() == 2);
    b.sees(|members| members.len() == 2);
    // Alice is opened at one member; the other one passes her mail on, and carol's to her cluster.
    assert_eq!(a.inbox(1), Some(vec![]));
    assert_eq!(b.inbox(1), None);
    assert_eq!(
        lmtp(&b, &["carol", "alice", "bob"], "Subject: hi\r\n\r\nbody"),
        ["250 2.0.0 delivered", "250 2.0.0 delivered", "250 2.0.0 delivered"]
    );
    for (node, number) in [(&a, 1), (&b, 2), (&c, 3)] {
        let messages = node.inbox(number).unwrap();
        assert_eq!(messages.len(), 1);
        let message = &messages[0];
        assert!(
            message.starts_with("Return-Path: <alice@x.example>\r\nReceived: from client.example ([127.0.0.1])\r\n"),
            "{message}"
        );
        assert!(message.contains("with LMTP id "), "{message}");
        assert!(message.ends_with("\r\nSubject: hi\r\n\r\nbody\r\n"), "{message}");
        assert_eq!(message.matches("Received:").count(), 1);
    }
}

#[test]
fn smtp_delivers_one_at_once_and_queues_several() {
    let world = World::new();
    let (a, c) = (world.start("a"), world.start("c"));
    assert_eq!(smtp(&a, &["alice"], "one").to_string(), "250 2.0.0 delivered");
    assert_eq!(smtp(&a, &["carol"], "one").to_string(), "250 2.0.0 delivered");
    assert_eq!((a.inbox(1).unwrap().len(), c.inbox(3).unwrap().len()), (1, 1));
    // The same address twice is one delivery.
    let reply = smtp(&a, &["alice", "carol", "bob", "ALICE"], "several").to_string();
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    until("the queue to be empty", || a.mail.spool().shards().iter().all(|(_, queue)| queue.is_empty()));
    assert_eq!(a.inbox(1).unwrap().len(), 2);
    assert_eq!(a.inbox(2).unwrap().len(), 1);
    assert_eq!(c.inbox(3).unwrap().len(), 2);
}

#[test]
fn a_loop_ends() {
    let world = World::new();
    let a = world.start("a");
    let passed = "Received: from x by y; z\r\n".repeat(51);
    assert_eq!(
        smtp(&a, &["alice"], &format!("{passed}\r\nbody")).to_string(),
        "554 5.4.6 too many hops, this is a loop"
    );
    assert_eq!(a.inbox(1), Some(vec![]));
}

#[test]
fn a_dead_members_queue_is_taken_over_and_nothing_is_lost_or_doubled() {
    let world = World::new();
    let (a, b) = (world.start("a"), world.start("b"));
    a.sees(|members| members.len() == 2);
    // Cluster two is down: its mail waits in member a's shards.
    for number in 0..8 {
        let reply = smtp(&a, &["alice", "carol"], &format!("message {number}")).to_string();
        assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    }
    a.crash();
    b.sees(|members| members == ["b"]);
    let c = world.start("c");
    until("carol to get her mail", || c.inbox(3).is_some_and(|messages| messages.len() >= 8));
    until("the queue to be empty", || {
        let shards = b.mail.spool().shards();
        shards.len() == 64 && shards.iter().all(|(_, queue)| queue.is_empty())
    });
    for (node, number) in [(&b, 1), (&c, 3)] {
        let mut messages = node.inbox(number).unwrap();
        assert_eq!(messages.len(), 8);
        messages.sort_by_key(|message| message.rsplit("message ").next().map(str::to_owned));
        messages.dedup_by_key(|message| message.rsplit("message ").next().map(str::to_owned));
        assert_eq!(messages.len(), 8);
    }
}

#[test]
fn a_recipient_that_is_gone_bounces_and_a_bounce_that_fails_ends_at_the_postmaster() {
    let world = World::new();
    let a = world.start("a");
    let entry = |reverse_path: Option<&str>| NewEntry {
        reverse_path: reverse_path.map(|path| Mailbox::parse(path).unwrap()),
        parameters: MailParameters::default(),
        addressees: vec![Addressee {
            recipient: Recipient {
                address: Mailbox::parse("gone@x.example").unwrap(),
                parameters: RcptParameters::default(),
            },
            delivery_id: 1,
        }],
        arrived_ms: clock::unix_ms(),
        expires_ms: u64::MAX,
    };
    let content = Bytes::from_static(b"Subject: lost\r\n\r\nbody\r\n");
    a.run(a.mail.spool().accept(entry(Some("alice@x.example")), content.clone())).unwrap();
    until("the bounce", || a.inbox(1).is_some_and(|messages| messages.len() == 1));
    let bounce = a.inbox(1).unwrap().remove(0);
    assert!(bounce.starts_with("Return-Path: <>\r\n"), "{bounce}");
    assert!(
        bounce.contains("Final-Recipient: rfc822; gone@x.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"),
        "{bounce}"
    );
    // Nobody is postmaster here: the double bounce fails too and the queue is empty in the end.
    a.run(a.mail.spool().accept(entry(None), content)).unwrap();
    until("the queue to be empty", || a.mail.spool().shards().iter().all(|(_, queue)| queue.is_empty()));
    assert_eq!(a.inbox(1).unwrap().len(), 1);
}
