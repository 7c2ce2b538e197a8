//! Whole connections over loopback: clients, a router, and members that are as simple as can be.

use std::{collections::BTreeMap, io, sync::Mutex, time::Instant};

use laniakea_config::Mechanism;
use laniakea_directory::{AccountId, AccountRecord, ClusterName, ClusterRecord, Directory, LoginName, Secret, Status};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use super::*;
use crate::{
    dialogue::{Player, Said, Script},
    drive::{header::receive_preamble, listener::accept_loop, login::DialError, test_context, test_tls::TestTls},
    handoff::{Moved, Preamble, Ticket, TicketKey},
    session::Protection,
    wire::sasl::{Proof, encode},
};

const KEY: [u8; 32] = [5; 32];

/// A member that knows one password, and who owns which account.
#[derive(Clone)]
struct FakeMember {
    address: SocketAddr,
    /// Who owns what is asked for; `None` is this member.
    owner: Arc<Mutex<Option<SocketAddr>>>,
    seen: Arc<Mutex<Vec<Preamble>>>,
}

impl FakeMember {
    async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let member = Self { address: listener.local_addr().unwrap(), owner: Arc::default(), seen: Arc::default() };
        let serving = member.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(tcp));
            }
        });
        member
    }

    async fn serve(self, mut tcp: TcpStream) {
        let preamble = receive_preamble(&mut tcp).await.unwrap();
        self.seen.lock().unwrap().push(preamble.clone());
        let stream = Stream::plain(tcp);
        match preamble.protocol {
            Protocol::Pop3 => self.log_in::<Pop3Login>(stream, &preamble).await,
            _ => self.log_in::<ImapLogin>(stream, &preamble).await,
        }
    }

    async fn log_in<S: Front>(self, mut stream: Stream, preamble: &Preamble) {
        let key = TicketKey::new(&KEY);
        if let Some(ticket) = &preamble.ticket {
            let ticket = key.open(ticket, 0).unwrap();
            let greeting = match S::PROTOCOL {
                Protocol::Pop3 => format!("+OK {}\r\n", ticket.login),
                _ => format!("* PREAUTH [CAPABILITY IMAP4rev1] {}\r\n", ticket.login),
            };
            stream.write_all(greeting.as_bytes()).await.unwrap();
            return echo(stream, Vec::new()).await;
        }
        let mechanisms = Mechanism::ALL.into();
        let settings = Settings { mechanisms, ..Settings::new("member", Protection::Plain, Peer::Router) };
        let mut prelogin = PreLogin::new(stream, S::begin(Instant::now(), settings), None);
        loop {
            match prelogin.run().await {
                Event::Login(mut waiting, request) => {
                    let verdict = self.verdict(&request, &key, &mut waiting).await;
                    prelogin = waiting.answer(verdict);
                }
                Event::LoggedIn(stream, forward) => return echo(stream, forward.unread).await,
                Event::Over => return,
            }
        }
    }

    async fn verdict(&self, request: &LoginRequest, key: &TicketKey, prover: &mut impl Prover) -> LoginOutcome {
        let is_right = match &request.proof {
            Proof::Password(secret) => secret.expose() == b"wonder",
            Proof::Exchange { .. } => {
                let proof = prover.ask(b"salt").await;
                proof.is_some_and(|proof| proof.expose() == b"proof") && prover.ask(b"signature").await.is_some()
            }
        };
        if !is_right || request.login.as_str() != "eve" {
            return LoginOutcome::Refused(Fault::BadCredentials);
        }
        match *self.owner.lock().unwrap() {
            None => LoginOutcome::Accepted { capabilities: Some("IMAP4rev1".into()), text: "eve".into() },
            Some(owner) => {
                let login = request.login.to_string();
                let ticket = Ticket { account: account().id, login, expires_unix_ms: 1, state: vec![] };
                LoginOutcome::Moved(Moved { owner, ticket: key.seal(&ticket).unwrap() })
            }
        }
    }
}

async fn echo(stream: Stream, unread: Vec<u8>) {
    let (mut read, mut write) = tokio::io::split(stream);
    write.write_all(&unread).await.unwrap();
    let _ = tokio::io::copy(&mut read, &mut write).await;
}

