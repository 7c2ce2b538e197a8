//! Mail on a router: SMTP and LMTP from the outside, handed on to members.
//!
//! The router holds no mail. A recipient is accepted or refused by what the directory says; content streams to members as
//! it comes, no faster than they take it; and a positive reply is only ever a member's own. A member that is lost before
//! its reply is replaced by another one. Members use [`converse`], [`MailClient`] and [`resolve`] as well.

mod budget;
mod client;
mod converse;
mod engage;
mod foreign;
mod kept;
mod leg;
mod lmtp;
#[cfg(test)]
mod relay_test;
mod resolve;
mod smarthost;
mod smtp;

use std::sync::Arc;

use tracing::Instrument;

pub use budget::{Budget, Share};
pub use client::{ClientError, Handover, MailClient, Outgoing};
pub use converse::{Connection, Exchange, Farewell, converse};
pub use engage::{Engaged, Errand, Need};
pub use foreign::engage_foreign;
pub use kept::Kept;
pub use resolve::{Destination, Verdict, destination, relaying_denied, resolve};
pub use smarthost::Smarthost;

use super::{
    Stream,
    context::{Client, RouterContext},
};
use crate::{
    session::smtp::{Dialect, Peer, Settings},
    wire::claims::Claims,
};

/// Serves one client of the SMTP port (RFC 5321).
pub async fn serve_smtp(stream: Stream, client: Client, context: Arc<RouterContext>) {
    let exchange = smtp::SmtpRelay::new(client.clone(), Arc::clone(&context));
    serve(stream, &client, &context, Dialect::Smtp, exchange).await;
}

/// Serves one client of the LMTP port (RFC 2033).
pub async fn serve_lmtp(stream: Stream, client: Client, context: Arc<RouterContext>) {
    let exchange = lmtp::LmtpRelay::new(client.clone(), Arc::clone(&context));
    serve(stream, &client, &context, Dialect::Lmtp, exchange).await;
}

/// The client, as a proxy describes it. Mail counts its hops in its `Received` fields, not connection by connection.
fn claimed(client: &Client, claims: &Claims) -> Client {
    Client { hops: 0, ..client.claimed(claims) }
}

async fn serve(stream: Stream, client: &Client, context: &RouterContext, dialect: Dialect, exchange: impl Exchange) {
    let tls = stream.tls_facts().or_else(|| client.tls.clone());
    let settings = Settings {
        dialect,
        peer: Peer::Client,
        host: context.domain.clone(),
        domain: context.domain.clone(),
        message_bytes_max: context.limits.message_bytes_max,
        recipients_max: context.limits.recipients_max,
        starttls: true,
        believes_claims: client.is_believed,
        submitter: None,
        tls: tls.is_some(),
    };
    let connection =
        Connection { stream, tls: Some(context.tls.clone()), unread: Vec::new(), shutdown: context.shutdown.clone() };
    let span = tracing::info_span!("session", session = %client.session, client = %client.address, ?dialect);
    let farewell = converse(connection, settings, tls, exchange).instrument(span.clone()).await;
    span.in_scope(|| tracing::debug!(?farewell, "mail connection ended"));
}
