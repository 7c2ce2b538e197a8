//! HTTP/1.1 and HTTP/2 for WebMail and JMAP: each request goes to the account it belongs to.
//!
//! The account is found by Basic credentials, by a bearer token's claims, or by a cookie of ours; who shows nothing is sent to
//! any member, which has a page to log in. None of it is proof: members verify. Requests of one connection are routed one by
//! one, bodies stream both ways, and what is passed on was parsed and is written anew.
//!
//! - `head`: heads on their way through; pure.
//! - `body`: bodies on their way through, with their limits.
//! - `pulse`: when a connection has been idle or stuck for too long.
//! - `upstream`: connections to members.
//! - `visit`: one request, from its head to its answer.
//! - `tunnel`: WebSockets.

mod body;
mod head;
mod pulse;
mod refusal;
mod tunnel;
mod upstream;
mod visit;

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use laniakea_config::Service;
use tokio::{
    net::TcpStream,
    time::{interval, timeout},
};
use tokio_util::task::TaskTracker;

use self::{
    pulse::{Pulse, Verdict, Watched},
    visit::Visit,
};
use super::{RouterContext, arrival::receive, listener::Admission, prelogin::HANDSHAKE_DEADLINE};
use crate::handoff::CookieKey;

pub use head::ACCOUNT_FIELD;

/// Largest head of a message, and what is read at once; browsers send some 2 KiB, tokens are 4 KiB at most.
pub const BUFFER_BYTES: usize = 32 * 1024;
/// Fields of a head; browsers send twenty.
pub const FIELDS_MAX: usize = 100;
/// Requests under way on one HTTP/2 connection, as RFC 9113 §6.5.2 recommends at least.
const STREAMS_MAX: u32 = 100;
/// Streams that a client has reset and that are still in hand; one that goes on like this is sent away (CVE-2023-44487).
const RESETS_MAX: usize = 20;
/// What a client may send ahead on one stream, and on all of a connection: the back-pressure.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// What is kept of an answer for a client that does not take it, for each stream.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// How long the head of a request may take.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// How often connections are looked after.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What all connections share.
pub struct WebFront {
    /// What a router has.
    pub context: Arc<RouterContext>,
    /// Seals the cookies that lead back.
    pub cookies: CookieKey,
}

/// Serves one accepted connection.
pub async fn serve_web(tcp: TcpStream, peer: SocketAddr, service: Service, front: Arc<WebFront>, admission: Admission) {
    let context = front.context.clone();
    let Some((mut stream, client)) = receive(tcp, peer, &context).await else { return };
    let Some(place) = context.gate.enter(client.address.ip()) else {
        metrics::counter!("laniakea_router_turned_away_total").increment(1);
        return;
    };
    if service == Service::Https {
        let Ok(Ok(encrypted)) = timeout(HANDSHAKE_DEADLINE, context.tls.accept_http(stream)).await else { return };
        stream = encrypted;
    }
    metrics::counter!("laniakea_router_connections_total", "protocol" => "http").increment(1);
    let pulse = Pulse::new(Instant::now());
    let (tls, address) = (stream.tls_facts(), client.address);
    let visit = Arc::new(Visit::new(front, client, tls, pulse.clone(), (admission, place)));
    let answers = service_fn(move |request| {
        let visit = visit.clone();
        async move { Ok::<_, Infallible>(visit.answer(request).await) }
    });
    let builder = builder(context.tasks.clone());
    let io = TokioIo::new(Watched::new(stream, pulse.clone()));
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, answers));
    let (mut ticks, mut is_leaving) = (interval(LOOK_EVERY), false);
    loop {
        tokio::select! {
            // What goes wrong on such a connection is the client's business.
            _ = connection.as_mut() => return,
            _ = ticks.tick() => match pulse.verdict(Instant::now(), context.limits.idle) {
                Verdict::GoOn => {}
                Verdict::Retire => connection.as_mut().graceful_shutdown(),
                Verdict::Cut => return,
            },
            () = context.shutdown.cancelled(), if !is_leaving => {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = context.drained.cancelled() => return,
            () = pulse.spent() => {
                tracing::info!(client = %address, "a client that gives up its requests again and again was sent away");
                return;
            }
        }
    }
}

fn builder(tasks: TaskTracker) -> Builder<Tracked> {
    let mut builder = Builder::new(Tracked(tasks));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(FIELDS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(BUFFER_BYTES).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .enable_connect_protocol();
    builder
}

/// Starts the tasks of HTTP/2 streams where the router waits for them when it drains.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<Work> Executor<Work> for Tracked
where
    Work: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, work: Work) {
        self.0.spawn(work);
    }
}

#[cfg(test)]
#[path = "http_test.rs"]
mod tests;
