//! The endpoint for Prometheus, balancers and the admin API: HTTP/1.1, apart from every other listener.
//!
//! `/metrics`, `/healthz` (alive) and `/readyz` (take traffic) are open; `/admin/v1/…` needs the bearer token of the
//! installation and is answered by the role's [`AdminRoutes`].

use std::{convert::Infallible, fs, io, path::Path, pin::Pin, sync::Arc, time::Duration};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use zeroize::Zeroizing;

use super::MetricsHandle;

/// Largest request body of the admin API.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Connections at a time; operators and scrapers are few.
const CONNECTIONS_MAX: usize = 64;
/// Time for a request's head to arrive.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Time for a request's body to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
const PREFIX: &str = "/admin/v1/";

/// Answers the admin API of one role.
pub trait AdminRoutes: Send + Sync + 'static {
    /// Answers one authenticated request.
    fn handle(&self, request: AdminRequest) -> Pin<Box<dyn Future<Output = AdminResponse> + Send + '_>>;
}

/// One authenticated request.
#[derive(Debug, Clone)]
pub struct AdminRequest {
    /// The method.
    pub method: Method,
    /// What follows `/admin/v1/`.
    pub path: String,
    /// What follows `?`, still encoded.
    pub query: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// The answer to one request.
#[derive(Debug, Clone)]
pub struct AdminResponse {
    /// The status.
    pub status: StatusCode,
    /// The body, sent as JSON.
    pub body: serde_json::Value,
}

impl AdminResponse {
    /// Answers 200.
    #[must_use]
    pub fn ok(body: serde_json::Value) -> Self {
        Self { status: StatusCode::OK, body }
    }

    /// Answers with an error and what is wrong.
    #[must_use]
    pub fn error(status: StatusCode, message: &str) -> Self {
        Self { status, body: json!({ "error": message }) }
    }
}

/// The admin API: who answers, and the token that opens it.
#[derive(Clone)]
pub struct Admin {
    /// Who answers.
    pub routes: Arc<dyn AdminRoutes>,
    /// What a request must show.
    pub token: AdminToken,
}

/// The bearer token of the admin API.
#[derive(Clone)]
pub struct AdminToken(Arc<Zeroizing<Vec<u8>>>);

impl AdminToken {
    /// Reads the token from its file; white space around it does not count.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or holds nothing: an empty token would open the API to everybody.
    pub fn load(path: &Path) -> io::Result<Self> {
        let bytes = Zeroizing::new(fs::read(path)?);
        let token = bytes.trim_ascii();
        if token.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the admin token is empty"));
        }
        Ok(Self(Arc::new(Zeroizing::new(token.to_vec()))))
    }

    /// The token itself, of which other keys are made.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether the request shows the token (RFC 6750 §2.1); takes equally long for every wrong one.
    fn is_shown_in(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).and_then(bearer);
        shown.is_some_and(|token| verify_slices_are_equal(token, &self.0).is_ok())
    }
}

/// Serves until shutdown. `ready` says whether this process should get traffic.
pub async fn serve_http(
    listener: TcpListener,
    metrics: MetricsHandle,
    ready: impl Fn() -> bool + Send + Sync + 'static,
    admin: Option<Admin>,
    shutdown: CancellationToken,
) {
    let endpoint = Arc::new(Endpoint { metrics, ready: Box::new(ready), admin });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((tcp, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let _ = tcp.set_nodelay(true);
        let (endpoint, shutdown) = (endpoint.clone(), shutdown.clone());
        tasks.spawn(async move {
            serve_connection(TokioIo::new(tcp), endpoint, shutdown).await;
            drop(place);
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn serve_connection(io: TokioIo<tokio::net::TcpStream>, endpoint: Arc<Endpoint>, shutdown: CancellationToken) {
    let service = service_fn(move |request| {
        let endpoint = endpoint.clone();
        async move { Ok::<_, Infallible>(endpoint.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(io, service);
    tokio::pin!(connection);
    tokio::select! {
        // What goes wrong on such a connection is the peer's business.
        _ = connection.as_mut() => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(HEAD_DEADLINE, connection).await;
        }
    }
}

struct Endpoint {
    metrics: MetricsHandle,
    ready: Box<dyn Fn() -> bool + Send + Sync>,
    admin: Option<Admin>,
}

impl Endpoint {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/metrics" => text(StatusCode::OK, self.metrics.render()),
            "/healthz" => text(StatusCode::OK, "alive\n".into()),
            "/readyz" if (self.ready)() => text(StatusCode::OK, "ready\n".into()),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".into()),
            path if path.starts_with(PREFIX) => self.answer_admin(request).await,
            _ => text(StatusCode::NOT_FOUND, "not found\n".into()),
        }
    }

    async fn answer_admin(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(admin) = &self.admin else { return text(StatusCode::NOT_FOUND, "no admin API here\n".into()) };
        if !admin.token.is_shown_in(request.headers()) {
            return json_response(&AdminResponse::error(StatusCode::UNAUTHORIZED, "show the admin token"));
        }
        let (head, body) = request.into_parts();
        if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
            return json_response(&AdminResponse::error(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
        }
        let body = match timeout(BODY_DEADLINE, Limited::new(body, BODY_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                return json_response(&AdminResponse::error(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
            }
            Err(_) => return json_response(&AdminResponse::error(StatusCode::REQUEST_TIMEOUT, "the body is too slow")),
        };
        let path = head.uri.path().strip_prefix(PREFIX).unwrap_or_default().to_owned();
        let query = head.uri.query().map(str::to_owned);
        let request = AdminRequest { method: head.method, path, query, body: body.to_bytes() };
        json_response(&admin.routes.handle(request).await)
    }
}

/// `Bearer` is compared without case, as RFC 9110 §11.1 says of schemes.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_first_chunk::<7>()?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body.into())
}

fn json_response(answer: &AdminResponse) -> Response<Full<Bytes>> {
    respond(answer.status, "application/json", answer.body.to_string().into())
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
#[path = "http_test.rs"]
mod tests;
