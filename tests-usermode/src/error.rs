//! The reason why a command or a scenario failed, and the exit code of the process.

use std::fmt;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command ran and found nothing wrong.
    Passed = 0,
    /// The command ran and found something wrong.
    Failed = 1,
    /// The command could not run: bad usage, no device, not an administrator.
    CouldNotRun = 2,
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Failed,
    CouldNotRun,
    Unsupported,
}

/// An error, with a message for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: String,
}

/// A result whose error is [`Error`].
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Returns the error of a command or a scenario that ran and failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Returns the error of a command that could not run; `message` says what to do about it.
    pub fn could_not_run(message: impl Into<String>) -> Self {
        Self::new(Kind::CouldNotRun, message)
    }

    /// Returns the error of a scenario that this kernel does not support, for this reason. It is reported as ignored.
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, reason)
    }

    /// Returns whether the error is [unsupported](Self::unsupported).
    pub fn is_unsupported(&self) -> bool {
        self.kind == Kind::Unsupported
    }

    /// Returns the message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns how a command that returns this error ends.
    pub const fn exit(&self) -> Exit {
        match self.kind {
            Kind::Failed => Exit::Failed,
            Kind::CouldNotRun | Kind::Unsupported => Exit::CouldNotRun,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Fails with `message` unless `condition` holds.
pub fn ensure(condition: bool, message: impl FnOnce() -> String) -> Result {
    if condition {
        return Ok(());
    }
    Err(Error::failed(message()))
}

#[cfg(test)]
mod tests {
    use super::{Error, Exit};

    #[test]
    fn exit_codes_are_the_documented_ones() {
        assert_eq!(Exit::Passed.code(), 0);
        assert_eq!(Exit::Failed.code(), 1);
        assert_eq!(Exit::CouldNotRun.code(), 2);
        assert_eq!(Error::failed("x").exit(), Exit::Failed);
        assert_eq!(Error::could_not_run("x").exit(), Exit::CouldNotRun);
    }
}
