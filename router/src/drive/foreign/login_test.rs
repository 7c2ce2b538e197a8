//! Logins over loopback at a server as simple as can be, in the clear and inside TLS.

use std::sync::Arc;

use laniakea_config::ForeignPorts;
use laniakea_directory::{LoginName, Secret};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader},
    net::TcpListener,
};

use super::*;
use crate::{
    drive::{ServerTls, header::receive_preamble, prelogin::Mute, reach::Reached, test_tls::TestTls},
    handoff::SessionId,
    session::{Fault, LoginRequest},
    wire::sasl::Proof,
};

/// What the server does. A header is read before the TLS that it begins with, where there is one.
async fn serve(mut tcp: TcpStream, tls: ForeignTls, acceptor: ServerTls, hops: Option<Arc<Mutex<u8>>>) {
    if let Some(hops) = hops {
        *hops.lock() = receive_preamble(&mut tcp).await.unwrap().hops;
    }
    let stream = Stream::plain(tcp);
    match tls {
        ForeignTls::Off => log_in_on(stream, "AUTH=PLAIN SASL-IR").await,
        ForeignTls::Implicit => {
            if let Ok(stream) = acceptor.accept(stream).await {
                log_in_on(stream, "AUTH=PLAIN SASL-IR").await;
            }
        }
        ForeignTls::StartTls => {
            let mut stream = BufReader::new(stream);
            stream.write_all(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n").await.unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert_eq!(line, "laniakea STARTTLS\r\n");
            stream.write_all(b"laniakea OK go\r\n").await.unwrap();
            if let Ok(stream) = acceptor.accept(stream.into_inner()).await {
                answer(stream, "AUTH=PLAIN SASL-IR").await;
            }
        }
    }
}

async fn log_in_on(mut stream: Stream, capabilities: &str) {
    stream.write_all(format!("* OK [CAPABILITY IMAP4rev1 {capabilities}] hi\r\n").as_bytes()).await.unwrap();
    answer(stream, capabilities).await;
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, capabilities: &str) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|length| length > 0) {
        let reply = match line.trim_end() {
            "laniakea CAPABILITY" => format!("* CAPABILITY IMAP4rev1 {capabilities}\r\nlaniakea OK done\r\n"),
            "a1 AUTHENTICATE PLAIN AGV2ZQB3b25kZXI=" => "a1 OK in\r\n".to_owned(),
            _ => "a1 NO wrong\r\n".to_owned(),
        };
        stream.write_all(reply.as_bytes()).await.unwrap();
        line.clear();
    }
}

struct Try {
    tls: ForeignTls,
    verify: bool,
    trusted: bool,
    proxy_header: bool,
    hops: u8,
    password: &'static str,
    host: &'static str,
}

impl Default for Try {
    fn default() -> Self {
        Self {
            tls: ForeignTls::Off,
            verify: true,
            trusted: true,
            proxy_header: false,
            hops: 0,
            password: "wonder",
            host: "localhost",
        }
    }
}

impl Try {
    /// What became of it, and how many hops the server was told of.
    async fn log_in(self) -> (Result<Reached, Fault>, u8) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let files = TestTls::new();
        let (acceptor, tls) = (ServerTls::load(&files.settings()).unwrap(), self.tls);
        let told = Arc::<Mutex<u8>>::default();
        let hops = self.proxy_header.then(|| told.clone());
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            serve(tcp, tls, acceptor, hops).await;
        });
        let servers = allowing(ForeignSettings {
            hosts: vec!["127.0.0.1".into(), "localhost".into()],
            ports: ForeignPorts::usual(tls),
            tls,
            verify: self.verify,
            ca: self.trusted.then(|| files.path("certificate.pem")),
            proxy_header: self.proxy_header,
            introduce: false,
        });
        let preamble = Preamble {
            client: "192.0.2.1:1".parse().unwrap(),
            local: "192.0.2.2:143".parse().unwrap(),
            protocol: Protocol::Imap,
            tls: None,
            session: SessionId(7),
            hops: self.hops,
            ticket: None,
        };
        let request = LoginRequest {
            tag: "a1".into(),
            login: LoginName::parse("eve").unwrap(),
            authzid: None,
            proof: Proof::Password(Secret::new(self.password.into())),
            claims: Default::default(),
            hello: None,
        };
        let mail_host = format!("{}:{port}", self.host);
        let reached = log_in(servers.find(&mail_host).unwrap(), &preamble, &request, &mut Mute).await;
        let told = *told.lock();
        (reached, told)
    }
}

#[tokio::test]
async fn a_login_goes_through_in_the_clear_and_inside_tls() {
    for tls in [ForeignTls::Off, ForeignTls::StartTls, ForeignTls::Implicit] {
        let reached = Try { tls, ..Try::default() }.log_in().await.0.unwrap();
        assert_eq!((reached.reply_line.as_slice(), reached.member), (b"a1 OK in\r\n".as_slice(), None), "{tls:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_a_wrong_password() {
    let (refused, _) = Try { password: "guess", ..Try::default() }.log_in().await;
    assert_eq!(refused.err(), Some(Fault::BadCredentials));
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_of_the_host_unless_the_settings_say_otherwise() {
    let outcome = |tls, verify, trusted, host| async move {
        Try { tls, verify, trusted, host, ..Try::default() }.log_in().await.0.map(|_| ()).err()
    };
    for tls in [ForeignTls::StartTls, ForeignTls::Implicit] {
        assert_eq!(outcome(tls, true, false, "localhost").await, Some(Fault::Unavailable));
        // The certificate names localhost only.
        assert_eq!(outcome(tls, true, true, "127.0.0.1").await, Some(Fault::Unavailable));
        assert_eq!(outcome(tls, false, false, "127.0.0.1").await, None);
    }
}

#[tokio::test]
async fn a_connection_that_goes_in_a_circle_ends() {
    let (reached, told) = Try { proxy_header: true, hops: HOPS_MAX - 1, ..Try::default() }.log_in().await;
    assert!(reached.is_ok());
    assert_eq!(told, HOPS_MAX);
    let (refused, told) = Try { proxy_header: true, hops: HOPS_MAX, ..Try::default() }.log_in().await;
    assert_eq!((refused.err(), told), (Some(Fault::Unavailable), 0));
}

#[test]
fn what_the_settings_do_not_allow_is_not_found() {
    assert!(matches!(ForeignServers::default().find("localhost"), Err(ForeignError::NotAllowed(_))));
}
