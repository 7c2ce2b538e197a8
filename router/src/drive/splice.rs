//! Copies bytes both ways between a client and a member until both have said everything.
//!
//! An idle connection holds no buffer: bytes pass through one buffer per thread, and only what the slower side does not
//! take at once is kept aside. No more is read from a side while something of it is kept: that is the back-pressure.

use std::{
    cell::RefCell,
    future::{pending, poll_fn},
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::Stream;

/// How much is moved at once.
const BUFFER_BYTES: usize = 128 * 1024;
/// How long the second half of a connection may stay silent after the first has ended.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(60);
/// Silence after which a connection that is to end is taken to be between two commands.
const QUIET: Duration = Duration::from_millis(500);

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into_boxed_slice());
}

/// What passed, and how it ended.
#[derive(Debug)]
pub struct SpliceReport {
    /// Bytes from the first stream to the second.
    pub forth: u64,
    /// Bytes from the second stream to the first.
    pub back: u64,
    /// How it ended.
    pub ended: Ended,
}

/// How a spliced connection ended.
#[derive(Debug)]
pub enum Ended {
    /// Both sides said everything.
    Closed,
    /// Neither side said anything for too long.
    Idle,
    /// A side broke off.
    Broken(io::Error),
}

/// Two connections that belong together, and what was read from each that still belongs to the other.
#[derive(Debug)]
pub struct Pair {
    /// The client, or whoever asks.
    pub a: Stream,
    /// What was read from `a`.
    pub a_unread: Vec<u8>,
    /// The member, or whoever answers.
    pub b: Stream,
    /// What was read from `b`.
    pub b_unread: Vec<u8>,
}

/// Copies both ways until both sides have ended, one breaks, or both are idle for too long.
///
/// `a_unread` was read from `a` before and still belongs to `b`; `b_unread` the other way round. When one side ends its
/// half, the other is told so and may go on with its own.
pub fn splice(
    a: Stream,
    b: Stream,
    idle: Duration,
    a_unread: impl Into<Vec<u8>>,
    b_unread: impl Into<Vec<u8>>,
) -> impl Future<Output = SpliceReport> + Send {
    let pair = Pair { a, a_unread: a_unread.into(), b, b_unread: b_unread.into() };
    splice_until(pair, idle, pending(), "")
}

/// As [`splice`]; once `stop` is ready, the connection ends as soon as it is quiet.
///
/// `b` is told that `a` says no more, and answers what it was asked before; then `a` hears `farewell`. It is not said where `b`
/// has ended in the middle of a line.
///
/// Not an `async fn`: that would store each argument twice, and this is what waits for hours.
pub fn splice_until(
    pair: Pair,
    idle: Duration,
    mut stop: impl Future<Output = ()> + Send + Unpin,
    farewell: &'static str,
) -> impl Future<Output = SpliceReport> + Send {
    let Pair { mut a, a_unread, mut b, b_unread } = pair;
    let mut forth = Direction::new(a_unread);
    let mut back = Direction::new(b_unread);
    let mut watch = Watch { last: Instant::now(), idle, stage: Stage::Open };
    async move {
        let timer = sleep_until(watch.due());
        tokio::pin!(timer);
        let ended = poll_fn(|cx| {
            if watch.stage == Stage::Open && Pin::new(&mut stop).poll(cx).is_ready() {
                watch.enter(timer.as_mut(), Stage::Stopping);
            }
            loop {
                let moved_before = forth.moved + back.moved;
                let forth_done = forth.poll_copy(cx, &mut a, &mut b, "", back.is_done()).is_ready();
                let back_done = back.poll_copy(cx, &mut b, &mut a, farewell, forth_done).is_ready();
                if forth_done && back_done {
                    let broken = forth.broken.take().or(back.broken.take());
                    return Poll::Ready(broken.map_or(Ended::Closed, Ended::Broken));
                }
                if forth_done || back_done {
                    watch.enter(timer.as_mut(), Stage::HalfClosed);
                }
                ready!(watch.poll_silence(cx, timer.as_mut(), forth.moved + back.moved > moved_before));
                if watch.stage != Stage::Stopping {
                    return Poll::Ready(Ended::Idle);
                }
                // What `b` has not taken yet is no sign of quiet.
                if forth.end() {
                    back.is_farewell_due = true;
                    watch.enter(timer.as_mut(), Stage::HalfClosed);
                } else {
                    watch.last = Instant::now();
                }
            }
        })
        .await;
        SpliceReport { forth: forth.moved, back: back.moved, ended }
    }
}

/// One way.
struct Direction {
    /// Read, and not yet taken by the other side.
    kept: Vec<u8>,
    /// How much of it has been taken.
    taken: usize,
    moved: u64,
    flow: Flow,
    /// What ended this way before its time.
    broken: Option<io::Error>,
    /// Whether what was read last ended a line.
    is_line_over: bool,
    /// Whether the sink is to hear a farewell once the source has ended.
    is_farewell_due: bool,
}

