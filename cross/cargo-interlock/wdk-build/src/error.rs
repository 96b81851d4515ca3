//! The errors that can occur before a compiler or a linker is started.

use std::{error, fmt, io, path::PathBuf};

/// The reason why a build cannot be configured.
pub struct ConfigError(String);

/// The name that `wdk-sys` uses for the error of a file operation.
pub type IoError = ConfigError;

impl ConfigError {
    /// Returns the error with this message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Returns the error of a file operation, with its path.
    #[expect(clippy::needless_pass_by_value, reason = "wdk-sys passes the value")]
    pub fn with_path(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self(format!("{}: {source}", path.into().display()))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The same text as `Display`, since Cargo prints the error of a build script in this form.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for ConfigError {}
