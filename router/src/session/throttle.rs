//! How often a client may fail before login, and how long it waits after each failure.

use std::time::Duration;

/// Bad commands before login after which the connection ends.
const BAD_COMMANDS_MAX: u32 = 3;
/// Failed logins after which the connection ends.
const FAILED_LOGINS_MAX: u32 = 5;

/// Counts what went wrong on one connection.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    bad_commands: u32,
    failed_logins: u32,
}

/// What follows a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    Close,
}

impl Throttle {
    /// Counts a command that could not be understood.
    pub(super) fn on_bad_command(&mut self) -> Verdict {
        self.bad_commands += 1;
        if self.bad_commands < BAD_COMMANDS_MAX { Verdict::GoOn } else { Verdict::Close }
    }

    /// Counts a wrong password and says how long the reply waits: 1, 2, 4, 8, 15 seconds.
    pub(super) fn on_failed_login(&mut self) -> Duration {
        let seconds = 1_u64 << self.failed_logins.min(4);
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
    fn every_failure_waits_longer_until_the_connection_ends() {
        let mut throttle = Throttle::default();
        assert_eq!([(); 4].map(|()| throttle.on_failed_login().as_secs()), [1, 2, 4, 8]);
        assert_eq!(throttle.verdict(), Verdict::GoOn);
        assert_eq!(throttle.on_failed_login().as_secs(), 15);
        assert_eq!(throttle.verdict(), Verdict::Close);
    }
}
