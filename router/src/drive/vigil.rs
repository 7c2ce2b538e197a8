//! Watches members: who is doubted, what waits for them, and what is ended when one is lost.
//!
//! What one connection learns of a member serves all: whoever waits for a member that is doubted goes to another one at
//! once, and connections forwarded to a member that is lost are ended, so that their clients come again.

use std::{
    future::{Future, pending},
    net::SocketAddr,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Handoffs,
    login::{DialError, probe},
};
use crate::route::{Health, Standing};

/// How often each member with forwarded connections is looked after. One that greets clients needs no question.
pub(super) const WATCH_EVERY: Duration = Duration::from_millis(500);

/// What a process knows of the members it connects to.
pub(super) struct Vigil {
    pub(super) handoffs: Handoffs,
    health: Mutex<Health>,
    /// For each member with forwarded connections, what is cancelled when it is lost.
    lifelines: DashMap<SocketAddr, CancellationToken>,
    /// Told whenever another member is doubted.
    doubts: watch::Sender<()>,
}

impl Vigil {
    pub(super) fn new(handoffs: Handoffs) -> Arc<Self> {
        let (health, lifelines) = Default::default();
        Arc::new(Self { handoffs, health, lifelines, doubts: watch::Sender::new(()) })
    }

    pub(super) fn is_up(&self, member: SocketAddr) -> bool {
        self.health.lock().is_up(member)
    }

    pub(super) fn standing(&self, member: SocketAddr) -> Standing {
        self.health.lock().standing(member, Instant::now())
    }

    pub(super) fn doubted(&self) -> Vec<SocketAddr> {
        self.health.lock().doubted()
    }

    /// Notes that a member answered.
    pub(super) fn on_reached(&self, member: SocketAddr) {
        self.health.lock().on_success(member, Instant::now());
    }

    /// Notes that an attempt that began at `began` had no answer; returns whether that is news.
    pub(super) fn on_no_answer(self: &Arc<Self>, member: SocketAddr, began: Instant, error: &DialError) -> bool {
        if !error.is_unreachable() {
            return false;
        }
        let finding = {
            let mut health = self.health.lock();
            match error.is_silence() {
                true => health.on_silence(member, began, Instant::now()),
                false => health.on_failure(member),
            }
        };
        // Also what began only after it was doubted.
        if finding.is_lost
            && let Some((_, lifeline)) = self.lifelines.remove(&member)
        {
            tracing::warn!(%member, "member is silent; its connections are ended");
            lifeline.cancel();
        }
        if !finding.is_news {
            return false;
        }
        match error {
            DialError::Tls(_) => tracing::error!(%member, %error, "member cannot be used"),
            _ => tracing::info!(%member, %error, "member cannot be reached"),
        }
        self.doubts.send_replace(());
        if self.health.lock().begin_probing(member) {
            tokio::spawn(probe_until_up(Arc::downgrade(self), member));
        }
        true
    }

    /// Is cancelled when the member is lost; from now on it is looked after.
    pub(super) fn lifeline(&self, member: SocketAddr) -> CancellationToken {
        self.lifelines.entry(member).or_default().clone()
    }

    /// Takes all members for lost that somebody is connected to.
    pub(super) fn let_go(&self) {
        self.lifelines.iter().for_each(|lifeline| lifeline.cancel());
    }

    /// Does `work` with a member unless it is doubted meanwhile. A member that is doubted already is tried for want of a
    /// better one, and waited for.
    pub(super) async fn unless_doubted<T>(&self, member: SocketAddr, work: impl Future<Output = T>) -> Option<T> {
        let mut doubts = self.doubts.subscribe();
        let was_up = self.is_up(member);
        let doubted = async {
            while was_up && doubts.changed().await.is_ok() {
                if !self.is_up(member) {
                    return;
                }
            }
            pending().await
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = doubted => None,
        }
    }

    /// Looks whether the members that connections are forwarded to still answer; returns for whom that is doubted now.
    pub(super) async fn watch(self: &Arc<Self>) -> Vec<SocketAddr> {
        let lately = Instant::now().checked_sub(WATCH_EVERY);
        let mut probes = JoinSet::new();
        for member in self.lifelines.iter().map(|line| *line.key()) {
            let health = self.health.lock();
            if health.is_up(member) && lately.is_none_or(|lately| !health.was_heard_since(member, lately)) {
                let vigil = Arc::clone(self);
                probes.spawn(async move { vigil.probe(member).await.then_some(member) });
            }
        }
        probes.join_all().await.into_iter().flatten().collect()
    }

    /// Asks a member for its greeting; returns whether it is news that there is none.
    async fn probe(self: &Arc<Self>, member: SocketAddr) -> bool {
        let began = Instant::now();
        match probe(&self.handoffs, member).await {
            Ok(()) => {
                self.on_reached(member);
                false
            }
            Err(error) => {
                if error.is_unreachable() && !error.is_silence() {
                    // It stops, or is gone: its connections end by themselves, and nothing is left to be watched.
                    self.lifelines.remove(&member);
                }
                self.on_no_answer(member, began, &error)
            }
        }
    }
}

/// Probes a doubted member until it answers; ends with the process's routes.
async fn probe_until_up(vigil: Weak<Vigil>, member: SocketAddr) {
    loop {
        let Some(pause) = vigil.upgrade().and_then(|vigil| vigil.health.lock().next_probe(member)) else { return };
        sleep(pause).await;
        let Some(vigil) = vigil.upgrade() else { return };
        vigil.probe(member).await;
        if vigil.is_up(member) {
            tracing::info!(%member, "member answers again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::route::LOST_AFTER;

    const MEMBER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), 7143);

    fn long_ago() -> Instant {
        Instant::now().checked_sub(LOST_AFTER).unwrap()
    }

    #[tokio::test]
    async fn what_one_finds_out_ends_the_wait_of_all() {
        let vigil = Vigil::new(Handoffs::default());
        let finds_out = async {
            vigil.on_no_answer(MEMBER, long_ago(), &DialError::Silent);
            pending::<()>().await;
        };
        let waits = vigil.unless_doubted(MEMBER, pending::<()>());
        tokio::select! {
            // Who waits was there before.
            biased;
            waited = waits => assert_eq!(waited, None),
            () = finds_out => {}
        }
        // Who tries a doubted member for want of a better one is not sent away by the same news.
        assert_eq!(vigil.unless_doubted(MEMBER, async { 7 }).await, Some(7));
    }

    #[tokio::test]
    async fn what_one_client_meets_with_makes_no_member_doubted_for_all() {
        let vigil = Vigil::new(Handoffs::default());
        let broken = || DialError::Broken(io::ErrorKind::ConnectionReset.into());
        for _ in 0..1000 {
            for error in [broken(), DialError::Protocol, DialError::Doubted] {
                assert!(!vigil.on_no_answer(MEMBER, long_ago(), &error));
            }
        }
        assert!(vigil.is_up(MEMBER) && vigil.doubted().is_empty());
    }

    #[tokio::test]
    async fn connections_to_a_silent_member_end_and_those_to_one_that_refuses_do_not() {
        let vigil = Vigil::new(Handoffs::default());
        let lifeline = vigil.lifeline(MEMBER);
        vigil.on_no_answer(MEMBER, long_ago(), &DialError::Connect(io::ErrorKind::ConnectionRefused.into()));
        assert!(!vigil.is_up(MEMBER) && !lifeline.is_cancelled());
        vigil.on_no_answer(MEMBER, long_ago(), &DialError::Silent);
        assert!(lifeline.is_cancelled());
    }
}
