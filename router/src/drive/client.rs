//! One client connection of a router, from its first byte to its last.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use laniakea_config::Service;
use tokio::net::TcpStream;
use tracing::Instrument;

use super::{
    Client, RouterContext, Stream,
    header::{is_trusted, receive_introduction},
    listener::Admission,
    mail,
    prelogin::{Event, PreLogin, accept_tls},
    reach::{Reached, reach},
    splice::{Ended, SpliceReport, splice},
};
use crate::{
    handoff::{Protocol, SessionId},
    session::{ImapLogin, LoginOutcome, LoginRequest, Peer, Pop3Login, Protection, Session, Settings},
};

/// Serves one accepted connection.
pub async fn serve_client(
    tcp: TcpStream,
    peer: SocketAddr,
    service: Service,
    context: Arc<RouterContext>,
    _admission: Admission,
) {
    // Large while it lasts, and gone before the connection is spliced for hours.
    let Some((stream, client)) = Box::pin(receive(tcp, peer, service, &context)).await else { return };
    let Some(_place) = context.gate.enter(client.address.ip()) else {
        metrics::counter!("laniakea_router_turned_away_total").increment(1);
        return;
    };
    match service {
        Service::Imap | Service::Imaps => serve_login::<ImapLogin>(stream, client, &context).await,
        Service::Pop3 | Service::Pop3s => serve_login::<Pop3Login>(stream, client, &context).await,
        Service::Smtp => Box::pin(mail::serve_smtp(stream, client, context.clone())).await,
        Service::Lmtp => Box::pin(mail::serve_lmtp(stream, client, context.clone())).await,
        // `router` opens no such listeners.
        Service::Submission | Service::Submissions | Service::Http | Service::Https | Service::Metrics => {}
    }
}

/// Learns who the client is, and does the handshake where TLS comes first.
async fn receive(
    mut tcp: TcpStream,
    peer: SocketAddr,
    service: Service,
    context: &RouterContext,
) -> Option<(Stream, Client)> {
    let local = tcp.local_addr().ok()?;
    let mut client =
        Client { address: canonical(peer), local: canonical(local), tls: None, session: SessionId::random() };
    if is_trusted(peer.ip(), &context.proxy_from) {
        let introduction = match receive_introduction(&mut tcp).await {
            Ok(introduction) => introduction,
            Err(error) => {
                tracing::debug!(%peer, %error, "connection without a PROXY header");
                return None;
            }
        };
        if let Some(addresses) = introduction.addresses {
            client.address = addresses.source;
            client.local = addresses.destination;
            client.tls = introduction.tls;
        }
    }
    let stream = Stream::plain(tcp);
    let stream = match service {
        Service::Imaps | Service::Pop3s | Service::Submissions | Service::Https => {
            accept_tls(&context.tls, stream).await?
        }
        _ => stream,
    };
    Some((stream, client))
}

/// A session before login that a router serves.
trait Front: Session + Sized {
    const PROTOCOL: Protocol;

    fn begin(now: Instant, settings: Settings) -> Self;
}

impl Front for ImapLogin {
    const PROTOCOL: Protocol = Protocol::Imap;

    fn begin(now: Instant, settings: Settings) -> Self {
        Self::new(now, settings)
    }
}

impl Front for Pop3Login {
    const PROTOCOL: Protocol = Protocol::Pop3;

    fn begin(now: Instant, settings: Settings) -> Self {
        Self::new(now, settings)
    }
}

async fn serve_login<S: Front>(stream: Stream, client: Client, context: &RouterContext) {
    let protocol = S::PROTOCOL.as_str();
    metrics::counter!("laniakea_router_connections_total", "protocol" => protocol).increment(1);
    let session = client.session;
    let span = tracing::info_span!("session", %session, client = %client.address, protocol);
    let establishing = Box::pin(establish::<S>(stream, client, context).instrument(span));
    let Some(established) = establishing.await else { return };
    let gauge = metrics::gauge!("laniakea_router_forwarded_connections", "protocol" => protocol);
    gauge.increment(1.0);
    let idle = context.limits.idle;
    let splicing = splice(established.stream, established.member, idle, established.unread, established.member_unread);
    let report = tokio::select! {
        report = splicing => Some(report),
        () = context.drained.cancelled() => None,
    };
    gauge.decrement(1.0);
    if let Some(report) = report {
        report_end(session, &report);
    }
}

/// A client and its member, ready to be spliced.
struct Established {
    stream: Stream,
    unread: Vec<u8>,
    member: Stream,
    member_unread: Vec<u8>,
}

/// Everything before the splice.
async fn establish<S: Front>(stream: Stream, client: Client, context: &RouterContext) -> Option<Established> {
    let mut settings = Settings::new(&context.domain, protection(&stream, &client), Peer::Client);
    settings.login_within = context.limits.login;
    let mut prelogin = PreLogin::new(stream, S::begin(Instant::now(), settings), Some(context.tls.clone()));
    let mut member = None;
    loop {
        let event = tokio::select! {
            event = prelogin.run() => event,
            () = context.shutdown.cancelled() => return None,
        };
        match event {
            Event::Login(waiting, request) => {
                let preamble = client.preamble(S::PROTOCOL, waiting.tls_facts());
                let (outcome, reached) = log_in(context, &preamble, &request).await;
                member = reached;
                prelogin = waiting.answer(outcome);
            }
            Event::LoggedIn(stream, forward) => {
                let (member, member_unread) = member?;
                return Some(Established { stream, unread: forward.unread, member, member_unread });
            }
            Event::Over => return None,
        }
    }
}

/// Tries one login and counts it.
async fn log_in(
    context: &RouterContext,
    preamble: &crate::handoff::Preamble,
    request: &LoginRequest,
) -> (LoginOutcome, Option<(Stream, Vec<u8>)>) {
    let began = Instant::now();
    let result = reach(context, preamble, request).await;
    let protocol = preamble.protocol.as_str();
    let outcome = result.as_ref().map_or_else(|fault| fault.as_str(), |_| "logged-in");
    metrics::counter!("laniakea_router_logins_total", "protocol" => protocol, "outcome" => outcome).increment(1);
    metrics::histogram!("laniakea_router_login_seconds", "protocol" => protocol).record(began.elapsed());
    match result {
        Ok(Reached { stream, reply_line, unread }) => (LoginOutcome::Relay(reply_line), Some((stream, unread))),
        Err(fault) => {
            tracing::info!(login = %request.login, fault = fault.as_str(), "login refused");
            (LoginOutcome::Refused(fault), None)
        }
    }
}

fn protection(stream: &Stream, client: &Client) -> Protection {
    Protection::for_client(client.address.ip(), stream.tls_facts().or_else(|| client.tls.clone()))
}

fn report_end(session: SessionId, report: &SpliceReport) {
    let SpliceReport { forth, back, ended } = report;
    metrics::counter!("laniakea_router_forwarded_bytes", "to" => "member").increment(*forth);
    metrics::counter!("laniakea_router_forwarded_bytes", "to" => "client").increment(*back);
    match ended {
        Ended::Closed => tracing::debug!(%session, forth, back, "connection closed"),
        Ended::Idle => tracing::info!(%session, forth, back, "connection idle for too long"),
        Ended::Broken(error) => tracing::debug!(%session, forth, back, %error, "connection broke"),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
#[path = "client_test.rs"]
mod tests;
