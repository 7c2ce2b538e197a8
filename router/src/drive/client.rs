//! One client connection of a router, from its first byte to its last.

use std::{mem, net::SocketAddr, pin::pin, sync::Arc, time::Instant};

use laniakea_config::Service;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Client, RouterContext, Stream,
    arrival::receive,
    listener::{Admission, NetworkPlace},
    mail,
    prelogin::{Event, PreLogin, Prover, accept_tls},
    reach::{Reached, reach},
    splice::{Ended, Pair, SpliceReport, splice_until},
};
use crate::{
    handoff::{Preamble, Protocol, SessionId},
    session::{
        Fault, Forward, ImapLogin, LoginOutcome, LoginRequest, Peer, Pop3Login, Session, Settings, SubmissionLogin,
    },
};

/// Serves one accepted connection.
///
/// What happens before the splice needs much room for a moment, what comes after little for hours: the first is boxed.
pub async fn serve_client(
    tcp: TcpStream,
    peer: SocketAddr,
    service: Service,
    context: Arc<RouterContext>,
    _admission: Admission,
) {
    let Some(established) = Box::pin(establish(tcp, peer, service, context.clone())).await else { return };
    forward(established, &context).await;
}

/// A client and its member, ready to be spliced.
struct Established {
    session: SessionId,
    protocol: Protocol,
    pair: Pair,
    lifeline: CancellationToken,
    _place: NetworkPlace,
}

/// Everything before the splice; protocols that are not spliced end here.
async fn establish(
    tcp: TcpStream,
    peer: SocketAddr,
    service: Service,
    context: Arc<RouterContext>,
) -> Option<Established> {
    let (stream, client) = receive(tcp, peer, &context).await?;
    // Before any handshake: that is where an attacker would spend our time.
    let Some(place) = context.gate.enter(client.address.ip()) else {
        metrics::counter!("laniakea_router_turned_away_total").increment(1);
        return None;
    };
    let stream = match service {
        Service::Imaps | Service::Pop3s | Service::Submissions => accept_tls(&context.tls, stream).await?,
        _ => stream,
    };
    match service {
        Service::Imap | Service::Imaps => return log_in::<ImapLogin>(stream, client, &context, place).await,
        Service::Pop3 | Service::Pop3s => return log_in::<Pop3Login>(stream, client, &context, place).await,
        Service::Submission | Service::Submissions => {
            return log_in::<SubmissionLogin>(stream, client, &context, place).await;
        }
        Service::Smtp => mail::serve_smtp(stream, client, context).await,
        Service::Lmtp => mail::serve_lmtp(stream, client, context).await,
        // `router` serves these elsewhere.
        Service::Http | Service::Https | Service::AuthHttp | Service::Metrics => {}
    }
    None
}

/// Copies both ways for as long as client and member like, the member is there, and the router runs.
async fn forward(established: Established, context: &RouterContext) {
    let Established { session, protocol, pair, lifeline, _place } = established;
    let forwarded = || metrics::gauge!("laniakea_router_forwarded_connections", "protocol" => protocol.as_str());
    forwarded().increment(1.0);
    let stop = pin!(context.shutdown.cancelled());
    let report = tokio::select! {
        report = splice_until(pair, context.limits.idle, stop, farewell(protocol)) => Some(report),
        () = lifeline.cancelled() => None,
    };
    forwarded().decrement(1.0);
    if let Some(report) = report {
        report_end(session, &report);
    }
}

/// A session before login that a router serves.
trait Front: Session + Send + Sized {
    const PROTOCOL: Protocol;

    fn begin(now: Instant, settings: Settings) -> Self;
}

impl Front for ImapLogin {
    const PROTOCOL: Protocol = Protocol::Imap;

    fn begin(now: Instant, settings: Settings) -> Self {
        Self::new(now, settings)
    }
}

impl Front for SubmissionLogin {
    const PROTOCOL: Protocol = Protocol::Submission;

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

/// Serves a client until it has logged in.
async fn log_in<S: Front>(
    stream: Stream,
    client: Client,
    context: &RouterContext,
    place: NetworkPlace,
) -> Option<Established> {
    let protocol = S::PROTOCOL;
    metrics::counter!("laniakea_router_connections_total", "protocol" => protocol.as_str()).increment(1);
    let session = client.session;
    let span = tracing::info_span!("session", %session, client = %client.address, protocol = protocol.as_str());
    let mut settings = Settings::new(&context.domain, client.protection(stream.tls_facts()), Peer::Client);
    settings.believes_claims = client.is_believed;
    settings.message_bytes_max = context.limits.message_bytes_max;
    settings.login_within = context.limits.login;
    settings.mechanisms = context.mechanisms.clone();
    settings.failures_before = context.suspicion.lock().failures(Instant::now(), client.address.ip());
    let prelogin = PreLogin::new(stream, S::begin(Instant::now(), settings), Some(context.tls.clone()))
        .until(context.shutdown.clone());
    let (client, forward, member) = converse(prelogin, &client, context, protocol).instrument(span).await?;
    Some(Established {
        session,
        protocol,
        lifeline: member.member.map(|address| context.routes.lifeline(address)).unwrap_or_default(),
        pair: Pair { a: client, a_unread: forward.unread, b: member.stream, b_unread: member.unread },
        _place: place,
    })
}

/// Answers logins until one is accepted.
async fn converse<S: Front>(
    mut prelogin: PreLogin<S>,
    client: &Client,
    context: &RouterContext,
    protocol: Protocol,
) -> Option<(Stream, Forward, Reached)> {
    let mut member = None;
    loop {
        match prelogin.run().await {
            Event::Login(mut waiting, request) => {
                let preamble = client.claimed(&request.claims).preamble(protocol, waiting.tls_facts());
                let outcome = match try_login(context, &preamble, &request, &mut waiting).await {
                    Ok(mut reached) => {
                        let lines = mem::take(&mut reached.reply_line);
                        member = Some(reached);
                        LoginOutcome::Relay(lines)
                    }
                    Err(fault) => LoginOutcome::Refused(fault),
                };
                prelogin = waiting.answer(outcome);
            }
            Event::LoggedIn(stream, forward) => return Some((stream, forward, member?)),
            Event::Over => return None,
        }
    }
}

/// Tries one login and counts it.
async fn try_login(
    context: &RouterContext,
    preamble: &Preamble,
    request: &LoginRequest,
    prover: &mut impl Prover,
) -> Result<Reached, Fault> {
    let began = Instant::now();
    let result = reach(context, preamble, request, prover).await;
    let protocol = preamble.protocol.as_str();
    let outcome = result.as_ref().map_or_else(|fault| fault.as_str(), |_| "logged-in");
    metrics::counter!("laniakea_router_logins_total", "protocol" => protocol, "outcome" => outcome).increment(1);
    metrics::histogram!("laniakea_router_login_seconds", "protocol" => protocol).record(began.elapsed());
    if result.as_ref().err() == Some(&Fault::BadCredentials) {
        context.suspicion.lock().on_failure(began, preamble.client.ip());
    }
    result.inspect_err(|fault| tracing::info!(login = %request.login, fault = fault.as_str(), "login refused"))
}

/// What a client hears last when the router stops; in POP3 a server says only what it is asked for.
fn farewell(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Imap => "* BYE [UNAVAILABLE] shutting down\r\n",
        _ => "",
    }
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

#[cfg(test)]
#[path = "client_test.rs"]
mod tests;
