//! Connections to members, and to servers of other kinds: HTTP/1.1 behind a preamble, each for one client alone.

use std::{net::SocketAddr, sync::Arc};

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::{BUFFER_BYTES, FIELDS_MAX, body::Upload};
use crate::{
    drive::{RouterContext, Stream, foreign::ForeignServer, login::DialError},
    handoff::Preamble,
};

/// Connections that one client's connection keeps for its next requests; a browser's requests go to one member, mostly.
const KEPT_MAX: usize = 4;

/// A connection that can take a request.
pub struct Upstream {
    /// The member; none if it is a server of another kind.
    pub member: Option<SocketAddr>,
    /// Takes requests.
    pub sender: SendRequest<Upload>,
}

/// Connections that wait for the same client's next request. They carry its address, so nobody else gets them.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Vec<Upstream>>>);

impl Kept {
    /// Takes a connection to `member`, if there is one that still lives.
    #[must_use]
    pub fn take(&self, member: Option<SocketAddr>) -> Option<Upstream> {
        let mut kept = self.0.lock();
        kept.retain(|upstream| !upstream.sender.is_closed());
        let position = kept.iter().position(|upstream| upstream.member == member && upstream.sender.is_ready())?;
        Some(kept.swap_remove(position))
    }

    /// Puts a connection by.
    pub fn put(&self, upstream: Upstream) {
        let mut kept = self.0.lock();
        kept.retain(|upstream| !upstream.sender.is_closed());
        if kept.len() < KEPT_MAX {
            kept.push(upstream);
        }
    }
}

impl Upstream {
    /// Connects to a member.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn to_member(
        context: &RouterContext,
        member: SocketAddr,
        preamble: &Preamble,
    ) -> Result<Self, DialError> {
        let mut stream = context.routes.handoffs().dial(member).await?;
        // Fits into any socket's buffer, so it needs no deadline.
        stream.write_all(&preamble.encode()).await.map_err(DialError::of)?;
        let lifeline = context.routes.lifeline(member);
        Self::on(context, stream, Some(member), lifeline).await.ok_or(DialError::Protocol)
    }

    /// Connects to a server of another kind.
    pub async fn to_foreign(context: &RouterContext, server: &ForeignServer<'_>, preamble: &Preamble) -> Option<Self> {
        let stream = server.connect(preamble).await.inspect_err(|error| {
            tracing::warn!(%error, "a server of another kind cannot be reached");
        });
        Self::on(context, stream.ok()?, None, CancellationToken::new()).await
    }

    async fn on(
        context: &RouterContext,
        stream: Stream,
        member: Option<SocketAddr>,
        lifeline: CancellationToken,
    ) -> Option<Self> {
        let handshake =
            Builder::new().max_buf_size(BUFFER_BYTES).max_headers(FIELDS_MAX).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.ok()?;
        let drained = context.drained.clone();
        context.tasks.spawn(async move {
            tokio::select! {
                // What goes wrong is told to whoever waits for the answer.
                _ = connection.with_upgrades() => {}
                () = lifeline.cancelled() => {}
                () = drained.cancelled() => {}
            }
        });
        Some(Self { member, sender })
    }
}
