//! A whole router, from its configuration to its end.

use std::{collections::BTreeMap, fs};

use laniakea_config::{DirectorySettings, Profile};
use laniakea_test_ports::free_address;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::drive::{test_context, test_tls::TestTls};

fn config(files: &TestTls) -> Config {
    fs::write(files.path("token"), "secret").unwrap();
    Config {
        domain: "mail.example.org".into(),
        directory: DirectorySettings {
            urls: vec![format!("ldap://{}", free_address())],
            base: "dc=example,dc=org".into(),
            bind_dn: String::new(),
            bind_password: None,
            start_tls: false,
            ca: None,
            profile: Profile::inet_local_mail_recipient(),
            fresh: Duration::from_secs(60),
            unknown: Duration::from_secs(5),
            entries_max: 1000,
            timeout: Duration::from_secs(3),
            connections: 1,
            new_passwords: Default::default(),
            embedded: None,
        },
        tls: files.settings(),
        admin_token: files.path("token"),
        routers: vec![RouterSettings {
            name: "router-1".into(),
            listen: BTreeMap::from([(Service::Imap, free_address()), (Service::Metrics, free_address())]),
            proxy_from: vec![],
            trust_from: vec![],
            cache_file: None,
            drain: Duration::from_secs(60),
            replace_socket: None,
        }],
        clusters: vec![],
        foreign: vec![],
        smarthost: None,
        sasl: Default::default(),
        limits: test_context::limits(),
    }
}

/// Orders that never change.
fn orders(config: &Config, shutdown: CancellationToken) -> Orders {
    Orders { shutdown, configs: watch::channel(Arc::new(config.clone())).1 }
}

async fn connect(address: SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(address).await {
            Ok(tcp) => return tcp,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut tcp = connect(address).await;
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: close\r\n\r\n");
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_router_serves_without_its_directory_and_ends_when_told() {
    let files = TestTls::new();
    let config = config(&files);
    let listen = config.routers[0].listen.clone();
    let shutdown = CancellationToken::new();
    let router = {
        let shutdown = shutdown.clone();
        tokio::spawn(async move { run(&config, "router-1", Begin::Anew, orders(&config, shutdown)).await })
    };
    let metrics = listen[&Service::Metrics];
    assert!(get(metrics, "/readyz").await.starts_with("HTTP/1.1 200"));
    let mut client = connect(listen[&Service::Imap]).await;
    client.write_all(b"a1 LOGIN eve wonder\r\na2 LOGOUT\r\n").await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    // A directory that is down is no reason to call a password wrong.
    assert!(heard.contains("a1 NO [UNAVAILABLE]"), "{heard}");
    assert!(get(metrics, "/admin/v1/status").await.contains("\"router\":\"router-1\""));
    shutdown.cancel();
    router.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_router_that_is_not_configured_does_not_begin() {
    let files = TestTls::new();
    let config = config(&files);
    let result = run(&config, "router-9", Begin::Anew, orders(&config, CancellationToken::new())).await;
    assert!(matches!(result, Err(RunError::NoSuchRouter(name)) if name == "router-9"));
}
