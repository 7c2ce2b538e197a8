//! The driver before login against real sockets, with STARTTLS.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{
    drive::test_tls::TestTls,
    session::{Fault, ImapLogin, Peer, Protection, Settings},
};

async fn read_line(stream: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> String {
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(stream, &mut line).await.unwrap();
    line
}

/// Serves one client, whose first login is refused and whose second is accepted.
async fn serve(tls: ServerTls) -> (TcpStream, tokio::task::JoinHandle<Option<Forward>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let stream = Stream::plain(listener.accept().await.unwrap().0);
    let settings = Settings::new("mail.example.org", Protection::Required, Peer::Router);
    let session = ImapLogin::new(Instant::now(), settings);
    let task = tokio::spawn(async move {
        let mut prelogin = PreLogin::new(stream, session, Some(tls));
        let mut outcomes = vec![
            LoginOutcome::Accepted { capabilities: None, text: "welcome".into() },
            LoginOutcome::Refused(Fault::BadCredentials),
        ];
        loop {
            match prelogin.run().await {
                Event::Login(waiting, _) => prelogin = waiting.answer(outcomes.pop().unwrap()),
                Event::LoggedIn(_, forward) => return Some(forward),
                Event::Over => return None,
            }
        }
    });
    (client, task)
}

#[tokio::test]
async fn a_client_begins_tls_fails_once_and_logs_in() {
    let files = TestTls::new();
    let (client, task) = serve(ServerTls::load(&files.settings()).unwrap()).await;
    let mut client = BufReader::new(client);
    assert!(read_line(&mut client).await.contains("LOGINDISABLED"));
    client.get_mut().write_all(b"a1 STARTTLS\r\n").await.unwrap();
    assert_eq!(read_line(&mut client).await, "a1 OK begin TLS now\r\n");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files.settings().certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let client = TlsConnector::from(Arc::new(config)).connect(name, client.into_inner()).await.unwrap();
    let mut client = BufReader::new(client);
    client.get_mut().write_all(b"a2 LOGIN eve wrong\r\na3 LOGIN eve right\r\na4 SELECT INBOX\r\n").await.unwrap();
    assert_eq!(read_line(&mut client).await, "a2 NO [AUTHENTICATIONFAILED] authentication failed\r\n");
    assert_eq!(read_line(&mut client).await, "a3 OK welcome\r\n");
    assert_eq!(task.await.unwrap().unwrap().unread, b"a4 SELECT INBOX\r\n");
}

#[tokio::test]
async fn bytes_behind_starttls_end_the_connection_with_a_word() {
    let files = TestTls::new();
    let (mut client, task) = serve(ServerTls::load(&files.settings()).unwrap()).await;
    client.write_all(b"a1 STARTTLS\r\na2 LOGIN mallory trick\r\n").await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert!(heard.ends_with("a1 BAD data after STARTTLS\r\n* BYE data after STARTTLS\r\n"), "{heard}");
    assert_eq!(task.await.unwrap(), None);
}