fn account() -> AccountRecord {
    AccountRecord {
        id: "6f3c1c7e-6b0b-4f0e-9b56-3f6a2a5d9a10".parse::<AccountId>().unwrap(),
        dn: "uid=eve".into(),
        login: "eve".into(),
        addresses: vec![],
        mail_host: "cluster-1".into(),
        forward: None,
        status: Status::Active,
        quota: None,
    }
}

struct Rig {
    context: Arc<RouterContext>,
    addresses: BTreeMap<Service, SocketAddr>,
    _files: TestTls,
}

impl Rig {
    async fn new(members: &[SocketAddr], proxy_from: &[&str]) -> Self {
        Self::offering(&Mechanism::ALWAYS, members, proxy_from).await
    }

    async fn offering(mechanisms: &[Mechanism], members: &[SocketAddr], proxy_from: &[&str]) -> Self {
        let cluster = ClusterRecord {
            name: ClusterName::new("cluster-1"),
            members: members.iter().map(SocketAddr::to_string).collect(),
        };
        let foreign = AccountRecord {
            id: "6f3c1c7e-6b0b-4f0e-9b56-3f6a2a5d9a11".parse().unwrap(),
            dn: "uid=ann".into(),
            login: "ann".into(),
            mail_host: "dovecot.example.net".into(),
            ..account()
        };
        let secret = || Secret::new(b"unused by routers".to_vec());
        let directory = Directory::in_memory(vec![(account(), secret()), (foreign, secret())], vec![cluster]);
        let files = TestTls::new();
        let context = Arc::new(RouterContext {
            mechanisms: mechanisms.into(),
            proxy_from: proxy_from.iter().map(|network| network.parse().unwrap()).collect(),
            ..test_context::context(directory, &files)
        });
        let mut rig = Self { context, addresses: BTreeMap::new(), _files: files };
        for service in [Service::Imap, Service::Pop3, Service::Imaps] {
            rig.listen(service).await;
        }
        rig
    }

    async fn listen(&mut self, service: Service) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.addresses.insert(service, listener.local_addr().unwrap());
        let context = self.context.clone();
        let serve = move |tcp, peer, admission| {
            tokio::spawn(serve_client(tcp, peer, service, context.clone(), admission));
        };
        let (gate, shutdown) = (self.context.gate.clone(), self.context.shutdown.clone());
        tokio::spawn(accept_loop(listener, gate, shutdown, serve));
    }

    async fn connect(&self, service: Service) -> Caller {
        Caller(BufReader::new(TcpStream::connect(self.addresses[&service]).await.unwrap()))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.context.shutdown.cancel();
    }
}

struct Caller(BufReader<TcpStream>);

impl Caller {
    async fn says(&mut self, text: &str) -> io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes()).await
    }

    async fn hears(&mut self, expected: &str) {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        assert_eq!(line, format!("{expected}\r\n"));
    }

    async fn hears_greeting(&mut self) {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        assert!(line.contains(" mail.example.org ready"), "{line}");
    }

    async fn hears_the_end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.unwrap();
        assert_eq!(String::from_utf8(rest).unwrap(), "");
    }
}

#[tokio::test]
async fn imap_reaches_the_member_and_everything_after_login_is_its_own() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &[]).await;
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    client.says("a1 LOGIN eve {6+}\r\nwonder\r\na2 SELECT INBOX\r\n").await.unwrap();
    client.hears("a1 OK [CAPABILITY IMAP4rev1] eve").await;
    client.hears("a2 SELECT INBOX").await;
    client.says("a3 NOOP\r\n").await.unwrap();
    client.hears("a3 NOOP").await;
    let seen = member.seen.lock().unwrap()[0].clone();
    assert_eq!(seen.client, client.0.get_ref().local_addr().unwrap());
    assert_eq!((seen.protocol, seen.hops, seen.tls), (Protocol::Imap, 0, None));
}

#[tokio::test]
async fn a_router_that_stops_tells_everybody_between_two_commands() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &[]).await;
    let (mut early, mut idle) = (rig.connect(Service::Imap).await, rig.connect(Service::Imap).await);
    early.hears_greeting().await;
    idle.hears_greeting().await;
    idle.says("a1 LOGIN eve wonder\r\na2 IDLE\r\n").await.unwrap();
    idle.hears("a1 OK [CAPABILITY IMAP4rev1] eve").await;
    idle.hears("a2 IDLE").await;
    rig.context.shutdown.cancel();
    for client in [&mut early, &mut idle] {
        client.hears("* BYE [UNAVAILABLE] shutting down").await;
        client.hears_the_end().await;
    }
}

