//! The question that nginx's mail proxy asks, answered from the same look-up that logins use.
//!
//! The answer is where, never whether: who is sent on checks the password, and a name without an account is sent on like
//! any other. An address of the account's own cluster saves nginx's clients a hop; where there is none that speaks the
//! protocol, the answer is this router.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{HeaderName, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use laniakea_config::{Config, ForeignTls, Service};
use laniakea_directory::LoginName;
use tokio::net::TcpStream;

use super::{RouterContext, header::is_trusted, listener::Admission, mail::resolve, reach::home_of, routes::Home};
use crate::{
    handoff::Protocol,
    session::Fault,
    wire::{
        auth_http::{Answer, MailProtocol, Question},
        smtp::{Mailbox, Reply},
    },
};

/// Time for a request's head to arrive.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Where mail protocols are spoken in the clear.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    router: BTreeMap<Service, SocketAddr>,
    /// The members' own listeners, by handoff address.
    members: HashMap<SocketAddr, BTreeMap<Service, SocketAddr>>,
}

impl Ways {
    /// Reads them off the configuration, for the router of this name.
    #[must_use]
    pub fn of(config: &Config, router: &str) -> Self {
        let members = config.clusters.iter().flat_map(|cluster| &cluster.members);
        let listeners = |handoff: SocketAddr, listen: &BTreeMap<Service, SocketAddr>| {
            let reachable = |(service, address): (&Service, &SocketAddr)| (*service, at(*address, handoff.ip()));
            (handoff, listen.iter().map(reachable).collect())
        };
        Self {
            router: config.router(router).map(|router| router.listen.clone()).unwrap_or_default(),
            members: members.map(|member| listeners(member.advertise.handoff, &member.listen)).collect(),
        }
    }
}

/// Serves one connection of nginx, which asks one question on each.
pub async fn serve_auth_http(
    tcp: TcpStream,
    peer: SocketAddr,
    context: Arc<RouterContext>,
    ways: Arc<Ways>,
    _admission: Admission,
) {
    // The same proxies that are believed who their clients are may ask where these belong.
    if !is_trusted(peer.ip(), &context.trust_from) {
        tracing::warn!(%peer, "a question for auth_http came from a network that is not in trust_from");
        return;
    }
    let Ok(local) = tcp.local_addr() else { return };
    let shutdown = context.shutdown.clone();
    let service = service_fn(move |request| {
        let (context, ways) = (context.clone(), ways.clone());
        async move { Ok::<_, Infallible>(respond(&request, &context, &ways, local.ip()).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(tcp), service);
    tokio::select! {
        // What goes wrong on such a connection is the peer's business.
        _ = connection => {}
        () = shutdown.cancelled() => {}
    }
}

async fn respond(
    request: &Request<Incoming>,
    context: &RouterContext,
    ways: &Ways,
    own_ip: IpAddr,
) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    let header = |name: &'static str| request.headers().get(name).map(HeaderValue::as_bytes);
    let question = match Question::read(header) {
        Ok(question) => question,
        Err(error) => {
            tracing::info!(%error, "a question for auth_http cannot be answered");
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        }
    };
    let answer = answer(&question, context, ways, own_ip).await;
    for (name, value) in answer.headers() {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn answer(question: &Question, context: &RouterContext, ways: &Ways, own_ip: IpAddr) -> Answer {
    let outcome = match question {
        Question::Login { protocol, login } => {
            let way = match LoginName::parse(login) {
                Ok(login) => way_to(*protocol, &login, context, ways, own_ip).await,
                // Nobody's name: it fails where all others do.
                Err(_) => own(*protocol, ways, own_ip),
            };
            way.map_or_else(|| unavailable(*protocol), go)
        }
        Question::Recipient(recipient) => way_of_mail(recipient, context, ways, own_ip).await,
    };
    let result = if matches!(outcome, Answer::Go(..)) { "answered" } else { "refused" };
    metrics::counter!("laniakea_router_auth_http_total", "result" => result).increment(1);
    outcome
}

/// Where a login goes; `None` if the directory cannot say.
async fn way_to(
    protocol: MailProtocol,
    login: &LoginName,
    context: &RouterContext,
    ways: &Ways,
    own_ip: IpAddr,
) -> Option<SocketAddr> {
    let (key, id, home) = home_of(context, login).await.ok()?;
    let (service, spoken) = match protocol {
        MailProtocol::Imap => (Service::Imap, Protocol::Imap),
        MailProtocol::Pop3 => (Service::Pop3, Protocol::Pop3),
        // Submission is the routers' business.
        MailProtocol::Smtp => return own(protocol, ways, own_ip),
    };
    let direct = match home {
        Home::Cluster(_, members) => {
            let plan = context.routes.plan(key, &members, id);
            plan.iter().find_map(|member| ways.members.get(member)?.get(&service)).copied()
        }
        // nginx speaks no TLS to those behind it; we do.
        Home::Foreign(host) => match context.foreign.load_full().find(&host) {
            Ok(server) if server.settings.tls == ForeignTls::Off && !server.settings.proxy_header => {
                server.address(spoken).await
            }
            _ => None,
        },
    };
    direct.or_else(|| own(protocol, ways, own_ip))
}

/// Mail may be for several recipients, of several clusters: a router takes it.
async fn way_of_mail(recipient: &Mailbox, context: &RouterContext, ways: &Ways, own_ip: IpAddr) -> Answer {
    match resolve(&context.directory, recipient, &context.domain).await {
        Err(reply) => Answer::Reply(reply),
        Ok(_) => own(MailProtocol::Smtp, ways, own_ip).map_or_else(|| unavailable(MailProtocol::Smtp), go),
    }
}

/// This router's own listener.
fn own(protocol: MailProtocol, ways: &Ways, own_ip: IpAddr) -> Option<SocketAddr> {
    let service = match protocol {
        MailProtocol::Imap => Service::Imap,
        MailProtocol::Pop3 => Service::Pop3,
        MailProtocol::Smtp => Service::Smtp,
    };
    ways.router.get(&service).map(|address| at(*address, own_ip))
}

fn go(way: SocketAddr) -> Answer {
    Answer::Go(way.ip(), way.port())
}

fn unavailable(protocol: MailProtocol) -> Answer {
    let text = |reply: &str, mark: &str| reply.strip_prefix(mark).unwrap_or(reply).to_owned();
    match protocol {
        MailProtocol::Imap => Answer::Refuse(text(Fault::Unavailable.imap_reply(), "NO ")),
        MailProtocol::Pop3 => Answer::Refuse(text(Fault::Unavailable.pop3_reply(), "-ERR ")),
        MailProtocol::Smtp => Answer::Reply(Reply::new(451, (4, 3, 0), "temporarily unavailable")),
    }
}

/// A listener on all addresses is reached at one of them.
fn at(address: SocketAddr, ip: IpAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::new(ip, address.port()) } else { address }
}
