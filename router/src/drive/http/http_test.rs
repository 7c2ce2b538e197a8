//! Whole connections over loopback: clients that send bytes, a router, and a member that tells what it was asked.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
};
use laniakea_config::Limits;
use laniakea_directory::{AccountRecord, ClusterName, ClusterRecord, Directory, Secret, Status};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    drive::{Stream, header::receive_preamble, listener::accept_loop, test_context, test_tls::TestTls},
    handoff::{Preamble, Protocol},
};

const ANN: &str = "6f3c1c7e-6b0b-4f0e-9b56-3f6a2a5d9a10";
/// `ann:secret`.
const BASIC: &str = "Authorization: Basic YW5uOnNlY3JldA==\r\n";

/// A preamble, and the fields of a request behind it.
type Seen = (Preamble, BTreeMap<String, String>);

/// A member that answers each request with its own name, what was asked, and how.
#[derive(Clone)]
struct FakeMember {
    name: &'static str,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    is_frozen: Arc<AtomicBool>,
}

impl FakeMember {
    async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let member =
            Self { name, address, seen: Arc::default(), connections: Arc::default(), is_frozen: Arc::default() };
        let serving = member.clone();
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let member = serving.clone();
                tokio::spawn(async move {
                    let Ok(preamble) = receive_preamble(&mut tcp).await else { return };
                    if preamble.protocol != Protocol::Http {
                        // Somebody looks whether it is still there.
                        match member.is_frozen.load(Ordering::Relaxed) {
                            true => std::future::pending().await,
                            false => return tcp.write_all(b"* OK\r\n").await.unwrap(),
                        }
                    }
                    member.connections.fetch_add(1, Ordering::Relaxed);
                    let answers = service_fn(move |request| {
                        let (member, preamble) = (member.clone(), preamble.clone());
                        async move { member.answer(preamble, request).await }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(tcp), answers).with_upgrades().await;
                });
            }
        });
        member
    }

    async fn answer(
        self,
        preamble: Preamble,
        mut request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let fields =
            request.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        self.seen.lock().unwrap().push((preamble, fields.collect()));
        let mut response = Response::new(Full::default());
        match request.uri().path() {
            "/account" => {
                response.headers_mut().insert(ACCOUNT_FIELD, ANN.parse().unwrap());
                response.headers_mut().insert("laniakea-other", "x".parse().unwrap());
            }
            "/freeze" => {
                self.is_frozen.store(true, Ordering::Relaxed);
                std::future::pending().await
            }
            "/ws" => {
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert("connection", "upgrade".parse().unwrap());
                response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
                let switch = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let mut stream = TokioIo::new(switch.await.unwrap());
                    let mut word = [0; 4];
                    stream.read_exact(&mut word).await.unwrap();
                    stream.write_all(&[&word[..], b" yourself"].concat()).await.unwrap();
                });
                return Ok(response);
            }
            _ => {}
        }
        let (head, body) = request.into_parts();
        let hint = body.size_hint().exact();
        let body = body.collect().await?.to_bytes();
        let text = format!("{} {} {} {hint:?} {}", self.name, head.method, head.uri, String::from_utf8_lossy(&body));
        *response.body_mut() = Full::new(text.into());
        Ok(response)
    }
}

struct Rig {
    context: Arc<RouterContext>,
    address: SocketAddr,
    _files: TestTls,
}