#[tokio::test]
async fn pop3_reaches_the_member() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &[]).await;
    let mut client = rig.connect(Service::Pop3).await;
    client.hears_greeting().await;
    client.says("USER eve\r\nPASS wonder\r\nSTAT\r\n").await.unwrap();
    client.hears("+OK now the password").await;
    client.hears("+OK eve").await;
    client.hears("STAT").await;
}

#[tokio::test]
async fn moved_is_followed_with_its_ticket_and_remembered() {
    let (member, owner) = (FakeMember::start().await, FakeMember::start().await);
    *member.owner.lock().unwrap() = Some(owner.address);
    let rig = Rig::new(&[member.address], &[]).await;
    for service in [Service::Imap, Service::Pop3] {
        let mut client = rig.connect(service).await;
        client.hears_greeting().await;
        match service {
            Service::Imap => {
                client.says("a1 AUTHENTICATE PLAIN AGV2ZQB3b25kZXI=\r\n").await.unwrap();
                client.hears("a1 OK [CAPABILITY IMAP4rev1] eve").await;
            }
            _ => {
                client.says("AUTH PLAIN AGV2ZQB3b25kZXI=\r\n").await.unwrap();
                client.hears("+OK eve").await;
            }
        }
    }
    assert_eq!(member.seen.lock().unwrap().len(), 1);
    let seen = owner.seen.lock().unwrap().clone();
    assert_eq!(seen.iter().map(|preamble| preamble.hops).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(seen[0].session, member.seen.lock().unwrap()[0].session);
}

#[tokio::test]
async fn an_exchange_is_relayed_message_by_message_and_ends_at_the_owner() {
    let (member, owner) = (FakeMember::start().await, FakeMember::start().await);
    *member.owner.lock().unwrap() = Some(owner.address);
    let rig = Rig::offering(&Mechanism::ALL, &[member.address], &[]).await;
    let first = encode(b"n,,n=eve,r=nonce");
    let (salt, proof, signature) = (encode(b"salt"), encode(b"proof"), encode(b"signature"));
    for (service, tag) in [(Service::Imap, "a1 AUTHENTICATE"), (Service::Pop3, "AUTH")] {
        let mut client = rig.connect(service).await;
        client.hears_greeting().await;
        client.says(&format!("{tag} SCRAM-SHA-256 {}\r\n", *first)).await.unwrap();
        client.hears(&format!("+ {}", *salt)).await;
        client.says(&format!("{}\r\n", *proof)).await.unwrap();
        client.hears(&format!("+ {}", *signature)).await;
        client.says("\r\nNEXT\r\n").await.unwrap();
        client.hears(if service == Service::Imap { "a1 OK [CAPABILITY IMAP4rev1] eve" } else { "+OK eve" }).await;
        client.hears("NEXT").await;
        // The second client goes to the owner at once.
        member.owner.lock().unwrap().take();
    }
}

#[tokio::test]
async fn who_gives_an_exchange_up_may_log_in_in_another_way() {
    let member = FakeMember::start().await;
    let rig = Rig::offering(&Mechanism::ALL, &[member.address], &[]).await;
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    let first = encode(b"n,,n=eve,r=nonce");
    for (answer, reply) in [("*", "a1 BAD authentication cancelled"), ("!", "a1 BAD malformed response")] {
        client.says(&format!("a1 AUTHENTICATE SCRAM-SHA-256 {}\r\n", *first)).await.unwrap();
        client.hears(&format!("+ {}", *encode(b"salt"))).await;
        // What is behind it in the packet waits for the end of the exchange.
        client.says(&format!("{answer}\r\na2 NOOP\r\n")).await.unwrap();
        client.hears(reply).await;
        client.hears("a2 OK done").await;
    }
    client.says("a3 LOGIN eve wonder\r\n").await.unwrap();
    client.hears("a3 OK [CAPABILITY IMAP4rev1] eve").await;
}

#[tokio::test]
async fn a_member_that_is_lost_in_an_exchange_makes_nobody_else_go_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = FakeMember::start().await;
    let rig = Rig::offering(&Mechanism::ALL, &[listener.local_addr().unwrap(), other.address], &[]).await;
    *other.owner.lock().unwrap() = Some(listener.local_addr().unwrap());
    let lost = tokio::spawn(async move {
        let mut tcp = listener.accept().await.unwrap().0;
        receive_preamble(&mut tcp).await.unwrap();
        tcp.write_all(b"* OK [CAPABILITY IMAP4rev1] member ready\r\n+ c2FsdA==\r\n").await.unwrap();
        let mut line = String::new();
        // Its first line is the command, its second the answer.
        let mut tcp = BufReader::new(tcp);
        for _ in 0..2 {
            tcp.read_line(&mut line).await.unwrap();
        }
    });
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    client.says(&format!("a1 AUTHENTICATE SCRAM-SHA-256 {}\r\n", *encode(b"n,,n=eve,r=nonce"))).await.unwrap();
    client.hears("+ c2FsdA==").await;
    client.says("cHJvb2Y=\r\n").await.unwrap();
    if lost.is_finished() || other.seen.lock().unwrap().is_empty() {
        client.hears("a1 NO [UNAVAILABLE] temporarily unavailable, try again").await;
        assert!(other.seen.lock().unwrap().is_empty());
    } else {
        // The plan began with the other one, which asked and got its proof.
        client.hears(&format!("+ {}", *encode(b"signature"))).await;
    }
}

