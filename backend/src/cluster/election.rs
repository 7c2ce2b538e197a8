//! When to try to become the controller.
//!
//! Whoever should go first waits least: the candidates are ranked by slot, and each rank waits a little longer, so that
//! normally one campaigns and the others hear of it. If two do campaign, `link(2)` lets one win.

use std::time::Duration;

use super::Moment;

/// How long to wait for the arbiter before trying once more.
const PATIENCE: Duration = Duration::from_secs(1);

/// This member may stand for controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidacy {
    /// The highest term known; its controller is lost.
    pub term: u64,
    /// How long to let the members of the winning side go first that rank higher.
    pub wait: Duration,
}

/// One member's campaigns.
#[derive(Debug, Clone, Default)]
pub struct Election {
    stage: Stage,
}

#[derive(Debug, Clone, Default)]
enum Stage {
    #[default]
    Quiet,
    Waiting {
        term: u64,
        due: Moment,
    },
    Asking {
        term: u64,
        until: Moment,
    },
}

impl Election {
    /// Considers the situation; returns the term to campaign for when it is time to.
    pub fn consider(&mut self, now: Moment, candidacy: Option<Candidacy>) -> Option<u64> {
        let Some(candidacy) = candidacy else {
            // A vote that is under way cannot be called back.
            if matches!(self.stage, Stage::Waiting { .. }) {
                self.stage = Stage::Quiet;
            }
            return None;
        };
        match self.stage {
            Stage::Asking { term, until } if term == candidacy.term && now < until => None,
            Stage::Waiting { term, due } if term == candidacy.term => {
                if now < due {
                    return None;
                }
                self.stage = Stage::Asking { term, until: now + PATIENCE };
                Some(term + 1)
            }
            Stage::Quiet | Stage::Waiting { .. } | Stage::Asking { .. } => {
                self.stage = Stage::Waiting { term: candidacy.term, due: now + candidacy.wait };
                self.consider_due(now, candidacy)
            }
        }
    }

    /// The first rank does not wait at all.
    fn consider_due(&mut self, now: Moment, candidacy: Candidacy) -> Option<u64> {
        if candidacy.wait.is_zero() { self.consider(now, Some(candidacy)) } else { None }
    }

    /// The vote was answered, or failed.
    pub fn decided(&mut self) {
        self.stage = Stage::Quiet;
    }

    /// When to consider again.
    #[must_use]
    pub const fn deadline(&self) -> Option<Moment> {
        match self.stage {
            Stage::Quiet => None,
            Stage::Waiting { due, .. } => Some(due),
            Stage::Asking { until, .. } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixture::at;

    #[test]
    fn the_first_rank_campaigns_at_once_and_only_once() {
        let mut election = Election::default();
        let candidacy = Some(Candidacy { term: 4, wait: Duration::ZERO });
        assert_eq!(election.consider(at(10), candidacy), Some(5));
        assert_eq!(election.consider(at(11), candidacy), None, "the vote is under way");
        assert_eq!(election.deadline(), Some(at(1010)));
    }

    #[test]
    fn a_later_rank_waits_and_gives_way() {
        let mut election = Election::default();
        let candidacy = Some(Candidacy { term: 4, wait: Duration::from_millis(100) });
        assert_eq!(election.consider(at(0), candidacy), None);
        assert_eq!(election.consider(at(99), candidacy), None);
        assert_eq!(election.consider(at(99), None), None, "somebody won meanwhile");
        assert_eq!(election.consider(at(100), candidacy), None, "waits anew");
        assert_eq!(election.consider(at(200), candidacy), Some(5));
    }

    #[test]
    fn a_failed_vote_is_tried_again() {
        let mut election = Election::default();
        let candidacy = Some(Candidacy { term: 0, wait: Duration::ZERO });
        assert_eq!(election.consider(at(0), candidacy), Some(1));
        election.decided();
        assert_eq!(election.consider(at(5), candidacy), Some(1));
        assert_eq!(election.consider(at(1005), candidacy), Some(1), "the arbiter never answered");
    }
}
