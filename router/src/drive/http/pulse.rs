//! Whether a connection is alive, and when it has been idle, silent or stuck for too long.
//!
//! The machine below hyper: it sees bytes, and how many requests are under way. A client that takes long for the head of a
//! request, however it dribbles, is idle; one that does not take its answers is stuck.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use crate::drive::Stream;

/// How long a connection may be without a request; browsers come again soon or not at all.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// How long a client may take nothing of what it is sent.
const STUCK_MAX: Duration = Duration::from_secs(60);
/// Requests that a client may give up before they were answered: those of some pages that are left early.
const GIVEN_UP_MAX: usize = 200;
/// How long a connection that was asked to end may take.
const FAREWELL: Duration = Duration::from_secs(10);

/// What is to become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    GoOn,
    /// It is to take no more requests.
    Retire,
    /// It is to be cut.
    Cut,
}

/// The life of one connection.
#[derive(Debug)]
pub struct Pulse {
    state: Mutex<State>,
    /// Told when the client has given up too much.
    is_spent: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests whose answers are not complete.
    under_way: usize,
    /// Since when there is none.
    idle_since: Instant,
    /// When bytes moved last.
    moved: Instant,
    /// Since when the client takes nothing.
    stuck_since: Option<Instant>,
    /// Requests that the client gave up before they were answered (CVE-2023-44487).
    given_up: usize,
}

/// One request on its way, until the value is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<Pulse>);

/// One request without an answer; dropped like this, it was given up.
#[derive(Debug)]
pub struct Unanswered(Arc<Pulse>);

impl Pulse {
    /// Begins with no request.
    #[must_use]
    pub fn new(now: Instant) -> Arc<Self> {
        let state = State { under_way: 0, idle_since: now, moved: now, stuck_since: None, given_up: 0 };
        Arc::new(Self { state: Mutex::new(state), is_spent: Notify::new() })
    }

    /// A request has come.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.with(|state| state.under_way += 1);
        UnderWay(self.clone())
    }

    /// Begins to wait for the answer to a request.
    #[must_use]
    pub fn wait(self: &Arc<Self>) -> Unanswered {
        self.with(|state| state.given_up += 1);
        Unanswered(self.clone())
    }

    /// Waits until the client has given up more requests than anybody has reason to.
    pub async fn spent(&self) {
        self.is_spent.notified().await;
    }

    /// Judges; `silence` is how long nothing at all may move while answers are under way.
    #[must_use]
    pub fn verdict(&self, now: Instant, silence: Duration) -> Verdict {
        self.with(|state| {
            let since = |then: Instant| now.saturating_duration_since(then);
            let is_stuck = state.stuck_since.is_some_and(|then| since(then) > STUCK_MAX);
            if is_stuck || since(state.moved) > silence.max(IDLE_MAX + FAREWELL) {
                return Verdict::Cut;
            }
            match state.under_way {
                0 if since(state.idle_since) > IDLE_MAX + FAREWELL => Verdict::Cut,
                0 if since(state.idle_since) > IDLE_MAX => Verdict::Retire,
                _ => Verdict::GoOn,
            }
        })
    }

    fn on_moved(&self) {
        self.with(|state| (state.moved, state.stuck_since) = (Instant::now(), None));
    }

    fn on_stuck(&self) {
        self.with(|state| state.stuck_since = state.stuck_since.or_else(|| Some(Instant::now())));
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Unanswered {
    /// There is an answer.
    pub fn answered(self) {
        self.0.with(|state| state.given_up = state.given_up.saturating_sub(1));
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.0.with(|state| state.given_up > GIVEN_UP_MAX) {
            self.0.is_spent.notify_one();
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.under_way = state.under_way.saturating_sub(1);
            state.idle_since = Instant::now();
        });
    }
}

/// A connection whose pulse is felt.
#[derive(Debug)]
pub struct Watched {
    stream: Stream,
    pulse: Arc<Pulse>,
}

impl Watched {
    /// Feels the pulse of a connection.
    #[must_use]
    pub fn new(stream: Stream, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse }
    }

    fn on_written<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &result {
            Poll::Ready(_) => self.pulse.on_moved(),
            Poll::Pending => self.pulse.on_stuck(),
        }
        result
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.pulse.with(|state| state.moved = Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.on_written(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(1800);

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn who_asks_nothing_is_sent_away_however_it_dribbles() {
        let pulse = Pulse::new(Instant::now());
        assert_eq!(pulse.verdict(after(70), SILENCE), Verdict::GoOn);
        pulse.on_moved();
        assert_eq!(pulse.verdict(after(80), SILENCE), Verdict::Retire);
        assert_eq!(pulse.verdict(after(90), SILENCE), Verdict::Cut);
    }

    #[test]
    fn an_answer_under_way_may_be_silent_for_long_but_not_for_ever() {
        let pulse = Pulse::new(Instant::now());
        let request = pulse.begin();
        assert_eq!(pulse.verdict(after(1700), SILENCE), Verdict::GoOn);
        assert_eq!(pulse.verdict(after(1900), SILENCE), Verdict::Cut);
        drop(request);
        assert_eq!(pulse.verdict(after(80), SILENCE), Verdict::Retire);
    }

    #[test]
    fn who_does_not_take_its_answers_is_cut() {
        let pulse = Pulse::new(Instant::now());
        let _request = pulse.begin();
        pulse.on_stuck();
        assert_eq!(pulse.verdict(after(70), SILENCE), Verdict::Cut);
        pulse.on_moved();
        assert_eq!(pulse.verdict(after(70), SILENCE), Verdict::GoOn);
    }
}
