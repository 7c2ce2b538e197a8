//! What two members say to one another while they examine their filesystem, over a connection of its own kind to the control
//! address.
//!
//! ```text
//! prober → peer     Open number                 the probe's folder is cluster/probe/<number>/
//! peer   → prober   Ready filesystem | Busy | Absent
//! prober → peer     Perform operations          again and again; closing the connection ends it
//! peer   → prober   Performed answers
//! ```
//!
//! Frames are sealed like those of a link. The peer takes one probe at a time, on a thread of its own, so that whatever its
//! filesystem does, the member goes on.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::hands::{Hands, folder};
use crate::{
    drive::control::auth::{Proven, Sealer, TAG},
    probe::{Answer, BATCH_MAX, Filesystem, Operation},
};

/// Longest frame: a filesystem with all its options.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Requests of one probe: a hundred rounds need 700.
const REQUESTS_MAX: usize = 1000;

/// How long a prober may be silent, and how long a whole probe may take.
const SILENCE: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Open { number: u128 },
    Perform(Vec<Operation>),
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Ready(Filesystem),
    Busy,
    Absent,
    Performed(Vec<Answer>),
}

/// What a peer says to the wish to probe with it.
#[derive(Debug)]
pub(super) enum Welcome {
    Ready(Box<Correspondent>, Filesystem),
    Busy,
    Absent,
}

/// The peer's hands, as the prober has them.
#[derive(Debug)]
pub(super) struct Correspondent {
    channel: Channel,
}

impl Correspondent {
    /// Asks the peer at the other end to help with the probe called `number`.
    pub(super) async fn open(stream: TcpStream, proven: Proven, number: u128) -> io::Result<Welcome> {
        let mut channel = Channel::new(stream, proven);
        channel.send(&Request::Open { number }).await?;
        match channel.receive().await? {
            Reply::Ready(filesystem) => Ok(Welcome::Ready(Box::new(Self { channel }), filesystem)),
            Reply::Busy => Ok(Welcome::Busy),
            Reply::Absent => Ok(Welcome::Absent),
            Reply::Performed(_) => Err(invalid("the peer answers what was not asked")),
        }
    }

    /// Has the peer carry out one request, in order.
    pub(super) async fn perform(&mut self, operations: Vec<Operation>) -> io::Result<Vec<Answer>> {
        self.channel.send(&Request::Perform(operations)).await?;
        match self.channel.receive().await? {
            Reply::Performed(answers) if answers.len() <= BATCH_MAX => Ok(answers),
            Reply::Performed(_) | Reply::Ready(_) | Reply::Busy | Reply::Absent => {
                Err(invalid("the peer answers what was not asked"))
            }
        }
    }
}

/// The peer's side: helps one prober at a time.
#[derive(Debug, Clone)]
pub struct Examiner {
    storage: PathBuf,
    place: Arc<Semaphore>,
}

impl Examiner {
    /// Helps with probes of `storage`.
    #[must_use]
    pub fn new(storage: PathBuf) -> Self {
        Self { storage, place: Arc::new(Semaphore::new(1)) }
    }

    /// Takes the one place for a probe of one's own, unless somebody has it.
    pub(in crate::drive) fn occupy(&self) -> Option<OwnedSemaphorePermit> {
        self.place.clone().try_acquire_owned().ok()
    }

    /// Serves one prober until it ends.
    pub(in crate::drive) async fn serve(&self, stream: TcpStream, proven: Proven) {
        let peer = proven.peer.incarnation.member.clone();
        match tokio::time::timeout(PATIENCE, self.help(Channel::new(stream, proven))).await {
            Ok(Ok(requests)) => tracing::info!(member = %peer, requests, "helped to probe the filesystem"),
            Ok(Err(error)) => tracing::info!(member = %peer, %error, "a probe of the filesystem ended early"),
            Err(_) => tracing::warn!(member = %peer, "a probe of the filesystem took too long and was ended"),
        }
    }

    async fn help(&self, mut channel: Channel) -> io::Result<usize> {
        let Request::Open { number } = channel.hear().await? else {
            return Err(invalid("the prober begins in the middle"));
        };
        let Some(permit) = self.occupy() else {
            channel.send(&Reply::Busy).await?;
            return Ok(0);
        };
        // A thread that the filesystem keeps, keeps the place as well: there is never more than one.
        let started = Hands::start(folder(&self.storage, number), move || drop(permit)).await;
        let (hands, filesystem) = match started {
            Ok(started) => started,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                channel.send(&Reply::Absent).await?;
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        channel.send(&Reply::Ready(filesystem)).await?;
        for served in 0..REQUESTS_MAX {
            let operations = match channel.hear().await {
                Ok(Request::Perform(operations)) => operations,
                Ok(Request::Open { .. }) => return Err(invalid("the prober begins again")),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(served),
                Err(error) => return Err(error),
            };
            let answers = hands.perform(operations).await.ok_or_else(|| invalid("the prober asks too much"))?;
            channel.send(&Reply::Performed(answers)).await?;
        }
        Err(invalid("the prober asks too often"))
    }
}

/// One connection, with its seals.
#[derive(Debug)]
struct Channel {
    stream: TcpStream,
    sealer: Sealer,
    opener: Sealer,
}

impl Channel {
    fn new(stream: TcpStream, proven: Proven) -> Self {
        Self { stream, sealer: proven.sealer, opener: proven.opener }
    }

    async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let payload = postcard::to_stdvec(message).map_err(io::Error::other)?;
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend(&payload);
        frame.extend(self.sealer.seal(&payload));
        self.stream.write_all(&frame).await
    }

    async fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let length = self.stream.read_u32().await? as usize;
        if length > FRAME_BYTES_MAX {
            return Err(invalid("a frame is too long"));
        }
        let mut frame = vec![0; length + TAG];
        self.stream.read_exact(&mut frame).await?;
        let (payload, tag) = frame.split_at(length);
        self.opener.open(payload, tag)?;
        postcard::from_bytes(payload).map_err(|_| invalid("a frame says nothing that is known"))
    }

    /// Receives from somebody who may have gone silent.
    async fn hear<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        tokio::time::timeout(SILENCE, self.receive()).await?
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
