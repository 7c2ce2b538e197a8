//! Bodies on their way through: never stored, only as fast as the slower side, within limits.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::{Buf, Bytes};
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep_until};

use super::{
    pulse::UnderWay,
    upstream::{Kept, Upstream},
};
use crate::session::smtp::pace::Pace;

/// What goes wrong with a body.
pub type BodyError = Box<dyn Error + Send + Sync>;

/// Why a client's body is not read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// There is too much of it.
    #[error("the body is too large")]
    TooLarge,
    /// It comes too slowly.
    #[error("the body is too slow")]
    TooSlow,
    /// Its end cannot be found, or the client is gone.
    #[error("the body is broken")]
    Broken,
}

/// The body of a client's request: none, or what it sends within limits.
pub enum Upload {
    /// Nothing.
    Empty,
    /// What comes.
    Streaming(Box<Guarded>),
}

/// A body that must come at some pace and end somewhere.
pub struct Guarded {
    body: Incoming,
    left: u64,
    pace: Pace,
    /// Armed while the client is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    /// Takes at most `bytes_max` of a body.
    #[must_use]
    pub fn new(body: Incoming, bytes_max: u64) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        Self::Streaming(Box::new(Guarded { body, left: bytes_max, pace: Pace::new(Instant::now()), timer: None }))
    }

    /// Whether there is nothing that could be lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streaming(guarded) => guarded.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(guarded) => guarded.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(guarded) => guarded.body.size_hint(),
        }
    }
}

impl Guarded {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            if self.timer.is_none() {
                self.pace.wait_from(Instant::now());
                self.timer = Some(Box::pin(sleep_until(self.pace.deadline().into())));
            }
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(cx));
            }
            return Poll::Ready(Some(Err(UploadError::TooSlow.into())));
        };
        let was_waited_for = self.timer.take().is_some();
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Buf::remaining);
                if !was_waited_for {
                    self.pace.wait_from(Instant::now());
                }
                self.pace.on_bytes(Instant::now(), length);
                match self.left.checked_sub(length as u64) {
                    Some(left) => {
                        self.left = left;
                        Some(Ok(frame))
                    }
                    None => Some(Err(UploadError::TooLarge.into())),
                }
            }
            Some(Err(_)) => Some(Err(UploadError::Broken.into())),
            None => None,
        })
    }
}

/// The body of an answer: a server's, or our own words.
pub struct AnswerBody {
    source: Source,
    /// As long as this lives, the connection is not idle.
    _under_way: Option<UnderWay>,
}

enum Source {
    Ours(BoxBody<Bytes, BodyError>),
    Theirs {
        body: Incoming,
        /// Where the connection goes once the body is complete.
        upstream: Option<(Upstream, Kept)>,
    },
}

impl AnswerBody {
    /// Takes our own words.
    #[must_use]
    pub fn ours(body: BoxBody<Bytes, BodyError>) -> Self {
        Self { source: Source::Ours(body), _under_way: None }
    }

    /// Takes a server's body; when it is complete, its connection may carry another request.
    #[must_use]
    pub fn theirs(body: Incoming, upstream: Option<(Upstream, Kept)>) -> Self {
        let mut source = Source::Theirs { body, upstream };
        source.settle();
        Self { source, _under_way: None }
    }

    /// Keeps a request under way until the body is gone.
    #[must_use]
    pub fn during(mut self, under_way: UnderWay) -> Self {
        self._under_way = Some(under_way);
        self
    }
}

impl Source {
    /// Gives the connection back as soon as nothing more is to come.
    fn settle(&mut self) {
        if let Self::Theirs { body, upstream } = self
            && body.is_end_stream()
            && let Some((upstream, kept)) = upstream.take()
        {
            kept.put(upstream);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let source = &mut self.get_mut().source;
        match source {
            Source::Ours(body) => Pin::new(body).poll_frame(cx),
            Source::Theirs { body, upstream } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                if frame.is_none()
                    && let Some((upstream, kept)) = upstream.take()
                {
                    kept.put(upstream);
                }
                source.settle();
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Ours(body) => body.is_end_stream(),
            Source::Theirs { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Ours(body) => body.size_hint(),
            Source::Theirs { body, .. } => body.size_hint(),
        }
    }
}
