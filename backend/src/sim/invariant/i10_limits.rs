//! I10: the limits before authentication hold, whatever a stranger sends and however slowly. Checked after everything that a
//! real session is told: it is over when its time is, it asks for few logins, and it reads and says only so much.

use std::time::Instant;

use laniakea_router::session::{Input, LOGIN_WITHIN, Output, Session};

/// What a stranger may send before the session ends: a hundred commands of the longest kind, and what was sent ahead.
const RECEIVED_BYTES_MAX: usize = 100 * 16 * 1024 + 64 * 1024;
/// What is said to a stranger in all: greeting, replies to a hundred commands, farewell.
const SAID_BYTES_MAX: usize = 64 * 1024;
/// Passwords a stranger may try on one connection.
const LOGINS_MAX: u32 = 5;

/// A session with a stranger, and what it has come to.
pub struct Watched {
    session: Box<dyn Session>,
    begun: Instant,
    received: usize,
    said: usize,
    logins: u32,
    closed: bool,
}

impl Watched {
    pub fn new(session: Box<dyn Session>, begun: Instant) -> Self {
        let mut watched = Self { session, begun, received: 0, said: 0, logins: 0, closed: false };
        watched.check(begun);
        watched
    }

    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// When the session wants to be told that time has passed.
    pub fn deadline(&self) -> Option<Instant> {
        self.session.deadline()
    }

    /// Tells the session; says whether it wants to know if a password is right.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) -> bool {
        if let Input::Bytes(bytes) = &input {
            self.received += bytes.len();
        }
        self.session.handle(now, input);
        self.check(now)
    }

    fn check(&mut self, now: Instant) -> bool {
        let mut asks = false;
        while let Some(output) = self.session.poll() {
            assert!(!self.closed, "nothing is wanted after the end: {output:?} (I10)");
            match output {
                Output::Write(bytes) => self.said += bytes.len(),
                Output::Login(_) => asks = true,
                Output::Close => self.closed = true,
                _ => {}
            }
        }
        self.logins += u32::from(asks);
        assert!(self.logins <= LOGINS_MAX, "{} passwords are tried on one connection (I10)", self.logins);
        assert!(self.said <= SAID_BYTES_MAX, "{} bytes are said to a stranger (I10)", self.said);
        assert!(self.closed || self.received <= RECEIVED_BYTES_MAX, "{} bytes are read (I10)", self.received);
        assert!(!self.session.is_logged_in(), "a stranger is let in (I10)");
        // While a password is looked at, the deadline is that of whoever looks.
        let until = self.begun + LOGIN_WITHIN;
        let is_timed = self.session.deadline().is_some_and(|deadline| deadline <= until && now < until);
        assert!(self.closed || asks || is_timed, "a stranger may stay longer than {LOGIN_WITHIN:?} (I10)");
        asks
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use laniakea_router::session::Forward;

    use super::*;

    /// A session without limits.
    struct Boundless(Option<Instant>);

    impl Session for Boundless {
        fn handle(&mut self, _: Instant, _: Input<'_>) {}
        fn poll(&mut self) -> Option<Output> {
            None
        }
        fn deadline(&self) -> Option<Instant> {
            self.0
        }
        fn is_logged_in(&self) -> bool {
            false
        }
        fn into_forward(self) -> Option<Forward> {
            None
        }
    }

    #[test]
    #[should_panic(expected = "a stranger may stay longer")]
    fn a_session_without_a_deadline_is_noticed() {
        drop(Watched::new(Box::new(Boundless(None)), Instant::now()));
    }

    #[test]
    #[should_panic(expected = "bytes are read")]
    fn a_session_that_reads_for_ever_is_noticed() {
        let now = Instant::now();
        let mut watched = Watched::new(Box::new(Boundless(Some(now + Duration::from_secs(1)))), now);
        for _ in 0..200 {
            watched.handle(now, Input::Bytes(&[b'x'; 1 << 14]));
        }
    }
}
