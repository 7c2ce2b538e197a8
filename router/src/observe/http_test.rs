use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

struct Echo;

impl AdminRoutes for Echo {
    fn handle(&self, request: AdminRequest) -> Pin<Box<dyn Future<Output = AdminResponse> + Send + '_>> {
        Box::pin(async move { AdminResponse::ok(json!({ "path": request.path, "bytes": request.body.len() })) })
    }
}

async fn endpoint(ready: bool) -> (SocketAddr, CancellationToken) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "open sesame\n").unwrap();
    let admin = Admin { routes: Arc::new(Echo), token: AdminToken::load(file.path()).unwrap() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(serve_http(listener, super::super::install_metrics(), move || ready, Some(admin), shutdown.clone()));
    (address, shutdown)
}

async fn request(address: SocketAddr, head: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    // Refused requests are not read to their end.
    let _ = tcp.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn health_and_readiness_are_two_things() {
    let (address, _shutdown) = endpoint(false).await;
    assert!(request(address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200"));
    assert!(request(address, "GET /readyz HTTP/1.1").await.starts_with("HTTP/1.1 503"));
    assert!(request(address, "GET /nothing HTTP/1.1").await.starts_with("HTTP/1.1 404"));
    assert!(request(address, "GET /metrics HTTP/1.1").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_admin_api_opens_to_the_token_only() {
    let (address, _shutdown) = endpoint(true).await;
    let path = "GET /admin/v1/status HTTP/1.1";
    assert!(request(address, path).await.starts_with("HTTP/1.1 401"));
    for wrong in ["Bearer open", "Bearer open sesame!", "Basic open sesame", "Bearer "] {
        let head = format!("{path}\r\nAuthorization: {wrong}");
        assert!(request(address, &head).await.starts_with("HTTP/1.1 401"), "{wrong}");
    }
    let answer = request(address, &format!("{path}\r\nAuthorization: bearer open sesame")).await;
    assert!(answer.starts_with("HTTP/1.1 200"));
    assert!(answer.contains(r#""path":"status""#), "{answer}");
}

#[tokio::test]
async fn what_is_too_large_or_no_http_is_refused() {
    let (address, _shutdown) = endpoint(true).await;
    let long = format!("GET /{} HTTP/1.1", "x".repeat(100_000));
    let many = format!("GET /readyz HTTP/1.1{}", "\r\nX: y".repeat(200));
    let heavy = "POST /admin/v1/x HTTP/1.1\r\nAuthorization: Bearer open sesame\r\nContent-Length: 999999999";
    for (head, code) in [
        (long.as_str(), "414"),
        (&many, "431"),
        ("GET /readyz HTTP/1.1\r\nBad Field: x", "400"),
        ("GET /readyz HTTP/1.1\r\nX: a\0b", "400"),
        ("EHLO mail.example.org", "400"),
        (heavy, "413"),
    ] {
        let answer = request(address, head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{}: {answer}", &head[..30.min(head.len())]);
    }
    assert!(request(address, "GET /readyz HTTP/1.1").await.starts_with("HTTP/1.1 200"));
}

#[test]
fn an_empty_token_opens_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), " \n").unwrap();
    assert!(AdminToken::load(file.path()).is_err());
}
