//! How a process gets a seat: a number, a place among the living, then a look at the highest term.
//!
//! The order matters: whoever wins a term after this incarnation appeared will find it listed and wait for it; whoever
//! won before is found by the look that follows. So no term can be missed by an incarnation nobody waits for.

use laniakea_config::ClusterTiming;

use super::{ArbiterAnswer, ArbiterCall, Moment, Peer, Seat};
use crate::cluster::Newcomer;

/// A process on its way to a seat.
#[derive(Debug)]
pub struct Joining {
    newcomer: Newcomer,
    timing: ClusterTiming,
    peer: Option<Peer>,
}

/// What joining needs next.
#[derive(Debug)]
pub enum JoinStep {
    /// Ask the arbiter, and step with its answer.
    Ask(ArbiterCall),
    /// The incarnation lives now: ticks begin, then ask.
    Appeared(Peer, ArbiterCall),
    /// The seat is taken. Step it once at once.
    Seated(Box<Seat>),
    /// The arbiter failed.
    Failed(std::io::Error),
}

impl Joining {
    /// Begins to join; the call is the first to ask.
    #[must_use]
    pub fn begin(newcomer: Newcomer, timing: ClusterTiming) -> (Self, ArbiterCall) {
        let call = ArbiterCall::Enlist(newcomer.clone());
        (Self { newcomer, timing, peer: None }, call)
    }

    /// Takes the arbiter's answer to the last call, which began at `began`.
    pub fn step(&mut self, now: Moment, began: Moment, answer: ArbiterAnswer) -> JoinStep {
        match (answer, &self.peer) {
            (ArbiterAnswer::Enlisted(peer), _) => {
                let call = ArbiterCall::Appear(peer.incarnation.clone());
                self.peer = Some(peer);
                JoinStep::Ask(call)
            }
            (ArbiterAnswer::Appeared, Some(peer)) => JoinStep::Appeared(peer.clone(), ArbiterCall::Survey),
            (ArbiterAnswer::Surveyed(survey), Some(peer)) => {
                let mut seat = Seat::new(now, peer.clone(), self.timing);
                seat.on_survey(now, began, survey);
                JoinStep::Seated(Box::new(seat))
            }
            // Somebody swept the directory away while it was still empty: take the next number.
            (ArbiterAnswer::Failed { call: ArbiterCall::Appear(_), error }, _)
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                JoinStep::Ask(ArbiterCall::Enlist(self.newcomer.clone()))
            }
            (ArbiterAnswer::Failed { error, .. }, _) => JoinStep::Failed(error),
            (answer, _) => JoinStep::Failed(std::io::Error::other(format!("unexpected answer {answer:?}"))),
        }
    }
}
