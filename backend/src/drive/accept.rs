//! The listeners of a member: its clients' own, and the one where routers and fellow members hand connections over.

use std::{net::SocketAddr, sync::Arc};

use ipnet::IpNet;
use laniakea_config::Service;
use laniakea_router::{
    drive::{
        arrival::receive,
        handoffs::DoorError,
        header::{is_trusted, receive_preamble},
        listener::{Admission, accept_loop},
        prelogin::accept_tls,
    },
    handoff::Protocol,
    session::smtp::Dialect,
};
use tokio::net::{TcpListener, TcpStream};
use tracing::Instrument;

use crate::drive::{
    login::{Arrival, Imap, Pop3, serve},
    mail::MailService,
    member::Member,
    web::serve_web,
};

/// Accepts clients of one service until the member stops.
pub async fn accept_clients(listener: TcpListener, service: Service, member: Arc<Member>, mail: Arc<MailService>) {
    let (gate, shutdown) = (member.front.gate.clone(), member.front.shutdown.clone());
    accept_loop(listener, gate, shutdown, move |tcp, peer, admission| {
        let shared = (member.clone(), mail.clone());
        member.front.tasks.spawn(serve_client(tcp, peer, service, shared, admission));
    })
    .await;
}

/// Accepts handed-over connections until the member stops.
pub async fn accept_handoffs(listener: TcpListener, from: Vec<IpNet>, member: Arc<Member>, mail: Arc<MailService>) {
    let (gate, shutdown) = (member.front.gate.clone(), member.front.shutdown.clone());
    let from: Arc<[IpNet]> = from.into();
    accept_loop(listener, gate, shutdown, move |tcp, peer, admission| {
        // A preamble says who the client is: only our own may send one.
        if !is_trusted(peer.ip(), &from) {
            tracing::warn!(%peer, "a connection to the handoff listener came from a network that may not hand over");
            return;
        }
        let shared = (member.clone(), mail.clone());
        member.front.tasks.spawn(serve_handoff(tcp, peer, shared, admission));
    })
    .await;
}

async fn serve_client(
    tcp: TcpStream,
    peer: SocketAddr,
    service: Service,
    (member, mail): (Arc<Member>, Arc<MailService>),
    _admission: Admission,
) {
    let Some((mut stream, client)) = receive(tcp, peer, &member.front).await else { return };
    let Some(_place) = member.front.gate.enter(client.address.ip()) else { return };
    if matches!(service, Service::Imaps | Service::Pop3s | Service::Submissions) {
        let Some(encrypted) = Box::pin(accept_tls(&member.front.tls, stream)).await else { return };
        stream = encrypted;
    }
    let span = tracing::info_span!("session", session = %client.session, client = %client.address, ?service);
    match service {
        Service::Imap | Service::Imaps => serve::<Imap>(stream, Arrival::Direct(client), member).instrument(span).await,
        Service::Pop3 | Service::Pop3s => serve::<Pop3>(stream, Arrival::Direct(client), member).instrument(span).await,
        Service::Submission | Service::Submissions => {
            mail.serve_submission(stream, Arrival::Direct(client)).instrument(span).await;
        }
        Service::Smtp => mail.serve_client(stream, client, Dialect::Smtp).instrument(span).await,
        Service::Lmtp => mail.serve_client(stream, client, Dialect::Lmtp).instrument(span).await,
        Service::Http => serve_web(stream, Arrival::Direct(client), member).instrument(span).await,
        _ => {}
    }
}

async fn serve_handoff(
    tcp: TcpStream,
    peer: SocketAddr,
    (member, mail): (Arc<Member>, Arc<MailService>),
    _admission: Admission,
) {
    let mut stream = match Box::pin(member.front.routes.handoffs().accept(tcp)).await {
        Ok(stream) => stream,
        Err(error) => return tell_of_stranger(peer, &error),
    };
    let preamble = match receive_preamble(&mut stream).await {
        Ok(preamble) => preamble,
        Err(error) => {
            tracing::debug!(%error, "a connection to the handoff listener had no preamble");
            return;
        }
    };
    let protocol = preamble.protocol;
    let span = tracing::info_span!("session", session = %preamble.session, client = %preamble.client, protocol = protocol.as_str());
    match protocol {
        Protocol::Imap => serve::<Imap>(stream, Arrival::HandedOver(preamble), member).instrument(span).await,
        Protocol::Pop3 => serve::<Pop3>(stream, Arrival::HandedOver(preamble), member).instrument(span).await,
        Protocol::Submission => {
            mail.serve_submission(stream, Arrival::HandedOver(preamble)).instrument(span).await;
        }
        Protocol::Smtp | Protocol::Lmtp => mail.serve_handoff(stream, preamble).instrument(span).await,
        Protocol::Http => serve_web(stream, Arrival::HandedOver(preamble), member).instrument(span).await,
    }
}

/// A connection that ends before it has said anything is somebody who looks whether we listen.
fn tell_of_stranger(peer: SocketAddr, error: &DoorError) {
    match error {
        DoorError::Io(_) => {
            tracing::debug!(%peer, %error, "a connection to the handoff listener ended in its handshake")
        }
        DoorError::TimedOut | DoorError::NotTls | DoorError::Certificate(_) => {
            tracing::warn!(%peer, %error, "a connection to the handoff listener was refused");
        }
    }
}