#[tokio::test]
async fn an_owner_that_refuses_the_ticket_verifies_the_login_itself() {
    let (member, owner) = (FakeMember::start().await, FakeMember::start().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    *member.owner.lock().unwrap() = Some(listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        assert!(receive_preamble(&mut first).await.unwrap().ticket.is_some());
        first.write_all(b"* BYE [UNAVAILABLE] not by this clock\r\n").await.unwrap();
        owner.serve(listener.accept().await.unwrap().0).await;
    });
    let rig = Rig::new(&[member.address], &[]).await;
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    client.says("a1 LOGIN eve wonder\r\n").await.unwrap();
    client.hears("a1 OK [CAPABILITY IMAP4rev1] eve").await;
    assert_eq!(member.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn unknown_accounts_and_wrong_passwords_look_alike_to_the_byte() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &[]).await;
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    client.says("a1 LOGIN eve wrong\r\n").await.unwrap();
    client.hears("a1 NO [AUTHENTICATIONFAILED] authentication failed").await;
    client.says("a1 LOGIN nobody wonder\r\n").await.unwrap();
    client.hears("a1 NO [AUTHENTICATIONFAILED] authentication failed").await;
    // Both were asked of a member.
    assert_eq!(member.seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_separator_in_a_name_opens_nobody_elses_account() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &[]).await;
    let login = async |name: &str| {
        let name = LoginName::parse(name).unwrap();
        rig.context.directory.account_by_login(&name).await.unwrap().map(|account| account.id)
    };
    for name in ["eve", "EVE", "Eve"] {
        assert_eq!(login(name).await, Some(account().id), "{name}");
    }
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    // What others take for `eve`, opened by `admin`.
    for name in ["eve*admin", "eve%admin", "eve/admin", "eve|admin", "eve+admin", "admin*eve", "*eve", "eve*"] {
        assert_eq!(login(name).await, None, "{name}");
        let mut client = rig.connect(Service::Imap).await;
        client.hears_greeting().await;
        client.says(&format!("a1 LOGIN \"{name}\" wonder\r\n")).await.unwrap();
        client.hears("a1 NO [AUTHENTICATIONFAILED] authentication failed").await;
    }
    // The same by SASL: `eve` to be opened with the name and password of `admin` (RFC 4616 §2).
    client.says("a2 AUTHENTICATE PLAIN ZXZlAGFkbWluAHdvbmRlcg==\r\n").await.unwrap();
    client.hears("a2 NO [AUTHENTICATIONFAILED] authentication failed").await;
}

