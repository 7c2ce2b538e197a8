//! Links: TCP connections between members, as streams of sealed messages.
//!
//! Each link has a reader and a writer task; both tell the desk and decide nothing. What is received is stamped here, so
//! that a desk with much to do does not take its own slowness for a fellow's silence.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

use laniakea_router::drive::Dialler;

use super::auth::{Credentials, Proven, Purpose, Sealer, TAG};
use crate::{
    cluster::{Incarnation, LinkId, Message, Moment, Peer, Side},
    drive::{control::clock, probe::Examiner},
};

/// Longest payload of a frame.
pub(super) const FRAME_BYTES_MAX: usize = 1 << 20;

/// Messages a link may hold that the peer has not taken: beyond that it is ended.
const QUEUE_MAX: usize = 16 * 1024;

/// Bytes gathered into one write.
const WRITE_BYTES: usize = 256 * 1024;

/// What links tell the desk.
#[derive(Debug)]
pub(super) enum Inbound {
    /// A link is up.
    Up {
        link: LinkId,
        side: Side,
        peer: Peer,
        /// Takes what is to be sent; dropping it ends the link once all is sent.
        outbox: Outbox,
    },
    /// A link has ended.
    Down(LinkId),
    /// A message came in.
    Received { link: LinkId, at: Moment, message: Message },
    /// A fellow could not be reached.
    DialFailed { incarnation: Incarnation, refused: bool },
}

/// The sending end of a link.
pub(super) type Outbox = mpsc::Sender<Message>;

/// What every link needs.
#[derive(Debug, Clone)]
pub(super) struct LinkMaker {
    pub(super) credentials: Credentials,
    pub(super) me: Peer,
    pub(super) dialler: Dialler,
    /// Helps fellows that probe the storage.
    pub(super) examiner: Examiner,
    pub(super) inbox: mpsc::Sender<Inbound>,
    /// How long connecting and proving may take.
    pub(super) patience: Duration,
}

impl LinkMaker {
    /// Reaches for a fellow, and serves the link until it ends.
    pub(super) async fn dial(self, link: LinkId, peer: Peer) {
        let dialled = tokio::time::timeout(self.patience, self.connect(peer.control)).await;
        let (stream, proven) = match dialled {
            Ok(Ok(reached)) => reached,
            failed => {
                // Only a refusal says that nobody is there; anything else may be a fellow too busy to answer.
                let refused = matches!(&failed, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused);
                tracing::debug!(peer = %peer.incarnation, refused, "a fellow could not be reached");
                let incarnation = peer.incarnation;
                let _ = self.inbox.send(Inbound::DialFailed { incarnation, refused }).await;
                return;
            }
        };
        // Another incarnation may have answered; whoever we looked for is then not there.
        if proven.peer.incarnation != peer.incarnation {
            let failed = Inbound::DialFailed { incarnation: peer.incarnation, refused: false };
            let _ = self.inbox.send(failed).await;
        }
        self.serve(link, Side::Dialled, stream, proven).await;
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<(TcpStream, Proven)> {
        let mut stream = self.dialler.dial(address, self.patience).await?;
        let proven = self.credentials.dial(&mut stream, &self.me, Purpose::Link).await?;
        Ok((stream, proven))
    }

    /// Lets a fellow prove itself, and serves the link until it ends.
    pub(super) async fn accept(self, link: LinkId, mut stream: TcpStream) {
        let proving = async {
            stream.set_nodelay(true)?;
            self.credentials.accept(&mut stream, &self.me).await
        };
        match tokio::time::timeout(self.patience, proving).await {
            Ok(Ok(proven)) if proven.purpose == Purpose::Probe => self.examiner.serve(stream, proven).await,
            Ok(Ok(proven)) => self.serve(link, Side::Accepted, stream, proven).await,
            Ok(Err(error)) => tracing::warn!(%error, "a connection to the control address was refused"),
            Err(_) => tracing::debug!("a connection to the control address proved nothing in time"),
        }
    }

    async fn serve(self, link: LinkId, side: Side, stream: TcpStream, proven: Proven) {
        let (reader, writer) = stream.into_split();
        let (outbox, queue) = mpsc::channel(QUEUE_MAX);
        let up = Inbound::Up { link, side, peer: proven.peer, outbox };
        if self.inbox.send(up).await.is_err() {
            return;
        }
        let ended = tokio::select! {
            ended = read(reader, proven.opener, link, &self.inbox) => ended,
            ended = write(writer, proven.sealer, queue) => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(link = link.0, %error, "a link between members has ended");
        }
        let _ = self.inbox.send(Inbound::Down(link)).await;
    }
}

async fn read(
    stream: OwnedReadHalf,
    mut opener: Sealer,
    link: LinkId,
    inbox: &mpsc::Sender<Inbound>,
) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let mut frame = Vec::new();
    loop {
        let length = stream.read_u32().await? as usize;
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
        }
        frame.resize(length + TAG, 0);
        stream.read_exact(&mut frame).await?;
        let at = clock::now();
        let (payload, tag) = frame.split_at(length);
        opener.open(payload, tag)?;
        let message = Message::decode(payload).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if inbox.send(Inbound::Received { link, at, message }).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(mut stream: OwnedWriteHalf, mut sealer: Sealer, mut queue: mpsc::Receiver<Message>) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut bytes = Vec::new();
    while queue.recv_many(&mut batch, 64).await > 0 {
        for message in batch.drain(..) {
            append_frame(&mut bytes, &mut sealer, &message)?;
            if bytes.len() >= WRITE_BYTES {
                stream.write_all(&bytes).await?;
                bytes.clear();
            }
        }
        stream.write_all(&bytes).await?;
        bytes.clear();
    }
    stream.shutdown().await
}

fn append_frame(bytes: &mut Vec<u8>, sealer: &mut Sealer, message: &Message) -> io::Result<()> {
    let start = bytes.len();
    bytes.extend([0; 4]);
    message.encode(bytes);
    let length = bytes.len() - start - 4;
    assert!(length <= FRAME_BYTES_MAX, "a message outgrew its frame: batches are bounded");
    let (head, payload) = bytes.split_at_mut(start + 4);
    if let (Some(head), Ok(length)) = (head.get_mut(start..), u32::try_from(length)) {
        head.copy_from_slice(&length.to_be_bytes());
    }
    let tag = sealer.seal(payload);
    bytes.extend(tag);
    Ok(())
}
