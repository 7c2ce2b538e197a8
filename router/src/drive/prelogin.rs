//! Runs a session before login over a connection: for routers and members alike.
//!
//! ```text
//! let mut prelogin = PreLogin::new(stream, ImapLogin::new(now, settings), Some(tls));
//! loop {
//!     match prelogin.run().await {
//!         Event::Login(waiting, request) => prelogin = waiting.answer(outcome_of(request).await),
//!         Event::LoggedIn(stream, forward) => return Some((stream, forward)),
//!         Event::Over => return None,
//!     }
//! }
//! ```

use std::{
    io,
    time::{Duration, Instant},
};

use laniakea_directory::Secret;
use tokio::{
    io::AsyncWriteExt,
    time::{timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{ServerTls, Stream};
use crate::{
    handoff::TlsFacts,
    session::{Forward, Input, LoginOutcome, LoginRequest, Output, Session},
};

/// How long a client may take to accept a reply.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client has to read our last words.
const LINGER: Duration = Duration::from_secs(2);
/// How much of what a client still sends is thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 2 << 20;

/// Whoever can be asked for the next message of a login.
pub trait Prover: Send {
    /// Passes a challenge on and returns the answer; `None` if there will be none.
    fn ask(&mut self, challenge: &[u8]) -> impl Future<Output = Option<Secret>> + Send;
}

/// Nobody is there to be asked.
#[derive(Debug)]
pub struct Mute;

impl Prover for Mute {
    async fn ask(&mut self, _challenge: &[u8]) -> Option<Secret> {
        None
    }
}

/// A connection whose account is not known yet.
pub struct PreLogin<S> {
    stream: Stream,
    session: S,
    /// Whether the session has nothing more to say.
    is_over: bool,
    /// For STARTTLS; `None` where it is not on offer.
    tls: Option<ServerTls>,
    /// Cancelled when the process stops; `None` once the session knows.
    stop: Option<CancellationToken>,
}

/// What a connection came to.
pub enum Event<S> {
    /// The client wants to log in: try it and call [`PreLogin::answer`].
    Login(PreLogin<S>, LoginRequest),
    /// A login was accepted and the client told so.
    LoggedIn(Stream, Forward),
    /// The connection is over.
    Over,
}

impl<S: Session> PreLogin<S> {
    /// Begins; the greeting is sent by [`Self::run`].
    #[must_use]
    pub fn new(stream: Stream, session: S, tls: Option<ServerTls>) -> Self {
        Self { stream, session, is_over: false, tls, stop: None }
    }

    /// Ends the session, between two logins and with a word, when the process stops.
    #[must_use]
    pub fn until(mut self, stop: CancellationToken) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Returns how the client's side is encrypted, if we did it.
    #[must_use]
    pub fn tls_facts(&self) -> Option<TlsFacts> {
        self.stream.tls_facts()
    }

    /// Tells the session what became of the login; then [`Self::run`] goes on.
    #[must_use]
    pub fn answer(mut self, outcome: LoginOutcome) -> Self {
        self.session.handle(Instant::now(), Input::Login(outcome));
        self
    }

    /// Runs until something comes of the connection.
    pub async fn run(mut self) -> Event<S> {
        loop {
            if self.is_over {
                close(self.stream).await;
                return Event::Over;
            }
            while let Some(output) = self.session.poll() {
                match output {
                    // Answers belong to `ask`.
                    Output::Answer(_) | Output::Abandon => {}
                    Output::Write(bytes) => {
                        if write(&mut self.stream, &bytes).await.is_err() {
                            return Event::Over;
                        }
                    }
                    Output::StartTls(_proof) => match self.start_tls().await {
                        Some(encrypted) => self = encrypted,
                        None => return Event::Over,
                    },
                    Output::Login(request) => return Event::Login(self, request),
                    Output::Close => {
                        close(self.stream).await;
                        return Event::Over;
                    }
                }
            }
            if self.session.is_logged_in() {
                let Self { stream, session, .. } = self;
                return session.into_forward().map_or(Event::Over, |forward| Event::LoggedIn(stream, forward));
            }
            self.read().await;
        }
    }

    /// Waits for bytes, for the session's deadline, or for the end of the process.
    async fn read(&mut self) {
        let Self { stream, session, stop, .. } = self;
        let deadline = session.deadline();
        let reading = stream.read_with(|bytes| {
            session.handle(Instant::now(), if bytes.is_empty() { Input::Eof } else { Input::Bytes(bytes) });
        });
        let reading = async {
            match deadline {
                Some(deadline) => timeout_at(deadline.into(), reading).await,
                None => Ok(reading.await),
            }
        };
        let result = match stop {
            Some(stop) => stop.run_until_cancelled(reading).await,
            None => Some(reading.await),
        };
        let input = match result {
            Some(Ok(Ok(()))) => return,
            Some(Ok(Err(_))) => Input::Eof,
            Some(Err(_elapsed)) => Input::Tick,
            None => {
                self.stop = None;
                Input::Stop
            }
        };
        self.session.handle(Instant::now(), input);
    }

    async fn start_tls(self) -> Option<Self> {
        let Self { stream, mut session, is_over, tls, stop } = self;
        let stream = accept_tls(tls.as_ref()?, stream).await?;
        session.handle(Instant::now(), Input::TlsDone(stream.tls_facts()?));
        Some(Self { stream, session, is_over, tls, stop })
    }
}

impl<S: Session + Send> Prover for PreLogin<S> {
    async fn ask(&mut self, challenge: &[u8]) -> Option<Secret> {
        self.session.handle(Instant::now(), Input::Login(LoginOutcome::Challenge(challenge.to_vec())));
        loop {
            while let Some(output) = self.session.poll() {
                match output {
                    Output::Write(bytes) => {
                        if write(&mut self.stream, &bytes).await.is_err() {
                            self.is_over = true;
                            return None;
                        }
                    }
                    Output::Answer(answer) => return Some(answer),
                    Output::Close => {
                        self.is_over = true;
                        return None;
                    }
                    Output::Abandon | Output::Login(_) | Output::StartTls(_) => return None,
                }
            }
            self.read().await;
        }
    }
}

/// Does a TLS handshake within its deadline.
pub async fn accept_tls(tls: &ServerTls, stream: Stream) -> Option<Stream> {
    match timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            None
        }
        Err(_elapsed) => None,
    }
}

/// Closes a connection so that the client gets to read our last words.
///
/// A socket closed while unread bytes wait in it resets the connection, and the client may lose what we said.
pub async fn close(mut stream: Stream) {
    let lingering = async {
        stream.shutdown().await?;
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match stream.read_with(<[u8]>::len).await? {
                0 => break,
                length => left = left.saturating_sub(length),
            }
        }
        Ok::<_, io::Error>(())
    };
    let _ = timeout(LINGER, lingering).await;
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    let writing = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    timeout(WRITE_DEADLINE, writing).await?
}

#[cfg(test)]
#[path = "prelogin_test.rs"]
mod tests;