#[tokio::test]
async fn a_login_that_is_half_done_when_the_router_stops_ends() {
    let member = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::new(&[member.local_addr().unwrap()], &[]).await;
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    client.says("a1 LOGIN eve wonder\r\n").await.unwrap();
    let (mut last, _) = member.accept().await.unwrap();
    receive_preamble(&mut last).await.unwrap();
    rig.context.shutdown.cancel();
    last.write_all(b"* OK member ready\r\na1 OK [CAPABILITY IMAP4rev1] eve\r\n").await.unwrap();
    // The member is let go, then the client, whatever was said last: both come to their ends.
    let mut rest = Vec::new();
    let _ = last.read_to_end(&mut rest).await;
    drop(last);
    let _ = client.0.read_to_end(&mut rest).await;
    assert!(!String::from_utf8_lossy(&rest).contains("a1 NO"));
}

#[tokio::test]
async fn a_login_waits_for_a_member_that_comes_back() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let rig = Rig::new(&[address], &[]).await;
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    client.says("a1 LOGIN eve wonder\r\n").await.unwrap();
    while rig.context.routes.is_up(address) {
        tokio::task::yield_now().await;
    }
    let _member = FakeMember::on(super::super::listener::bind(address).unwrap());
    client.hears("a1 OK [CAPABILITY IMAP4rev1] eve").await;
}

#[tokio::test]
async fn a_frozen_member_loses_its_connections() {
    // The kernel goes on accepting for a frozen process; nothing ever answers.
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = frozen.local_addr().unwrap();
    let rig = Rig::new(&[address], &[]).await;
    let lifeline = rig.context.routes.lifeline(address);
    rig.context.routes.watch().await;
    lifeline.cancelled().await;
    // A new connection has a new lifeline.
    assert!(!rig.context.routes.lifeline(address).is_cancelled());
}

#[tokio::test]
async fn a_member_that_freezes_in_the_middle_of_a_login_is_left() {
    let member = FakeMember::start().await;
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = frozen.local_addr().unwrap();
    let rig = Rig::new(&[member.address, address], &[]).await;
    rig.context.routes.on_moved(account().id, address);
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    client.says("a1 LOGIN eve wonder\r\n").await.unwrap();
    let (mut last, _) = frozen.accept().await.unwrap();
    // The last thing it does, in this and any connection.
    last.write_all(b"* OK member ready\r\n").await.unwrap();
    client.hears("a1 OK [CAPABILITY IMAP4rev1] eve").await;
    assert_eq!(member.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_member_that_stops_keeps_its_connections() {
    let member = FakeMember::start().await;
    let stopped = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let rig = Rig::new(&[member.address, stopped], &[]).await;
    let lifelines = [member.address, stopped].map(|member| rig.context.routes.lifeline(member));
    rig.context.routes.watch().await;
    assert!(rig.context.routes.is_up(member.address));
    assert!(!rig.context.routes.is_up(stopped));
    assert!(lifelines.iter().all(|lifeline| !lifeline.is_cancelled()));
}

#[tokio::test]
async fn a_member_that_is_back_is_found_by_a_probe() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let rig = Rig::new(&[address], &[]).await;
    let refused = DialError::Connect(std::io::ErrorKind::ConnectionRefused.into());
    rig.context.routes.on_no_answer(address, Instant::now(), &refused);
    let _member = FakeMember::on(super::super::listener::bind(address).unwrap());
    while !rig.context.routes.is_up(address) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_dead_member_is_passed_over() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let member = FakeMember::start().await;
    let rig = Rig::new(&[dead, member.address], &[]).await;
    for _ in 0..3 {
        let mut client = rig.connect(Service::Imap).await;
        client.hears_greeting().await;
        client.says("a1 LOGIN eve wonder\r\n").await.unwrap();
        client.hears("a1 OK [CAPABILITY IMAP4rev1] eve").await;
    }
}

#[tokio::test]
async fn a_foreign_home_is_no_wrong_password() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &[]).await;
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    client.says("a1 LOGIN ann wonder\r\n").await.unwrap();
    client.hears("a1 NO [UNAVAILABLE] temporarily unavailable, try again").await;
}

