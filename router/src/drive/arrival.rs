//! Who a connection belongs to, before its first command.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::{
    Client, RouterContext, Stream,
    header::{is_trusted, receive_introduction},
};
use crate::handoff::SessionId;

/// Learns who the client is: from the balancer, if one is between.
pub async fn receive(mut tcp: TcpStream, peer: SocketAddr, context: &RouterContext) -> Option<(Stream, Client)> {
    let local = tcp.local_addr().ok()?;
    let mut client = Client {
        address: canonical(peer),
        local: canonical(local),
        tls: None,
        session: SessionId::random(),
        hops: 0,
        is_believed: is_trusted(peer.ip(), &context.trust_from),
    };
    if is_trusted(peer.ip(), &context.proxy_from) {
        let introduction = receive_introduction(&mut tcp)
            .await
            .inspect_err(|error| tracing::debug!(%peer, %error, "connection without a PROXY header"))
            .ok()?;
        client.hops = introduction.hops;
        // Without addresses it is the balancer itself, which looks whether we are alive.
        if let Some(addresses) = introduction.addresses {
            client.address = addresses.source;
            client.local = addresses.destination;
            client.tls = introduction.tls;
        }
    }
    Some((Stream::Plain(tcp), client))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
