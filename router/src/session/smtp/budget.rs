//! How many mistakes a client may make: after a few it is slowed down, after more it is sent away.

use std::time::Duration;

/// Mistakes after which every further one costs time.
const ERRORS_SOFT_MAX: u32 = 10;
/// Mistakes after which the connection is closed.
const ERRORS_HARD_MAX: u32 = 20;
/// What a mistake costs after the first ten.
const PENALTY: Duration = Duration::from_secs(1);
/// Commands that do nothing (NOOP, RSET, VRFY …) before each counts as a mistake.
const IDLE_COMMANDS_MAX: u32 = 100;

/// The mistakes of one connection.
#[derive(Debug, Default)]
pub(super) struct Budget {
    errors: u32,
    idle_commands: u32,
}

/// What a mistake costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    Nothing,
    Wait(Duration),
    Connection,
}

impl Budget {
    pub(super) fn on_error(&mut self) -> Cost {
        self.errors += 1;
        match self.errors {
            ..=ERRORS_SOFT_MAX => Cost::Nothing,
            ERRORS_HARD_MAX.. => Cost::Connection,
            _ => Cost::Wait(PENALTY),
        }
    }

    pub(super) fn on_idle_command(&mut self) -> Cost {
        self.idle_commands += 1;
        if self.idle_commands > IDLE_COMMANDS_MAX { self.on_error() } else { Cost::Nothing }
    }

    /// A message was accepted: the client means well.
    pub(super) fn on_message(&mut self) {
        *self = Self::default();
    }
}