#[tokio::test]
async fn a_balancer_must_introduce_its_clients_and_is_believed() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &["127.0.0.0/8"]).await;
    let mut client = rig.connect(Service::Imap).await;
    client.says("PROXY TCP4 127.0.0.9 127.0.0.8 1234 143\r\na1 LOGIN eve wonder\r\n").await.unwrap();
    client.hears_greeting().await;
    client.hears("a1 OK [CAPABILITY IMAP4rev1] eve").await;
    assert_eq!(member.seen.lock().unwrap()[0].client, "127.0.0.9:1234".parse().unwrap());
    let mut stranger = rig.connect(Service::Imap).await;
    stranger.says("a1 LOGIN eve wonder\r\n").await.unwrap();
    let mut line = String::new();
    // Nothing but the end, or a reset for what was not read.
    assert!(!matches!(stranger.0.read_line(&mut line).await, Ok(length) if length > 0));
}

#[tokio::test]
async fn a_client_that_sends_its_own_header_is_not_believed() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &[]).await;
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    client.says("PROXY TCP4 192.0.2.9 127.0.0.8 1234 143\r\n").await.unwrap();
    client.hears("PROXY BAD unknown command, or one that needs a login").await;
}

#[tokio::test]
async fn garbage_where_tls_belongs_ends_quietly() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &[]).await;
    let mut client = rig.connect(Service::Imaps).await;
    client.says("a1 LOGIN eve wonder\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = client.0.read_to_end(&mut rest).await;
    assert!(!String::from_utf8_lossy(&rest).contains("OK"));
}

#[tokio::test]
async fn one_address_cannot_take_all_places() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &[]).await;
    let mut clients = Vec::new();
    for _ in 0..rig.context.limits.connections_per_address_max {
        let mut client = rig.connect(Service::Imap).await;
        client.hears_greeting().await;
        clients.push(client);
    }
    rig.connect(Service::Imap).await.hears_the_end().await;
    drop(clients.pop());
    // The place is given back once the router has noticed.
    loop {
        let mut client = rig.connect(Service::Imap).await;
        let mut line = String::new();
        client.0.read_line(&mut line).await.unwrap();
        if !line.is_empty() {
            break;
        }
    }
}

#[tokio::test]
async fn names_are_passed_on_as_parsed() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &[]).await;
    let mut client = rig.connect(Service::Imap).await;
    client.hears_greeting().await;
    client.says("a1 LOGIN \"*)(uid=*\" x\r\n").await.unwrap();
    client.hears("a1 NO [AUTHENTICATIONFAILED] authentication failed").await;
    assert!(LoginName::parse("*)(uid=*").is_ok());
}

/// A dialogue's client over TCP.
struct Wire(std::net::TcpStream);

impl Player for Wire {
    const HEARS_SILENCE: bool = false;

    fn send(&mut self, bytes: &[u8]) {
        // A router that has closed already has said so; what it said is still to be heard.
        let _ = io::Write::write_all(&mut self.0, bytes);
    }

    fn answer(&mut self, _: &str) -> Result<(), String> {
        Err("over TCP the driver is real".into())
    }

    fn next_said(&mut self) -> Option<Said> {
        let mut bytes = [0; 4096];
        match io::Read::read(&mut self.0, &mut bytes) {
            Ok(0) | Err(_) => Some(Said::Asks("close".into())),
            Ok(length) => Some(Said::Bytes(bytes[..length].to_vec())),
        }
    }
}

#[tokio::test]
async fn dialogues_go_the_same_way_over_tcp() {
    let member = FakeMember::start().await;
    let rig = Rig::new(&[member.address], &[]).await;
    let dialogues = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/dialogues");
    let mut played = 0;
    for (folder, service) in [("imap-prelogin", Service::Imap), ("pop3-prelogin", Service::Pop3)] {
        for (path, script) in Script::all_in(&dialogues.join(folder)).unwrap() {
            // The rig offers TLS and takes nobody for a router.
            if script.needs_driver() || !script.settings.is_empty() {
                continue;
            }
            let address = rig.addresses[&service];
            let result = tokio::task::spawn_blocking(move || {
                script.play(&mut Wire(std::net::TcpStream::connect(address).unwrap()))
            });
            result.await.unwrap().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            played += 1;
        }
    }
    assert!(played > 10, "{played}");
}

#[test]
fn a_forwarded_connection_needs_little_memory() {
    fn bytes<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }
    assert!(bytes(serve_client) <= 1024, "{} bytes", bytes(serve_client));
}
