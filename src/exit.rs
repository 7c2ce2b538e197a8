//! How a command ends: the exit code, and one clear message on standard error.

use std::{fmt, io, process::ExitCode};

use clap::error::ErrorKind;

/// What went wrong, and therefore what whoever called may do about it.
#[derive(Debug)]
pub enum Failure {
    /// Something was found that must never be (1): a person must look.
    Broken(anyhow::Error),
    /// The command was typed wrongly, or asks for something that is not there (64).
    Usage(anyhow::Error),
    /// Something is not available now; the same command may succeed later (75).
    Temporary(anyhow::Error),
    /// The configuration must be changed first (78).
    Configuration(anyhow::Error),
}

impl Failure {
    /// A wrong use of the command, in a sentence.
    pub fn usage(text: impl fmt::Display) -> Self {
        Self::Usage(anyhow::anyhow!("{text}"))
    }

    /// A fault of the installation's set-up, in a sentence.
    pub fn configuration(text: impl fmt::Display) -> Self {
        Self::Configuration(anyhow::anyhow!("{text}"))
    }

    fn code(&self) -> u8 {
        match self {
            Self::Broken(_) => 1,
            Self::Usage(_) => 64,
            Self::Temporary(_) => 75,
            Self::Configuration(_) => 78,
        }
    }
}

/// Whatever is not known to be the caller's fault is worth another try.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Temporary(error)
    }
}

impl From<laniakea_config::Faults> for Failure {
    fn from(faults: laniakea_config::Faults) -> Self {
        Self::Configuration(faults.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Broken(error) | Self::Usage(error) | Self::Temporary(error) | Self::Configuration(error)) = self;
        // Some errors repeat their cause in their own words; it is told once.
        let mut told = String::new();
        for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
            if told.is_empty() {
                told = cause;
            } else if !told.contains(&cause) {
                told.push_str(": ");
                told.push_str(&cause);
            }
        }
        out.write_str(&told)
    }
}

/// Tells the outcome of a command to its caller.
pub fn code(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match &failure {
                // Begins with file:line:column, as editors like it.
                Failure::Configuration(error) if error.is::<laniakea_config::Faults>() => eprintln!("{error}"),
                Failure::Broken(_) | Failure::Usage(_) | Failure::Temporary(_) | Failure::Configuration(_) => {
                    eprintln!("laniakea: {failure}")
                }
            }
            ExitCode::from(failure.code())
        }
    }
}

/// Prints what clap has to say: help and version are no failures.
pub fn usage(error: &clap::Error) -> ExitCode {
    // There is nobody left to tell if this cannot be printed.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(64),
    }
}

/// Prints a line of the command's result. A reader that has gone away (`| head`) ends the program quietly.
pub fn say(text: impl fmt::Display) {
    use io::Write as _;
    let mut out = io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Prints a value as JSON, for `--json`.
pub fn say_json(value: &serde_json::Value) {
    say(format_args!("{value:#}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let inner = anyhow::anyhow!("no server");
        let error = inner.context("ask the directory: no server").context("list accounts");
        assert_eq!(Failure::from(error).to_string(), "list accounts: ask the directory: no server");
    }
}
