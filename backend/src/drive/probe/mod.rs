//! Carries out the examination of a filesystem: by one mount alone, by two mounts of this machine, or with a peer.

mod exchange;
mod hands;
mod mount;
mod report;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::net::TcpListener;

use laniakea_directory::MemberName;
use laniakea_router::drive::Dialler;

use crate::{
    cluster::{Incarnation, Peer},
    drive::control::auth::{Credentials, Purpose},
    probe::{Answer, Examination, Extent, Filesystem, Findings, Operation, Step},
};

use exchange::{Correspondent, Welcome};
use hands::{Hands, Workplace, folder};

pub use exchange::Examiner;
pub use mount::filesystem_of;
pub use report::{Counterpart, Report};

/// How long reaching a peer may take.
const REACH: Duration = Duration::from_secs(3);

/// How long one request may take beyond the patience of the whole: one stalled operation.
const STALL: Duration = Duration::from_secs(10);

/// Why a probe said nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The storage cannot be used here.
    #[error("use {} for a probe", .path.display())]
    Storage {
        /// The storage.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The peer could not be reached, or left.
    #[error("probe with {peer}")]
    Peer {
        /// Its address.
        peer: String,
        /// What happened.
        source: io::Error,
    },
    /// The peer helps somebody else.
    #[error("{0} is at another probe")]
    Busy(String),
    /// The peer does not see what this side makes.
    #[error("{0} has another filesystem mounted: it does not see what is made here")]
    Absent(String),
    /// The filesystem stalls.
    #[error("the filesystem did not answer for {} s", STALL.as_secs())]
    Stalled,
}

/// Told how many rounds have been played, of how many at most.
pub type Progress<'a> = &'a mut (dyn FnMut(u16, u16) + Send);

/// Who can be asked for a probe, and how to prove oneself.
#[derive(Debug, Clone)]
pub struct Correspondence {
    credentials: Credentials,
    me: Peer,
    dialler: Dialler,
}

impl Correspondence {
    /// For a program that is no member: knows the cluster's key and name.
    #[must_use]
    pub fn of_stranger(key: &[u8; 32], cluster: &str, address: SocketAddr) -> Self {
        let incarnation = Incarnation { member: MemberName::new("probe"), number: 0 };
        let me = Peer { incarnation, slot: 0, control: address, handoff: address };
        Self { credentials: Credentials::new(key, cluster), me, dialler: Dialler::default() }
    }

    /// For a member on its way into the cluster.
    pub(in crate::drive) const fn of_member(credentials: Credentials, me: Peer, dialler: Dialler) -> Self {
        Self { credentials, me, dialler }
    }

    /// Serves probers at `listener`, one after the other, for ever.
    pub async fn serve(&self, listener: TcpListener, storage: &Path) {
        let examiner = Examiner::new(storage.to_owned());
        while let Ok((mut stream, _)) = listener.accept().await {
            let (examiner, this) = (examiner.clone(), self.clone());
            tokio::spawn(async move {
                let proving = async {
                    stream.set_nodelay(true)?;
                    this.credentials.accept(&mut stream, &this.me).await
                };
                match tokio::time::timeout(REACH, proving).await {
                    Ok(Ok(proven)) if proven.purpose == Purpose::Probe => examiner.serve(stream, proven).await,
                    Ok(Ok(_)) => tracing::info!("somebody came for something else than a probe"),
                    Ok(Err(error)) => tracing::warn!(%error, "a connection was refused"),
                    Err(_) => tracing::debug!("a connection proved nothing in time"),
                }
            });
        }
    }

    async fn reach(&self, address: SocketAddr, number: u128) -> io::Result<(Welcome, Peer)> {
        let reaching = async {
            let mut stream = self.dialler.dial(address, REACH).await?;
            let proven = self.credentials.dial(&mut stream, &self.me, Purpose::Probe).await?;
            let peer = proven.peer.clone();
            Ok((Correspondent::open(stream, proven, number).await?, peer))
        };
        tokio::time::timeout(REACH, reaching).await?
    }
}

/// Probes what one mount alone can show: links, syncs, removed folders, its own listings.
///
/// # Errors
/// [`ProbeError`] if nothing can be said.
pub async fn probe_alone(storage: &Path, progress: Progress<'_>) -> Result<Report, ProbeError> {
    probe_mounts(storage, None, progress).await
}

/// Probes two mounts of this machine that show one filesystem.
///
/// # Errors
/// [`ProbeError`] if nothing can be said.
pub async fn probe_pair(one: &Path, other: &Path, progress: Progress<'_>) -> Result<Report, ProbeError> {
    probe_mounts(one, Some(other), progress).await
}

async fn probe_mounts(one: &Path, other: Option<&Path>, progress: Progress<'_>) -> Result<Report, ProbeError> {
    let site = Site::begin(one).await?;
    let second = folder(other.unwrap_or(one), site.number);
    let (there, filesystem) = match Hands::start(second, || ()).await {
        Ok(started) => started,
        Err(source) => {
            site.here.finish().await;
            return Err(match other {
                Some(other) if source.kind() == io::ErrorKind::NotFound => {
                    ProbeError::Absent(other.display().to_string())
                }
                _ => ProbeError::Storage { path: other.unwrap_or(one).to_owned(), source },
            });
        }
    };
    let peer = other.map(|path| Counterpart { name: path.display().to_string(), filesystem });
    site.examine(Other::Mount(there), peer, progress).await
}

