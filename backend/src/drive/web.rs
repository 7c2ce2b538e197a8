//! HTTP at a member: the core of JMAP, and a page that says so.
//!
//! Whoever asks is verified with each request. Connections come from routers, behind a preamble, or from clients that reached
//! the member directly.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    },
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use laniakea_directory::{AccountRecord, LoginName};
use laniakea_router::{
    drive::{
        Stream,
        http::{ACCOUNT_FIELD, BUFFER_BYTES, FIELDS_MAX},
        prelogin::Mute,
    },
    handoff::Protocol,
    session::{Fault, LoginRequest, Protection},
    wire::{
        http::{Shown, authorization},
        sasl::Proof,
    },
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    drive::{login::Arrival, member::Member},
    wire::jmap::{API_PATH, Problem, REQUEST_BYTES_MAX, SESSION_PATH, answer, session_resource},
};

/// Time for a request's head to arrive, and between two requests.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// Time for a request's body to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(60);
/// How long a connection that was asked to end may take.
const FAREWELL: Duration = Duration::from_secs(5);
const PAGE: &str =
    "This is Laniakea. Mail is here by IMAP, POP3 and submission; a JMAP session is at /.well-known/jmap.\n";

/// Serves one connection to its end.
pub async fn serve_web(stream: Stream, arrival: Arrival, member: Arc<Member>) {
    let shutdown = member.front.shutdown.clone();
    let desk = Arc::new(Desk { scheme: scheme(&arrival, &stream), arrival, member });
    let answers = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), answers);
    tokio::pin!(connection);
    tokio::select! {
        // What goes wrong on such a connection is the client's business.
        _ = connection.as_mut() => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(FAREWELL, connection).await;
        }
    }
}

fn scheme(arrival: &Arrival, stream: &Stream) -> &'static str {
    if arrival.preamble(Protocol::Http, stream).tls.is_some() { "https" } else { "http" }
}

/// Answers the requests of one connection.
struct Desk {
    /// How the client reached us, or the router in front.
    scheme: &'static str,
    arrival: Arrival,
    member: Arc<Member>,
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let is_read = matches!(request.method(), &Method::GET | &Method::HEAD);
        match request.uri().path() {
            "/" if is_read => text(StatusCode::OK, PAGE),
            SESSION_PATH if is_read => match self.authenticate(&request).await {
                Ok(account) => self.session(&account, &request),
                Err(refused) => refused,
            },
            API_PATH if request.method() == Method::POST => match self.authenticate(&request).await {
                Ok(account) => call(&account, request).await,
                Err(refused) => refused,
            },
            "/" | SESSION_PATH => {
                with(text(StatusCode::METHOD_NOT_ALLOWED, "no such method here\n"), ALLOW, "GET, HEAD")
            }
            API_PATH => with(text(StatusCode::METHOD_NOT_ALLOWED, "no such method here\n"), ALLOW, "POST"),
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// Checks who asks (RFC 7617).
    async fn authenticate(&self, request: &Request<Incoming>) -> Result<Arc<AccountRecord>, Response<Full<Bytes>>> {
        // A router has seen to it that passwords are protected.
        if let Arrival::Direct(client) = &self.arrival
            && client.protection(None) == Protection::Required
        {
            return Err(text(StatusCode::FORBIDDEN, "nothing of an account is sent in the clear\n"));
        }
        let shown = request.headers().get(AUTHORIZATION).map(|value| authorization(value.as_bytes()));
        let Some(Shown::Basic(basic)) = shown else { return Err(refused(Fault::BadCredentials)) };
        let login = LoginName::parse(&basic.name).map_err(|_| refused(Fault::BadCredentials))?;
        let request = LoginRequest {
            tag: String::new(),
            login,
            authzid: None,
            proof: Proof::Password(basic.password),
            claims: Default::default(),
            hello: None,
        };
        let verdict = self.member.authenticate(&request, &mut Mute).await;
        let outcome = verdict.as_ref().map_or_else(|fault| fault.as_str(), |_| "here");
        metrics::counter!("laniakea_member_logins_total", "protocol" => "http", "outcome" => outcome).increment(1);
        verdict.map_err(|fault| {
            tracing::info!(login = %request.login, protocol = "http", outcome, "login");
            refused(fault)
        })
    }

    /// The session resource (RFC 8620 §2). A router learns whose it is, so that a browser is led back here.
    fn session(&self, account: &AccountRecord, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let base = format!("{}://{host}", self.scheme);
        let mut response =
            json(StatusCode::OK, "application/json", &session_resource(account.id, &account.login, &base));
        if let (Arrival::HandedOver(_), Ok(id)) = (&self.arrival, HeaderValue::from_str(&account.id.to_string())) {
            response.headers_mut().insert(HeaderName::from_static(ACCOUNT_FIELD), id);
        }
        response
    }
}

/// A request of the API (RFC 8620 §3).
async fn call(account: &AccountRecord, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let problem = |problem: Problem| json(StatusCode::BAD_REQUEST, "application/problem+json", &problem.document());
    match timeout(BODY_DEADLINE, Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => match answer(&body.to_bytes(), account.id, &account.login) {
            Ok(answer) => json(StatusCode::OK, "application/json", &answer),
            Err(error) => problem(error),
        },
        Ok(Err(_)) => problem(Problem::TooLarge),
        Err(_) => text(StatusCode::REQUEST_TIMEOUT, "the body is too slow\n"),
    }
}

/// What each fault is in HTTP. An unknown account and a wrong password look alike.
fn refused(fault: Fault) -> Response<Full<Bytes>> {
    match fault {
        Fault::BadCredentials | Fault::Abandoned => with(
            text(StatusCode::UNAUTHORIZED, "authentication failed\n"),
            WWW_AUTHENTICATE,
            "Basic realm=\"mail\", charset=\"UTF-8\"",
        ),
        Fault::Disabled | Fault::Damaged => {
            text(StatusCode::FORBIDDEN, "the account is closed; ask its administrator\n")
        }
        Fault::Unavailable | Fault::Maintenance => {
            with(text(StatusCode::SERVICE_UNAVAILABLE, "the account cannot be reached now\n"), RETRY_AFTER, "5")
        }
        Fault::TooManyConnections => text(StatusCode::TOO_MANY_REQUESTS, "too many requests for this account\n"),
        Fault::Internal => text(StatusCode::INTERNAL_SERVER_ERROR, "our mistake\n"),
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", Bytes::from_static(body.as_bytes()))
}

fn json(status: StatusCode, kind: &'static str, body: &Value) -> Response<Full<Bytes>> {
    respond(status, kind, body.to_string().into())
}

/// What is somebody's own is kept by nobody on the way (RFC 9111 §5.2.2.5).
fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    with(with(response, CONTENT_TYPE, kind), CACHE_CONTROL, "no-store")
}

fn with(mut response: Response<Full<Bytes>>, name: HeaderName, value: &'static str) -> Response<Full<Bytes>> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