impl Rig {
    /// Cluster `one` has Ann's account and the first member, `two` the others.
    async fn new(members: &[&FakeMember]) -> Self {
        let (one, two) = members.split_at(1.min(members.len()));
        let cluster = |name: &str, members: &[&FakeMember]| ClusterRecord {
            name: ClusterName::new(name),
            members: members.iter().map(|member| member.address.to_string()).collect(),
        };
        let ann = AccountRecord {
            id: ANN.parse().unwrap(),
            dn: "uid=ann".into(),
            login: "ann".into(),
            addresses: vec![],
            mail_host: "one".into(),
            forward: None,
            status: Status::Active,
            quota: None,
        };
        let far = AccountRecord {
            id: "6f3c1c7e-6b0b-4f0e-9b56-3f6a2a5d9a11".parse().unwrap(),
            login: "far".into(),
            mail_host: "elsewhere.example".into(),
            ..ann.clone()
        };
        let accounts = vec![(ann, Secret::default()), (far, Secret::default())];
        let directory = Directory::in_memory(accounts, vec![cluster("one", one), cluster("two", two)]);
        let files = TestTls::new();
        let limits = Limits { message_bytes_max: 1000, ..test_context::limits() };
        let context = Arc::new(RouterContext { limits, ..test_context::context(directory, &files) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let front = Arc::new(WebFront { context: context.clone(), cookies: CookieKey::derive(b"token") });
        let serve = move |tcp, peer, admission| {
            tokio::spawn(serve_web(tcp, peer, Service::Http, front.clone(), admission));
        };
        tokio::spawn(accept_loop(listener, context.gate.clone(), context.shutdown.clone(), serve));
        tokio::spawn(crate::drive::watch(context.clone()));
        Self { context, address, _files: files }
    }

    /// Everything that is answered to these bytes; the last request among them asks to close.
    async fn said_to(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A connection that is reset has been answered all the same.
        let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.context.shutdown.cancel();
        self.context.drained.cancel();
    }
}

fn ask(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: mail.example.org\r\n{fields}\r\n")
}

/// The last question of a connection.
fn get(target: &str, fields: &str) -> String {
    ask(target, &format!("Connection: close\r\n{fields}"))
}

#[tokio::test]
async fn each_request_of_a_connection_goes_where_it_belongs() {
    let (one, two) = (FakeMember::start("one").await, FakeMember::start("two").await);
    let rig = Rig::new(&[&one, &two]).await;
    let mut questions = String::new();
    for _ in 0..3 {
        questions.push_str(&ask("/a", BASIC));
    }
    // Whoever has no account goes by its name alone; of these some belong to each cluster.
    for name in ["Zm9vOng=", "YmFyOng=", "YmF6Ong=", "cXV4Ong=", "cXV1eDp4", "Y29yZ2U6eA=="] {
        questions.push_str(&ask("/b", &format!("Authorization: Basic {name}\r\n")));
    }
    questions.push_str(&get("/a", BASIC));
    let said = rig.said_to(&questions).await;
    assert_eq!(said.matches("one GET /a Some(0)").count(), 4, "{said}");
    assert!(said.contains("one GET /b") && said.contains("two GET /b"), "{said}");
    // One client's connections serve all its requests, and carry its address.
    assert_eq!(one.connections.load(Ordering::Relaxed), 1);
    let seen = one.seen.lock().unwrap();
    assert!(seen[0].0.client.ip().is_loopback());
    assert_eq!(seen[0].1["x-forwarded-for"], "127.0.0.1");
}

#[tokio::test]
async fn a_cookie_leads_back_and_names_nobody() {
    let (one, two) = (FakeMember::start("one").await, FakeMember::start("two").await);
    let rig = Rig::new(&[&one, &two]).await;
    let said = rig.said_to(&get("/account", BASIC)).await;
    assert!(!said.to_ascii_lowercase().contains("laniakea-") && !said.contains(ANN), "{said}");
    let cookie =
        said.split_once("set-cookie: laniakea=").unwrap().1.split_once("; Path=/; HttpOnly").unwrap().0.to_owned();
    let with = |cookie: &str| get("/account", &format!("Cookie: a=b; laniakea={cookie}\r\n"));
    // From wherever the browser comes, and it is not told again.
    for _ in 0..4 {
        let said = rig.said_to(&with(&cookie)).await;
        assert!(said.contains("one GET /account") && !said.contains("set-cookie"), "{said}");
    }
    // Whoever changes it is nobody.
    assert!(rig.said_to(&with(&format!("AQAA{}", &cookie[4..]))).await.contains("set-cookie"));
}

#[tokio::test]
async fn a_bearer_token_leads_home_by_what_it_claims() {
    let (one, two) = (FakeMember::start("one").await, FakeMember::start("two").await);
    let rig = Rig::new(&[&one, &two]).await;
    // {"sub":"4711","email":"ann"}
    let token = "Authorization: Bearer e30.eyJzdWIiOiI0NzExIiwiZW1haWwiOiJhbm4ifQ.c2ln\r\n";
    for _ in 0..4 {
        assert!(rig.said_to(&get("/", token)).await.contains("one GET /"));
    }
    assert_eq!(one.seen.lock().unwrap()[0].1["authorization"], token[15..].trim());
}

#[tokio::test]
async fn a_member_that_is_gone_is_passed_over_and_nothing_is_done_twice() {
    let (one, two) = (FakeMember::start("one").await, FakeMember::start("two").await);
    let rig = Rig::new(&[&one, &two]).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let lost = FakeMember { address: gone, ..one.clone() };
    let alone = Rig::new(&[&lost]).await;
    let said = alone.said_to(&get("/", BASIC)).await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("retry-after: 5"), "{said}");
    // Without an account anybody will do.
    let either = Rig::new(&[&lost, &two]).await;
    assert!(either.said_to(&get("/", "")).await.contains("two GET /"));
    drop(rig);
    // The answer to what may have been carried out is lost, and it is not asked again.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = FakeMember { address: listener.local_addr().unwrap(), ..one.clone() };
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let preamble = receive_preamble(&mut tcp).await.unwrap();
            let mut some = [0; 4];
            if tcp.read_exact(&mut some).await.is_ok() && preamble.protocol == Protocol::Http {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let rig = Rig::new(&[&mute]).await;
    let post = format!("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{BASIC}Content-Length: 1\r\n\r\nx");
    assert!(rig.said_to(&post).await.starts_with("HTTP/1.1 502"));
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_account_at_a_server_without_a_web_service_is_told_so() {
    let one = FakeMember::start("one").await;
    let rig = Rig::new(&[&one]).await;
    // `far:x`; its host is not in the settings at all.
    assert!(rig.said_to(&get("/", "Authorization: Basic ZmFyOng=\r\n")).await.starts_with("HTTP/1.1 503"));
    let settings = |http| laniakea_config::ForeignSettings {
        hosts: vec!["*".into()],
        ports: laniakea_config::ForeignPorts { http, ..laniakea_config::ForeignPorts::usual(Default::default()) },
        tls: laniakea_config::ForeignTls::Off,
        verify: true,
        ca: None,
        proxy_header: false,
        introduce: true,
    };
    let servers = crate::drive::ForeignServers::load(&[settings(None)]).unwrap();
    rig.context.foreign.store(Arc::new(servers));
    let said = rig.said_to(&get("/", "Authorization: Basic ZmFyOng=\r\n")).await;
    assert!(said.starts_with("HTTP/1.1 421") && said.contains("without a web service"), "{said}");
}

#[tokio::test]
async fn no_length_is_read_in_two_ways() {
    let one = FakeMember::start("one").await;
    let rig = Rig::new(&[&one]).await;
    let post = |fields: &str, body: &str| format!("POST /p HTTP/1.1\r\nHost: h\r\n{BASIC}{fields}\r\n{body}");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for (fields, body) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", format!("0\r\n\r\n{smuggled}")),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", format!("0\r\n\r\n{smuggled}")),
        ("Content-Length: 4\r\nContent-Length: 5\r\n", format!("abcd{smuggled}")),
        ("Content-Length: 4, 5\r\n", format!("abcd{smuggled}")),
        ("Content-Length: +4\r\n", format!("abcd{smuggled}")),
        ("Content-Length: 4\r\n X: y\r\n", format!("abcd{smuggled}")),
        ("Transfer-Encoding: chunked, identity\r\n", format!("0\r\n\r\n{smuggled}")),
        ("Transfer-Encoding: xchunked\r\n", format!("0\r\n\r\n{smuggled}")),
        ("Transfer-Encoding : chunked\r\n", format!("0\r\n\r\n{smuggled}")),
        ("Transfer-Encoding: chunked\r\n", format!("4;x=\r\nabcd\r\n-1\r\n\r\n{smuggled}")),
        ("Content-Length: 99999999999999999999\r\n", String::new()),
    ] {
        one.seen.lock().unwrap().clear();
        let said = rig.said_to(&post(fields, &body)).await;
        let reached = one.seen.lock().unwrap().len();
        // Whatever reaches the member was written anew, and what follows is a request of its own or none at all.
        assert!(
            said.starts_with("HTTP/1.1 400") || said.is_empty() || said.starts_with("HTTP/1.1 200"),
            "{fields}: {said}"
        );
        assert!(!said.contains("smuggled") || said.contains("Some(0)"), "{fields}: {said}");
        let answers = said.matches("HTTP/1.1 ").count();
        assert!(reached <= answers, "{fields}: {reached} {said}");
    }
}

#[tokio::test]
async fn heads_and_bodies_have_limits() {
    let one = FakeMember::start("one").await;
    let rig = Rig::new(&[&one]).await;
    let large = get("/", &format!("X: {}\r\n", "x".repeat(BUFFER_BYTES)));
    assert!(rig.said_to(&large).await.starts_with("HTTP/1.1 431"));
    assert!(rig.said_to(&get("/", &"X: y\r\n".repeat(FIELDS_MAX + 1))).await.starts_with("HTTP/1.1 431"));
    let known = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{BASIC}Content-Length: 1001\r\n\r\n{}",
        "x".repeat(1001)
    );
    assert!(rig.said_to(&known).await.starts_with("HTTP/1.1 413"));
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let streamed = |count: usize| {
        let chunks = chunk.repeat(count);
        format!(
            "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{BASIC}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        )
    };
    assert!(rig.said_to(&streamed(2)).await.contains("one POST / None xxx"));
    assert!(rig.said_to(&streamed(3)).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_websocket_is_passed_through() {
    let one = FakeMember::start("one").await;
    let rig = Rig::new(&[&one]).await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let fields = format!("{BASIC}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    stream.write_all(ask("/ws", &fields).as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    stream.write_all(b"look").await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"look yourself");
}

#[tokio::test]
async fn one_connection_of_http_2_carries_requests_and_websockets() {
    let (one, two) = (FakeMember::start("one").await, FakeMember::start("two").await);
    let rig = Rig::new(&[&one, &two]).await;
    let tcp = TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(Tracked(TaskTracker::new()), TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let request = |target: &str| {
        let request = Request::builder().uri(format!("http://mail.example.org{target}"));
        request.header("authorization", "Basic YW5uOnNlY3JldA==").body(Full::<Bytes>::default()).unwrap()
    };
    let ask = |target: &'static str| sender.clone().send_request(request(target));
    let (a, b) = tokio::join!(ask("/a"), ask("/b"));
    let text = async |response: Response<Incoming>| response.into_body().collect().await.unwrap().to_bytes();
    assert!(text(a.unwrap()).await.starts_with(b"one GET /a"));
    assert!(text(b.unwrap()).await.starts_with(b"one GET /b"));
    let mut connect = request("/ws");
    *connect.method_mut() = hyper::Method::CONNECT;
    connect.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    let response = sender.send_request(connect).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"look").await.unwrap();
    let mut said = [0; 13];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"look yourself");
}

#[tokio::test]
async fn who_resets_again_and_again_is_sent_away() {
    let one = FakeMember::start("one").await;
    let rig = Rig::new(&[&one]).await;
    let tcp = TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(Tracked(TaskTracker::new()), TokioIo::new(tcp)).await.unwrap();
    let ended = tokio::spawn(connection);
    for _ in 0..2000 {
        if sender.ready().await.is_err() {
            break;
        }
        let request = Request::builder().uri("http://mail.example.org/freeze").header("authorization", &BASIC[15..37]);
        let request = sender.send_request(request.body(Full::<Bytes>::default()).unwrap());
        // Sent, and given up at once.
        let _ = timeout(Duration::from_millis(2), request).await;
    }
    assert!(sender.is_closed());
    let _ = timeout(Duration::from_secs(20), ended).await.unwrap();
    // Others are served, and not all of it reached the member.
    one.is_frozen.store(false, Ordering::Relaxed);
    assert!(rig.said_to(&get("/", BASIC)).await.contains("one GET /"));
    assert!(one.connections.load(Ordering::Relaxed) < 300);
}

#[tokio::test]
async fn a_member_that_falls_silent_ends_the_wait() {
    let one = FakeMember::start("one").await;
    let rig = Rig::new(&[&one]).await;
    let said = rig.said_to(&get("/freeze", BASIC)).await;
    assert!(said.starts_with("HTTP/1.1 502"), "{said}");
}

#[tokio::test]
async fn nobody_is_served_in_the_clear_from_afar() {
    let one = FakeMember::start("one").await;
    let rig = Rig::new(&[&one]).await;
    let (near, far) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), "192.0.2.7:4711".parse().unwrap());
    let front = Arc::new(WebFront { context: rig.context.clone(), cookies: CookieKey::derive(b"token") });
    let address = near.local_addr().unwrap();
    let serve = move |tcp, _, admission| {
        tokio::spawn(serve_web(tcp, far, Service::Http, front.clone(), admission));
    };
    tokio::spawn(accept_loop(near, rig.context.gate.clone(), rig.context.shutdown.clone(), serve));
    let rig = Rig { address, context: rig.context.clone(), _files: TestTls::new() };
    let said = rig.said_to(&get("/a?b", "")).await;
    assert!(said.starts_with("HTTP/1.1 308") && said.contains("location: https://mail.example.org/a?b\r\n"), "{said}");
    assert!(
        rig.said_to("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 403")
    );
    assert!(one.seen.lock().unwrap().is_empty());
}

#[test]
fn the_io_of_a_connection_is_a_stream() {
    fn is_io<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send>() {}
    is_io::<Watched>();
    is_io::<Stream>();
}