/// Probes `storage` with the member, or the waiting `store probe`, at `address`.
///
/// # Errors
/// [`ProbeError`] if nothing can be said.
pub async fn probe_with(
    storage: &Path,
    correspondence: &Correspondence,
    address: SocketAddr,
    progress: Progress<'_>,
) -> Result<Report, ProbeError> {
    let site = Site::begin(storage).await?;
    match correspondence.reach(address, site.number).await {
        Ok((Welcome::Ready(correspondent, filesystem), peer)) => {
            let name = format!("{} at {address}", peer.incarnation.member);
            let peer = Counterpart { name, filesystem };
            site.examine(Other::Peer(correspondent), Some(peer), progress).await
        }
        failed => {
            site.here.finish().await;
            let peer = address.to_string();
            Err(match failed {
                Ok((Welcome::Absent, _)) => ProbeError::Absent(peer),
                Ok((Welcome::Busy | Welcome::Ready(..), _)) => ProbeError::Busy(peer),
                Err(source) => ProbeError::Peer { peer, source },
            })
        }
    }
}

/// This side of a probe.
struct Site {
    storage: PathBuf,
    number: u128,
    here: Hands,
    filesystem: Filesystem,
}

/// The other side's hands.
enum Other {
    Mount(Hands),
    Peer(Box<Correspondent>),
}

impl Site {
    async fn begin(storage: &Path) -> Result<Self, ProbeError> {
        let failed = |source| ProbeError::Storage { path: storage.to_owned(), source };
        let number: u128 = rand::random();
        let (made, workplace) = tokio::sync::oneshot::channel();
        let root = storage.to_owned();
        let making = move || {
            let _ = made.send(Workplace::make(&root, number));
        };
        std::thread::Builder::new().name("probe".into()).spawn(making).map_err(failed)?;
        let workplace = match tokio::time::timeout(STALL, workplace).await {
            Ok(Ok(made)) => made.map_err(failed)?,
            Ok(Err(_)) | Err(_) => return Err(ProbeError::Stalled),
        };
        let starting = Hands::start(workplace.path(), move || workplace.remove());
        let started = tokio::time::timeout(STALL, starting).await.map_err(|_| ProbeError::Stalled)?;
        let (here, filesystem) = started.map_err(failed)?;
        Ok(Self { storage: storage.to_owned(), number, here, filesystem })
    }

    async fn examine(
        self,
        mut other: Other,
        peer: Option<Counterpart>,
        progress: Progress<'_>,
    ) -> Result<Report, ProbeError> {
        let begun = Instant::now();
        let extent = match peer {
            None => Extent::ALONE,
            Some(_) if self.filesystem.is_local() => Extent::LOCAL,
            Some(_) => Extent::SHARED,
        };
        let examined = examine(&self.here, &mut other, extent, peer.as_ref(), progress).await;
        let elapsed = begun.elapsed();
        // First the other side's hands: what they still do would be in the way of the clearing.
        if let Other::Mount(hands) = other {
            let _ = tokio::time::timeout(STALL, hands.finish()).await;
        }
        let _ = tokio::time::timeout(STALL, self.here.finish()).await;
        Ok(Report { storage: self.storage, filesystem: self.filesystem, peer, findings: examined?, elapsed })
    }
}

async fn examine(
    here: &Hands,
    other: &mut Other,
    extent: Extent,
    peer: Option<&Counterpart>,
    progress: Progress<'_>,
) -> Result<Findings, ProbeError> {
    let mut examination = Examination::new(extent, rand::random());
    let begun = Instant::now();
    loop {
        let (played, all) = examination.progress();
        progress(played, all);
        let Step::Ask { here: ours, there: theirs } = examination.next(begun.elapsed()) else {
            return Ok(examination.into_findings());
        };
        let both = async { tokio::join!(here.perform(ours), other.perform(theirs)) };
        match tokio::time::timeout(STALL, both).await {
            Ok((Some(ours), Ok(theirs))) => examination.answer(ours, theirs),
            Ok((_, Err(source))) => {
                let peer = peer.map_or_else(String::new, |peer| peer.name.clone());
                return Err(ProbeError::Peer { peer, source });
            }
            Ok((None, Ok(_))) | Err(_) => return Err(ProbeError::Stalled),
        }
    }
}

impl Other {
    async fn perform(&mut self, operations: Vec<Operation>) -> io::Result<Vec<Answer>> {
        match (self, operations.is_empty()) {
            (_, true) => Ok(Vec::new()),
            (Self::Mount(hands), false) => {
                hands.perform(operations).await.ok_or_else(|| io::Error::other("its thread has ended"))
            }
            (Self::Peer(correspondent), false) => correspondent.perform(operations).await,
        }
    }
}

#[cfg(test)]
mod tests;
