//! One SMTP or LMTP connection from its first byte to its last: carries out what the session decides.

use std::{future::Future, io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    drive::{ServerTls, Stream},
    handoff::TlsFacts,
    session::smtp::{Envelope, Input, Output, Recipient, Settings, SmtpSession},
    wire::smtp::{Mailbox, Reply},
};

/// How much is read at once; also how much content is under way.
const READ_BYTES: usize = 64 << 10;
/// How long a client may take to accept our replies.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);
/// How long a TLS handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(30);

/// What stands behind a session: who the recipients are, and what becomes of messages.
pub trait Exchange: Send {
    /// Whether a recipient is accepted, and under which address.
    fn resolve(&mut self, recipient: Recipient) -> impl Future<Output = Result<Mailbox, Reply>> + Send;

    /// Prepares for content.
    fn begin(&mut self, envelope: Envelope, tls: Option<TlsFacts>) -> impl Future<Output = Result<(), Reply>> + Send;

    /// Takes some content; what goes wrong here is told by [`Exchange::end`].
    fn content(&mut self, bytes: Vec<u8>) -> impl Future<Output = ()> + Send;

    /// Takes responsibility for the message, and answers: once, or in LMTP once for each recipient.
    fn end(&mut self) -> impl Future<Output = Vec<Reply>> + Send;

    /// Forgets the message that was begun.
    fn abort(&mut self) -> impl Future<Output = ()> + Send;
}

/// A connection before its first byte.
pub struct Connection {
    /// The client.
    pub stream: Stream,
    /// For STARTTLS; `None` where it is not offered.
    pub tls: Option<ServerTls>,
    /// What was read already: bytes behind a preamble.
    pub unread: Vec<u8>,
    /// Ends the connection between two transactions.
    pub shutdown: CancellationToken,
}

/// How a connection ended.
#[derive(Debug)]
pub enum Farewell {
    /// The session closed it.
    Closed,
    /// The client went, or did not read.
    Broken(io::Error),
}

/// Runs a session until its connection ends.
pub async fn converse(
    connection: Connection,
    settings: Settings,
    tls_facts: Option<TlsFacts>,
    exchange: impl Exchange,
) -> Farewell {
    let session = SmtpSession::new(std::time::Instant::now(), settings);
    let Connection { stream, tls, unread, shutdown } = connection;
    let mut conversation = Conversation { stream: Some(stream), tls, tls_facts, session, exchange };
    match conversation.run(unread, shutdown).await {
        Ok(()) => Farewell::Closed,
        Err(error) => {
            conversation.exchange.abort().await;
            Farewell::Broken(error)
        }
    }
}

struct Conversation<E> {
    /// `None` only during a handshake.
    stream: Option<Stream>,
    tls: Option<ServerTls>,
    tls_facts: Option<TlsFacts>,
    session: SmtpSession,
    exchange: E,
}

/// What the driver waited for.
enum Event {
    Bytes(usize),
    Deadline,
    Shutdown,
}

impl<E: Exchange> Conversation<E> {
    async fn run(&mut self, unread: Vec<u8>, shutdown: CancellationToken) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        if unread.is_empty() {
            let early = self.talks_first(&mut buffer);
            if early > 0 {
                self.session.handle(now(), Input::Bytes(buffer.get(..early).unwrap_or_default()));
            }
        } else {
            self.session.handle(now(), Input::Bytes(&unread));
        }
        let mut stopping = false;
        loop {
            if self.carry_out().await? {
                return Ok(());
            }
            self.session.caught_up(now());
            match self.wait(&mut buffer, &shutdown, stopping).await? {
                Event::Bytes(0) => self.session.handle(now(), Input::Eof),
                Event::Bytes(len) => {
                    self.session.handle(now(), Input::Bytes(buffer.get(..len).unwrap_or_default()));
                }
                Event::Deadline => self.session.handle(now(), Input::Tick),
                Event::Shutdown => {
                    stopping = true;
                    self.session.handle(now(), Input::Shutdown);
                }
            }
        }
    }

    /// What a client sent before it could have read the greeting.
    fn talks_first(&mut self, buffer: &mut [u8]) -> usize {
        match &mut self.stream {
            Some(Stream::Plain(tcp)) => tcp.try_read(buffer).unwrap_or(0),
            Some(Stream::Tls(_) | Stream::Handoff(_)) | None => 0,
        }
    }

    async fn wait(&mut self, buffer: &mut [u8], shutdown: &CancellationToken, stopping: bool) -> io::Result<Event> {
        let deadline = self.session.deadline().map_or_else(far_future, Instant::from_std);
        let wants_bytes = self.session.wants_bytes();
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        tokio::select! {
            biased;
            read = stream.read(buffer), if wants_bytes => Ok(Event::Bytes(read?)),
            () = shutdown.cancelled(), if !stopping => Ok(Event::Shutdown),
            () = sleep_until(deadline) => Ok(Event::Deadline),
        }
    }

    /// Does all the session asks for; `true` once it asks to close.
    async fn carry_out(&mut self) -> io::Result<bool> {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Write(bytes) => self.write(&bytes).await?,
                Output::Resolve(recipient) => {
                    let verdict = self.exchange.resolve(recipient).await;
                    self.session.handle(now(), Input::Resolved(verdict));
                }
                Output::Begin(envelope) => {
                    let ready = self.exchange.begin(*envelope, self.tls_facts.clone()).await;
                    self.session.handle(now(), Input::Ready(ready));
                }
                Output::Content(bytes) => self.exchange.content(bytes).await,
                Output::End => {
                    let replies = self.exchange.end().await;
                    self.session.handle(now(), Input::Done(replies));
                }
                Output::Abort => self.exchange.abort().await,
                Output::StartTls(_drained) => self.start_tls().await?,
                Output::Close => {
                    self.shut_down().await;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        let (Some(tls), Some(stream)) = (&self.tls, self.stream.take()) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let stream = timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await??;
        let facts = stream.tls_facts().unwrap_or_default();
        self.stream = Some(stream);
        self.tls_facts = Some(facts.clone());
        self.session.handle(now(), Input::TlsDone(facts));
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let written = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        timeout(WRITE_DEADLINE, written).await?
    }

    async fn shut_down(&mut self) {
        if let Some(stream) = &mut self.stream {
            let _ = timeout(WRITE_DEADLINE, stream.shutdown()).await;
        }
    }
}

fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(24 * 3600)
}
