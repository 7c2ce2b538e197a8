//! Whole transactions over loopback: a client, a router, and members that remember what they were given.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use laniakea_config::{Limits, Mechanism};
use laniakea_directory::{AccountId, AccountRecord, Address, ClusterName, ClusterRecord, Directory, Secret, Status};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    drive::{header::receive_preamble, test_context, test_tls::TestTls, watch},
    handoff::{Preamble, SessionId, TlsFacts},
    route::{Member, RouteKey},
    session::smtp::{Envelope, Recipient},
    wire::smtp::{Mailbox, Reply, parse_reply},
};

/// How a member behaves once it has the whole message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Takes,
    /// Drops the connection instead of answering.
    Dies,
    /// Says nothing any more, in this connection or any other.
    Freezes,
    /// Answers RCPT for `b@x.example` with 550.
    RefusesB,
}

#[derive(Clone)]
struct FakeMember {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    frozen: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<Taken>>>,
}

#[derive(Clone, Debug)]
struct Taken {
    preamble: Preamble,
    hello: String,
    recipients: Vec<String>,
    ids: Vec<u128>,
    content: Vec<u8>,
}

impl FakeMember {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (frozen, taken) = Default::default();
        let member =
            Self { address: listener.local_addr().unwrap(), manner: Arc::new(Mutex::new(manner)), frozen, taken };
        let serving = member.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(tcp));
            }
        });
        member
    }

    async fn serve(self, mut tcp: TcpStream) {
        if self.frozen.load(Ordering::Relaxed) {
            // As the kernel does for a frozen process: the connection stands, and nothing comes.
            let () = std::future::pending().await;
        }
        let preamble = receive_preamble(&mut tcp).await.unwrap();
        let dialect = if preamble.protocol.as_str() == "lmtp" { Dialect::Lmtp } else { Dialect::Smtp };
        let settings = Settings {
            dialect,
            peer: Peer::Router,
            host: "member".into(),
            domain: "x.example".into(),
            message_bytes_max: 1 << 24,
            recipients_max: 100,
            starttls: false,
            believes_claims: false,
            submitter: None,
            tls: false,
        };
        let shutdown = CancellationToken::new();
        let connection =
            Connection { stream: Stream::plain(tcp), tls: None, unread: Vec::new(), shutdown: shutdown.clone() };
        let memory = Memory { member: self, preamble, shutdown: shutdown.clone(), envelope: None, content: Vec::new() };
        tokio::select! {
            _ = converse(connection, settings, None, memory) => {}
            () = shutdown.cancelled() => {}
        }
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap()
    }

    fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }
}

/// The exchange of a member that remembers.
struct Memory {
    member: FakeMember,
    preamble: Preamble,
    shutdown: CancellationToken,
    envelope: Option<Envelope>,
    content: Vec<u8>,
}

impl Exchange for Memory {
    async fn resolve(&mut self, recipient: Recipient) -> Result<Mailbox, Reply> {
        if self.member.manner() == Manner::RefusesB && recipient.address.local() == "b" {
            return Err(Reply::new(550, (5, 1, 1), "not here"));
        }
        Ok(recipient.address)
    }

    async fn begin(&mut self, envelope: Envelope, _: Option<TlsFacts>) -> Result<(), Reply> {
        self.envelope = Some(envelope);
        self.content.clear();
        Ok(())
    }

    async fn content(&mut self, bytes: Vec<u8>) {
        self.content.extend_from_slice(&bytes);
    }

    async fn end(&mut self) -> Vec<Reply> {
        let envelope = self.envelope.take().unwrap();
        let recipients: Vec<String> =
            envelope.recipients.iter().map(|recipient| recipient.address.to_string()).collect();
        let replies =
            recipients.iter().map(|recipient| Reply::new(250, (2, 0, 0), format!("took {recipient}"))).collect();
        let ids = envelope.recipients.iter().filter_map(|recipient| recipient.parameters.delivery_id).collect();
        let taken = Taken {
            preamble: self.preamble.clone(),
            hello: envelope.hello.name,
            recipients,
            ids,
            content: self.content.clone(),
        };
        self.member.taken.lock().unwrap().push(taken);
        match self.member.manner() {
            Manner::Takes | Manner::RefusesB => return replies,
            Manner::Dies => self.shutdown.cancel(),
            Manner::Freezes => self.member.frozen.store(true, Ordering::Relaxed),
        }
        std::future::pending().await
    }

