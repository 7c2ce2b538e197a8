//! When a member probes its storage, and what it does about the findings.
//!
//! Before it joins, with a fellow that runs; alone, if there is none or none can help. In that case it tries again once it
//! has joined, until one probe with a fellow has come to an end: members that start at the same moment find nobody before.
//! A member that finds its storage unsound does not join, or leaves again; but never the last one.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;

use laniakea_config::ProbePolicy;
use laniakea_directory::MemberName;

use super::{JOIN_PATIENCE, StartError, desk::Clerk};
use crate::{
    cluster::{Arbiter, ArbiterAnswer, ArbiterCall, ClusterView},
    drive::probe::{Correspondence, Examiner, ProbeError, Report, probe_alone, probe_with},
    probe::Verdict,
};

/// How often a fellow that helps somebody else is asked again before joining, and how long between.
const ASKED_MAX: u32 = 10;
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// How long after joining the first try follows, and then the next ones; up to as much again is added by chance.
const LATER: Duration = Duration::from_secs(3);

/// What finds an unsound storage, told to the rest of the process.
pub(super) type Unsound = watch::Sender<Option<Arc<Report>>>;

/// Probes one member's storage.
#[derive(Debug)]
pub(super) struct Prober {
    pub(super) storage: PathBuf,
    pub(super) policy: ProbePolicy,
    pub(super) me: MemberName,
    pub(super) correspondence: Correspondence,
    pub(super) examiner: Examiner,
}

/// How a try with one fellow ended.
enum Tried {
    /// With a verdict; an unsound storage was told of, and is to be put up with.
    Done,
    /// With an unsound storage that is not put up with.
    Unsound(Box<Report>),
    /// It helps somebody else at the moment.
    Busy,
    /// Without a verdict.
    Nothing,
}

impl Prober {
    /// Probes before joining. Says whether it was done with a fellow, so that nothing is left to do.
    ///
    /// # Errors
    /// If the storage is unsound, or fails.
    pub(super) async fn before_joining(&self, arbiter: Arc<dyn Arbiter>) -> Result<bool, StartError> {
        if self.policy == ProbePolicy::Off {
            return Ok(true);
        }
        for fellow in self.fellows(arbiter).await? {
            for asked in 0..ASKED_MAX {
                match self.probe_with(fellow).await? {
                    Tried::Done => return Ok(true),
                    Tried::Unsound(report) => return Err(StartError::Unsound(report)),
                    Tried::Busy if asked + 1 < ASKED_MAX => tokio::time::sleep(ASK_AGAIN).await,
                    Tried::Busy | Tried::Nothing => break,
                }
            }
        }
        let report = probe_alone(&self.storage, &mut |_, _| ()).await.map_err(StartError::Probe)?;
        match self.judge(report) {
            Tried::Unsound(report) => Err(StartError::Unsound(report)),
            Tried::Done | Tried::Busy | Tried::Nothing => Ok(false),
        }
    }

    /// Who is listed among the living, other runs of this member left out.
    async fn fellows(&self, arbiter: Arc<dyn Arbiter>) -> Result<Vec<SocketAddr>, StartError> {
        let mut clerk = Clerk::start(arbiter).map_err(StartError::Thread)?;
        clerk.ask(ArbiterCall::Survey);
        match tokio::time::timeout(JOIN_PATIENCE, clerk.answer()).await {
            Ok(Some((_, ArbiterAnswer::Surveyed(survey)))) => {
                let peers = survey.live.into_iter().map(|entry| entry.peer);
                Ok(peers.filter(|peer| peer.incarnation.member != self.me).map(|peer| peer.control).collect())
            }
            Ok(Some((_, ArbiterAnswer::Failed { error, .. }))) => Err(StartError::Storage(error)),
            Ok(_) => Err(StartError::Storage(std::io::Error::other("the survey was not answered"))),
            Err(_) => Err(StartError::Storage(std::io::ErrorKind::TimedOut.into())),
        }
    }

    async fn probe_with(&self, fellow: SocketAddr) -> Result<Tried, StartError> {
        match probe_with(&self.storage, &self.correspondence, fellow, &mut |_, _| ()).await {
            Ok(report) => Ok(self.judge(report)),
            Err(ProbeError::Busy(_)) => Ok(Tried::Busy),
            Err(error @ (ProbeError::Peer { .. } | ProbeError::Absent(_))) => {
                tracing::info!(%fellow, error = %chain(&error), "a fellow could not help to probe the filesystem");
                Ok(Tried::Nothing)
            }
            Err(error @ (ProbeError::Storage { .. } | ProbeError::Stalled)) => Err(StartError::Probe(error)),
        }
    }

    /// Tells of a report, and says what follows from it.
    fn judge(&self, report: Report) -> Tried {
        let (rounds, seconds) = (report.findings.rounds, report.elapsed.as_secs_f64());
        let (filesystem, source) = (&report.filesystem.name, &report.filesystem.source);
        let peer = report.peer.as_ref().map(|peer| peer.name.as_str());
        match (report.findings.verdict(), self.policy) {
            (Verdict::Sound, _) => {
                let beyond = report.filesystem.beyond().join("; ");
                tracing::info!(
                    peer,
                    filesystem,
                    source,
                    rounds,
                    seconds,
                    beyond,
                    "the filesystem was probed and is sound"
                );
                Tried::Done
            }
            (Verdict::Broken, ProbePolicy::On) => Tried::Unsound(Box::new(report)),
            (Verdict::Broken, ProbePolicy::Warn | ProbePolicy::Off) => {
                tracing::warn!("mail may be lost, and `probe: warn` accepts it: {report}");
                Tried::Done
            }
            (Verdict::Unfinished, _) => {
                let trouble = report.findings.trouble.as_ref().map(|trouble| {
                    format!("{}: {}", trouble.operation, std::io::Error::from_raw_os_error(trouble.errno))
                });
                tracing::warn!(
                    peer,
                    filesystem,
                    source,
                    rounds,
                    seconds,
                    trouble,
                    "the filesystem was probed without a result"
                );
                Tried::Nothing
            }
        }
    }

    /// Probes after joining, as soon as there is a fellow, until a probe has come to an end.
    pub(super) async fn later(self, mut view: watch::Receiver<Arc<ClusterView>>, unsound: Unsound) {
        let mut turn = 0_usize;
        loop {
            let chance = rand::random_range(Duration::ZERO..LATER);
            tokio::time::sleep(LATER + chance).await;
            let fellows = self.fellows_in(&view.borrow_and_update());
            let Some(fellow) = fellows.get(turn % fellows.len().max(1)).copied() else {
                if view.changed().await.is_err() {
                    return;
                }
                continue;
            };
            turn = turn.wrapping_add(1);
            // Who probes helps nobody meanwhile, and the other way round: of two that find the same, one goes.
            let Some(_place) = self.examiner.occupy() else { continue };
            match self.probe_with(fellow).await {
                Ok(Tried::Done) => return,
                Ok(Tried::Unsound(report)) if self.fellows_in(&view.borrow()).is_empty() => {
                    tracing::error!("nobody else is left, so this member goes on; but mail may be lost: {report}");
                    return;
                }
                Ok(Tried::Unsound(report)) => {
                    unsound.send_replace(Some(Arc::new(*report)));
                    return;
                }
                Ok(Tried::Busy | Tried::Nothing) => {}
                Err(error) => tracing::info!(error = %chain(&error), "the filesystem could not be probed yet"),
            }
        }
    }

    fn fellows_in(&self, view: &ClusterView) -> Vec<SocketAddr> {
        view.members.iter().filter(|member| member.name != self.me).map(|member| member.control).collect()
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
