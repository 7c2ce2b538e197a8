//! How often a client may fail before login, and how long it waits after each failure.

use std::time::Duration;

/// Bad commands before login after which the connection ends.
const BAD_COMMANDS_MAX: u32 = 3;
/// Failed logins after which the connection ends.
const FAILED_LOGINS_MAX: u32 = 5;

/// What earlier connections of a network add to the wait at most: doublings.
const EARLIER_MAX: u32 = 3;

/// Counts what went wrong on one connection.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    bad_commands: u32,
    failed_logins: u32,
    /// Failures on earlier connections of the same network, as far as they count.
    earlier: u32,
}

/// How long the answer to a wrong password waits, after so many failures of the client's network: where each question
/// stands alone, as in HTTP.
#[must_use]
pub fn wait_after(failures: u32) -> Duration {
    Throttle::after(failures).on_failed_login()
}

/// What follows a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    Close,
}

impl Throttle {
    /// Begins with what is known of the client's network: closing the connection does not begin the waits anew.
    pub(super) fn after(failures: u32) -> Self {
        // As many doublings as the number has binary digits: 1, 2–3, 4 and more failures.
        let earlier = (u32::BITS - failures.leading_zeros()).min(EARLIER_MAX);
        Self { earlier, ..Self::default() }
    }

    /// Counts a command that could not be understood.
    pub(super) fn on_bad_command(&mut self) -> Verdict {
        self.bad_commands += 1;
        if self.bad_commands < BAD_COMMANDS_MAX { Verdict::GoOn } else { Verdict::Close }
    }

    /// Counts a wrong password and says how long the reply waits: 1, 2, 4, 8, 15 seconds.
    pub(super) fn on_failed_login(&mut self) -> Duration {
        let seconds = 1_u64 << (self.failed_logins + self.earlier).min(4);
        self.failed_logins += 1;
        Duration::from_secs(seconds.min(15))
    }

    /// Whether the client has guessed often enough.
    pub(super) fn verdict(&self) -> Verdict {
        if self.failed_logins < FAILED_LOGINS_MAX { Verdict::GoOn } else { Verdict::Close }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_bad_command_ends_the_connection() {
        let mut throttle = Throttle::default();
        assert_eq!([(); 3].map(|()| throttle.on_bad_command()), [Verdict::GoOn, Verdict::GoOn, Verdict::Close]);
    }

    #[test]
    fn failures_on_earlier_connections_count() {
        for (failures, seconds) in [(0, 1), (1, 2), (2, 4), (3, 4), (4, 8), (u32::MAX, 8)] {
            assert_eq!(Throttle::after(failures).on_failed_login().as_secs(), seconds, "{failures}");
        }
    }

    #[test]
    fn every_failure_waits_longer_until_the_connection_ends() {
        let mut throttle = Throttle::default();
        assert_eq!([(); 4].map(|()| throttle.on_failed_login().as_secs()), [1, 2, 4, 8]);
        assert_eq!(throttle.verdict(), Verdict::GoOn);
        assert_eq!(throttle.on_failed_login().as_secs(), 15);
        assert_eq!(throttle.verdict(), Verdict::Close);
    }
}