    async fn abort(&mut self) {
        self.envelope = None;
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

/// A router before clusters `one` (accounts a and b) and `two` (account c).
struct Rig {
    context: Arc<RouterContext>,
    _files: TestTls,
}

impl Rig {
    fn new(one: &[SocketAddr], two: &[SocketAddr]) -> Self {
        let cluster = |name: &str, members: &[SocketAddr]| ClusterRecord {
            name: ClusterName::new(name),
            members: members.iter().map(SocketAddr::to_string).collect(),
        };
        let accounts = vec![account("a", 1, "one"), account("b", 2, "one"), account("c", 3, "two")];
        let directory = Directory::in_memory(accounts, vec![cluster("one", one), cluster("two", two)]);
        let files = TestTls::new();
        let context = Arc::new(RouterContext {
            domain: "x.example".into(),
            mechanisms: Mechanism::ALWAYS.into(),
            limits: Limits { message_bytes_max: 1 << 24, ..test_context::limits() },
            ..test_context::context(directory, &files)
        });
        tokio::spawn(watch(context.clone()));
        Self { context, _files: files }
    }

    async fn connect(&self, dialect: Dialect) -> Caller {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (caller, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (tcp, address) = accepted.unwrap();
        let client = Client {
            address,
            local: listener.local_addr().unwrap(),
            tls: None,
            session: SessionId(7),
            hops: 0,
            is_believed: false,
        };
        let (stream, context) = (Stream::plain(tcp), self.context.clone());
        match dialect {
            Dialect::Smtp => tokio::spawn(serve_smtp(stream, client, context)),
            Dialect::Lmtp => tokio::spawn(serve_lmtp(stream, client, context)),
        };
        let mut caller = Caller { tcp: caller.unwrap(), received: Vec::new() };
        assert_eq!(caller.hears().await.code, 220);
        let hello = if dialect == Dialect::Smtp { "EHLO client.example" } else { "LHLO client.example" };
        assert_eq!(caller.asks(hello).await.code, 250);
        caller
    }
}

struct Caller {
    tcp: TcpStream,
    received: Vec<u8>,
}

impl Caller {
    async fn asks(&mut self, line: &str) -> Reply {
        self.tcp.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.hears().await
    }

    async fn hears(&mut self) -> Reply {
        loop {
            if let Some((reply, used)) = parse_reply(&self.received).unwrap() {
                self.received.drain(..used);
                return reply;
            }
            assert_ne!(self.tcp.read_buf(&mut self.received).await.unwrap(), 0, "the router closed the connection");
        }
    }

    /// Sends a message; the replies to RCPT, then the last ones.
    async fn sends(&mut self, recipients: &[&str], content: &str, replies: usize) -> Vec<String> {
        let short = |reply: &Reply| format!("{} {}", reply.code, reply.enhanced.unwrap());
        assert_eq!(self.asks("MAIL FROM:<s@y.example> BODY=8BITMIME").await.code, 250);
        let mut all = Vec::new();
        for recipient in recipients {
            all.push(short(&self.asks(&format!("RCPT TO:<{recipient}>")).await));
        }
        let data = self.asks("DATA").await;
        if data.code != 354 {
            all.push(short(&data));
            return all;
        }
        self.tcp.write_all(content.as_bytes()).await.unwrap();
        self.tcp.write_all(b".\r\n").await.unwrap();
        for _ in 0..replies {
            all.push(short(&self.hears().await));
        }
        all
    }
}

#[tokio::test]
async fn smtp_goes_to_one_member_whole_and_as_it_came() {
    let (one, two) = (FakeMember::start(Manner::Takes).await, FakeMember::start(Manner::Takes).await);
    let rig = Rig::new(&[one.address], &[two.address]);
    let mut caller = rig.connect(Dialect::Smtp).await;
    let replies = caller.sends(&["a@x.example", "C@X.example"], "Subject: x\r\n\r\n..dot\r\n", 1).await;
    assert_eq!(replies, ["250 2.1.5", "250 2.1.5", "250 2.0.0"]);
    let taken = one.taken();
    assert_eq!(taken[0].content, b"Subject: x\r\n\r\n.dot\r\n");
    assert_eq!(taken[0].recipients, ["a@x.example", "C@X.example"]);
    assert_eq!(taken[0].hello, "client.example");
    assert_eq!((taken[0].preamble.hops, taken[0].preamble.session), (0, SessionId(7)));
    assert!(two.taken().is_empty());
    // The second transaction of a client uses the same connection to the member.
    caller.sends(&["b@x.example"], "x\r\n", 1).await;
    assert_eq!(one.taken()[1].recipients, ["b@x.example"]);
}

#[tokio::test]
async fn nobody_relays_for_strangers() {
    let one = FakeMember::start(Manner::Takes).await;
    let rig = Rig::new(&[one.address], &[]);
    for dialect in [Dialect::Smtp, Dialect::Lmtp] {
        let mut caller = rig.connect(dialect).await;
        let replies = caller.sends(&["nobody@x.example", "someone@elsewhere.example"], "", 0).await;
        assert_eq!(replies, ["550 5.1.1", "550 5.7.1", "503 5.5.1"]);
    }
}

#[tokio::test]
async fn a_member_that_dies_with_the_message_costs_a_temporary_failure() {
    let one = FakeMember::start(Manner::Dies).await;
    let rig = Rig::new(&[one.address], &[]);
    let mut caller = rig.connect(Dialect::Smtp).await;
    assert_eq!(caller.sends(&["a@x.example"], "x\r\n", 1).await, ["250 2.1.5", "451 4.3.0"]);
    // The connection to the client lives on.
    assert_eq!(caller.asks("NOOP").await.code, 250);
}

#[tokio::test]
async fn a_cluster_that_is_down_leaves_its_mail_to_another_ones_queue() {
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let two = FakeMember::start(Manner::Takes).await;
    let rig = Rig::new(&[nowhere], &[two.address]);
    let mut caller = rig.connect(Dialect::Smtp).await;
    assert_eq!(caller.sends(&["a@x.example"], "x\r\n", 1).await, ["250 2.1.5", "250 2.0.0"]);
    assert_eq!(two.taken().len(), 1);
}

#[tokio::test]
async fn a_member_that_refuses_one_of_several_gets_none() {
    let (one, two) = (FakeMember::start(Manner::RefusesB).await, FakeMember::start(Manner::Takes).await);
    let rig = Rig::new(&[one.address], &[two.address]);
    let mut caller = rig.connect(Dialect::Smtp).await;
    let replies = caller.sends(&["a@x.example", "b@x.example"], "x\r\n", 1).await;
    assert_eq!(replies.last().map(String::as_str), Some("250 2.0.0"));
    assert!(one.taken().is_empty());
    assert_eq!(two.taken()[0].recipients, ["a@x.example", "b@x.example"]);
}

#[tokio::test]
async fn lmtp_is_split_by_cluster_and_answered_in_order() {
    let (one, two) = (FakeMember::start(Manner::RefusesB).await, FakeMember::start(Manner::Takes).await);
    let rig = Rig::new(&[one.address], &[two.address]);
    let mut caller = rig.connect(Dialect::Lmtp).await;
    let content = "x".repeat(70) + "\r\n";
    let replies = caller.sends(&["c@x.example", "b@x.example", "a@x.example"], &content.repeat(20_000), 3).await;
    assert_eq!(replies, ["250 2.1.5", "250 2.1.5", "250 2.1.5", "250 2.0.0", "550 5.1.1", "250 2.0.0"]);
    assert_eq!(one.taken()[0].recipients, ["a@x.example"]);
    assert_eq!(two.taken()[0].recipients, ["c@x.example"]);
    assert_eq!(one.taken()[0].content.len(), 20_000 * 72);
    assert_eq!(one.taken()[0].content, two.taken()[0].content);
}

#[tokio::test]
async fn a_cluster_that_is_down_costs_only_its_own_recipients() {
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let one = FakeMember::start(Manner::Takes).await;
    let rig = Rig::new(&[one.address], &[nowhere]);
    let mut caller = rig.connect(Dialect::Lmtp).await;
    let replies = caller.sends(&["c@x.example", "a@x.example"], "x\r\n", 2).await;
    assert_eq!(replies, ["250 2.1.5", "250 2.1.5", "451 4.3.0", "250 2.0.0"]);
    let one = FakeMember::start(Manner::Takes).await;
    let dying = FakeMember::start(Manner::Dies).await;
    let rig = Rig::new(&[one.address], &[dying.address]);
    let mut caller = rig.connect(Dialect::Lmtp).await;
    let replies = caller.sends(&["c@x.example", "a@x.example"], "x\r\n", 2).await;
    assert_eq!(replies, ["250 2.1.5", "250 2.1.5", "451 4.3.0", "250 2.0.0"]);
}

/// Two members of one cluster, in the order in which mail for account a tries them.
async fn first_and_second() -> (FakeMember, FakeMember, Rig) {
    let pair = [FakeMember::start(Manner::Takes).await, FakeMember::start(Manner::Takes).await];
    let rig = Rig::new(&pair.each_ref().map(|member| member.address), &[]);
    let members = pair.each_ref().map(|one| Member { name: one.address.to_string(), address: one.address });
    let key = RouteKey::of_account(AccountId(uuid::Uuid::from_u128(1)));
    let first = rig.context.routes.plan(key, &members, None)[0];
    let [one, two] = pair;
    if one.address == first { (one, two, rig) } else { (two, one, rig) }
}

#[tokio::test]
async fn a_member_that_is_lost_with_the_message_is_replaced_and_the_deliveries_keep_their_names() {
    for (manner, dialect) in [
        (Manner::Dies, Dialect::Smtp),
        (Manner::Dies, Dialect::Lmtp),
        (Manner::Freezes, Dialect::Smtp),
        (Manner::Freezes, Dialect::Lmtp),
    ] {
        let (first, second, rig) = first_and_second().await;
        *first.manner.lock().unwrap() = manner;
        let mut caller = rig.connect(dialect).await;
        let expected = if dialect == Dialect::Smtp { 1 } else { 2 };
        let replies = caller.sends(&["a@x.example", "b@x.example"], "..x\r\n", expected).await;
        assert_eq!(replies[2..], ["250 2.0.0", "250 2.0.0"][..expected]);
        let (lost, taken) = (first.taken().remove(0), second.taken().remove(0));
        assert_eq!((lost.ids.len(), &lost.ids, &lost.recipients), (2, &taken.ids, &taken.recipients));
        assert_eq!((&taken.content[..], &lost.content), (&b".x\r\n"[..], &taken.content));
        assert_eq!((first.taken().len(), second.taken().len()), (1, 1));
    }
}

#[tokio::test]
async fn a_message_too_large_to_be_kept_must_come_again() {
    let (first, second, rig) = first_and_second().await;
    *first.manner.lock().unwrap() = Manner::Dies;
    let mut caller = rig.connect(Dialect::Smtp).await;
    let content = ("x".repeat(70) + "\r\n").repeat(20_000);
    assert_eq!(caller.sends(&["a@x.example"], &content, 1).await, ["250 2.1.5", "451 4.3.0"]);
    assert!(second.taken().is_empty());
}
