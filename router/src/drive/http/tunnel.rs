//! WebSockets: after the handshake, bytes both ways.

use std::{sync::Arc, time::Instant};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::copy_bidirectional,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{LOOK_EVERY, pulse::Verdict, visit::Visit};
use crate::drive::prelogin::HANDSHAKE_DEADLINE;

/// Joins a client and a server once both have switched, until one of them ends, nothing moves for too long, the server is
/// lost, or the router stops.
pub fn join(visit: Arc<Visit>, client: OnUpgrade, server: OnUpgrade, lifeline: CancellationToken) {
    let tasks = visit.context().tasks.clone();
    tasks.spawn(async move {
        let under_way = visit.pulse.begin();
        let switched = timeout(HANDSHAKE_DEADLINE, async { tokio::try_join!(client, server) }).await;
        let Ok(Ok((client, server))) = switched else { return };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        let context = visit.context();
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => {}
            () = cut(&visit) => {}
            () = lifeline.cancelled() => {}
            // A WebSocket has no moment between two requests; its client comes again.
            () = context.shutdown.cancelled() => {}
        }
        drop(under_way);
    });
}

async fn cut(visit: &Visit) {
    let mut ticks = interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        if visit.pulse.verdict(Instant::now(), visit.context().limits.idle) == Verdict::Cut {
            return;
        }
    }
}
