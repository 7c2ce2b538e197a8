//! One logged-in client, from the hand-over of its connection to its end.
//!
//! Carries out what a session decides: writes, asks the account's worker, reads bodies. Nothing that was read from the
//! account leaves before a read permit was seen (read rule). One `select!` over a closed set: bytes, a newer state, the
//! deadline, the account being given back, shutdown.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use laniakea_router::drive::Stream;
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    drive::{clock, control::ClusterHandle, owned::Pass},
    mailbox::{Account, Request},
    session::{BodyFault, Fault, Input, Output, Session},
    worker::CommitError,
};

/// Output held back before it is written.
const FLUSH_BYTES: usize = 64 << 10;
/// A client that takes nothing for this long is gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);
/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The session closed it.
    Closed,
    /// The client went away.
    ClientGone,
    /// This member was fenced: nothing more may be said.
    Fenced,
}

/// What a conversation needs besides the session itself.
pub struct Conversation<'a> {
    /// Keeps the account here.
    pub pass: &'a Pass<Account>,
    /// For ticks and read permits.
    pub cluster: &'a ClusterHandle,
    /// The process is stopping.
    pub stop: &'a CancellationToken,
}

/// Runs a session until it closes, its client leaves, or the account has to go elsewhere.
pub async fn converse<M: Session>(stream: Stream, machine: M, conversation: Conversation<'_>) -> Ended {
    let states = conversation.pass.watch();
    let mut talk = Talk { stream, machine, out: BytesMut::new(), states, conversation };
    let ended = talk.run().await;
    let _ = timeout(Duration::from_secs(1), talk.stream.shutdown()).await;
    ended
}

struct Talk<'a, M> {
    stream: Stream,
    machine: M,
    out: BytesMut,
    states: watch::Receiver<Arc<Account>>,
    conversation: Conversation<'a>,
}

/// Leaves the conversation.
struct Leave(Ended);

impl From<io::Error> for Leave {
    fn from(_: io::Error) -> Self {
        Self(Ended::ClientGone)
    }
}

impl<M: Session> Talk<'_, M> {
    async fn run(&mut self) -> Ended {
        let mut asked_to_leave = false;
        let fenced = self.conversation.cluster.fenced();
        loop {
            if let Err(Leave(ended)) = self.carry_out().await {
                return ended;
            }
            let deadline =
                self.machine.deadline().map_or_else(|| Instant::now() + Duration::from_secs(3600), Instant::from_std);
            tokio::select! {
                biased;
                () = fenced.cancelled() => return Ended::Fenced,
                () = self.conversation.pass.closed().cancelled() => return Ended::Closed,
                () = self.conversation.stop.cancelled(), if !asked_to_leave => {
                    asked_to_leave = true;
                    self.machine.handle(clock::now(), Input::Failed(Fault::ShuttingDown));
                }
                () = self.conversation.pass.leaving().cancelled(), if !asked_to_leave => {
                    asked_to_leave = true;
                    self.machine.handle(clock::now(), Input::Failed(Fault::Departed));
                }
                changed = self.states.changed() => {
                    if changed.is_err() { return Ended::Closed; }
                    self.show_state();
                }
                read = read_some(&mut self.stream), if self.machine.wants_bytes() => match read {
                    Ok(bytes) if bytes.is_empty() => return self.on_eof().await,
                    Ok(bytes) => self.machine.handle(clock::now(), Input::Bytes(&bytes)),
                    Err(_) => return Ended::ClientGone,
                },
                () = tokio::time::sleep_until(deadline) => self.machine.handle(clock::now(), Input::Deadline),
            }
        }
    }

    /// The client says no more: what it asked for is still answered.
    async fn on_eof(&mut self) -> Ended {
        self.machine.handle(clock::now(), Input::Eof);
        match self.carry_out().await {
            Ok(()) => Ended::ClientGone,
            Err(Leave(ended)) => ended,
        }
    }

    fn show_state(&mut self) {
        let state = self.states.borrow_and_update().clone();
        self.machine.handle(clock::now(), Input::State(state));
    }

    /// Does what the session decided, until it has nothing more to say.
    async fn carry_out(&mut self) -> Result<(), Leave> {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Write(bytes) => self.write(bytes).await?,
                Output::Ask(request) => self.ask(request).await,
                Output::Read { body, range } => {
                    let result = match self.conversation.pass.read(body, range).await {
                        Ok(bytes) => Ok(Bytes::from(bytes)),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BodyFault::Gone),
                        Err(error) => {
                            tracing::error!(ownable = %self.conversation.pass.id(), %error, "a body could not be read");
                            Err(BodyFault::Unavailable)
                        }
                    };
                    self.machine.handle(clock::now(), Input::Body(result));
                }
                Output::Permit => match self.conversation.cluster.validate().await {
                    Ok(()) => self.machine.handle(clock::now(), Input::Permitted),
                    Err(_) => return Err(Leave(Ended::Fenced)),
                },
                Output::Close => {
                    self.flush().await?;
                    return Err(Leave(Ended::Closed));
                }
            }
        }
        self.flush().await
    }

    async fn ask(&mut self, request: Request) {
        let result = self.conversation.pass.perform(request).await;
        // The state that holds the change comes before the answer to it.
        self.show_state();
        let input = match result {
            Ok(reply) => Input::Reply(reply),
            Err(error) => Input::Failed(fault_of(error)),
        };
        self.machine.handle(clock::now(), input);
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Leave> {
        self.out.extend_from_slice(&bytes);
        if self.out.len() >= FLUSH_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Leave> {
        if self.out.is_empty() {
            return Ok(());
        }
        if self.conversation.cluster.read_permit().await.is_err() {
            return Err(Leave(Ended::Fenced));
        }
        // The permit speaks for the member; whether it still owns this account, its worker knows.
        if self.conversation.pass.closed().is_cancelled() {
            return Err(Leave(Ended::Closed));
        }
        let written = timeout(WRITE_DEADLINE, async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        });
        match written.await {
            Ok(result) => result?,
            Err(_) => return Err(Leave(Ended::ClientGone)),
        }
        self.out.clear();
        if self.out.capacity() > 2 * FLUSH_BYTES {
            self.out = BytesMut::new();
        }
        Ok(())
    }
}

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Waits for bytes, holding no buffer meanwhile: an idle session costs none. Empty at the end of the stream. May be
/// dropped at any time without losing a byte.
fn read_some(stream: &mut Stream) -> impl Future<Output = io::Result<Bytes>> + '_ {
    poll_fn(move |cx| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
            Poll::Ready(Ok(Bytes::copy_from_slice(read.filled())))
        })
    })
}

/// What a session hears of a commit that failed.
#[must_use]
pub fn fault_of(error: CommitError) -> Fault {
    match error {
        CommitError::Fenced | CommitError::Closed => Fault::Departed,
        CommitError::Full | CommitError::Storage | CommitError::Busy => Fault::Unavailable,
    }
}