#[derive(Clone, Copy)]
enum Flow {
    /// Reads and writes.
    Copying,
    /// Has written something of which the rest is still to be written, or to be flushed.
    Flushing,
    /// The source has ended; the sink is being told.
    Ending,
    Done,
}

impl Direction {
    fn new(unread: Vec<u8>) -> Self {
        let flow = Flow::Flushing;
        Self { kept: unread, taken: 0, moved: 0, flow, broken: None, is_line_over: true, is_farewell_due: false }
    }

    /// Ends this way before its source does, if nothing is under way.
    fn end(&mut self) -> bool {
        if matches!(self.flow, Flow::Copying) {
            self.flow = Flow::Ending;
        }
        matches!(self.flow, Flow::Ending | Flow::Done)
    }

    fn is_done(&self) -> bool {
        matches!(self.flow, Flow::Done)
    }

    /// Copies as much as both sides can bear; ready when this way is done.
    ///
    /// A way that breaks ends alone: what the other side still has to say must arrive. When the last way is done, the
    /// connections are closed, which tells a sink that is not encrypted as much as an end of its own would.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        sink: &mut Stream,
        farewell: &str,
        is_last: bool,
    ) -> Poll<()> {
        loop {
            self.flow = match self.flow {
                Flow::Copying => match ready!(self.poll_pass(cx, source, sink)) {
                    Ok(0) => self.on_source_end(farewell),
                    Ok(_) => Flow::Flushing,
                    Err(error) => self.on_broken(error),
                },
                Flow::Flushing => match ready!(self.poll_kept(cx, sink)) {
                    Ok(()) => Flow::Copying,
                    Err(error) => self.on_broken(error),
                },
                Flow::Ending if is_last && matches!(sink, Stream::Plain(_)) => Flow::Done,
                Flow::Ending => {
                    // The sink may have gone altogether, which is as good an end as any.
                    let _ = ready!(Pin::new(&mut *sink).poll_shutdown(cx));
                    Flow::Done
                }
                Flow::Done => return Poll::Ready(()),
            }
        }
    }

    fn on_source_end(&mut self, farewell: &str) -> Flow {
        if !mem::take(&mut self.is_farewell_due) || !self.is_line_over {
            return Flow::Ending;
        }
        // Then the source is read once more, and has still ended.
        self.kept = farewell.into();
        Flow::Flushing
    }

    fn on_broken(&mut self, error: io::Error) -> Flow {
        self.kept = Vec::new();
        self.broken = Some(error);
        Flow::Ending
    }

    /// Reads once and writes what the sink takes at once; the rest is kept.
    fn poll_pass(&mut self, cx: &mut Context<'_>, source: &mut Stream, sink: &mut Stream) -> Poll<io::Result<usize>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            match ready!(Pin::new(source).poll_read(cx, &mut read)) {
                // TLS without close_notify: many clients end so; mail has its own ends, nothing is cut short by it.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                result => result?,
            }
            let bytes = read.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let taken = match Pin::new(sink).poll_write(cx, bytes) {
                Poll::Ready(taken) => taken?,
                Poll::Pending => 0,
            };
            self.moved += taken as u64;
            self.is_line_over = bytes.ends_with(b"\n");
            self.kept = bytes.get(taken..).unwrap_or_default().to_vec();
            self.taken = 0;
            Poll::Ready(Ok(bytes.len()))
        })
    }

    fn poll_kept(&mut self, cx: &mut Context<'_>, sink: &mut Stream) -> Poll<io::Result<()>> {
        while let Some(rest) = self.kept.get(self.taken..).filter(|rest| !rest.is_empty()) {
            let taken = ready!(Pin::new(&mut *sink).poll_write(cx, rest))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += taken;
            self.moved += taken as u64;
        }
        self.kept = Vec::new();
        self.taken = 0;
        Pin::new(sink).poll_flush(cx)
    }
}

/// Notices silence. The timer is set anew only when it fires, not with every byte.
struct Watch {
    last: Instant,
    idle: Duration,
    stage: Stage,
}

/// How near its end a connection is, and how long silence may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    /// To be ended when it is quiet.
    Stopping,
    /// One way has ended.
    HalfClosed,
}

impl Watch {
    fn due(&self) -> Instant {
        let limit = match self.stage {
            Stage::Open => self.idle,
            Stage::Stopping => self.idle.min(QUIET),
            Stage::HalfClosed => self.idle.min(HALF_CLOSED_IDLE),
        };
        self.last + limit
    }

    /// Ready when nothing has moved for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, has_moved: bool) -> Poll<()> {
        if has_moved {
            self.last = Instant::now();
        }
        while timer.as_mut().poll(cx).is_ready() {
            if self.due() <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.due());
        }
        Poll::Pending
    }

    /// Goes on to a later stage, with its own limit.
    fn enter(&mut self, timer: Pin<&mut Sleep>, stage: Stage) {
        if self.stage < stage {
            self.stage = stage;
            if stage == Stage::HalfClosed {
                self.last = Instant::now();
            }
            timer.reset(self.due());
        }
    }
}

#[cfg(test)]
#[path = "splice_test.rs"]
mod tests;
