//! The errors that can occur before a compiler or a linker is started.

use std::{error, fmt, io, path::PathBuf};

/// A file operation that failed, with its path.
#[derive(Debug)]
pub struct IoError {
    path: PathBuf,
    source: io::Error,
}

impl IoError {
    /// Adds the path to `source`.
    pub fn with_path(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self {
            path: path.into(),
            source,
        }
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.source)
    }
}

impl error::Error for IoError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The reason why a build cannot be configured.
#[non_exhaustive]
pub enum ConfigError {
    /// A file operation failed.
    Io(IoError),
    /// A folder of headers or libraries does not exist.
    DirectoryNotFound {
        /// The folder.
        directory: PathBuf,
        /// The package that provides it.
        provider: &'static str,
    },
    /// This crate does not support the target's architecture.
    Architecture(String),
    /// The driver's manifest has a driver model other than WDM.
    DriverModel(String),
    /// A feature of `wdk-sys` requires headers that only a WDK has.
    ApiSubset(crate::ApiSubset),
    /// The target feature `crt-static` is off, so the C runtime's DLLs would be imported.
    StaticCrtNotEnabled,
    /// A tool could not be started, or failed.
    Tool {
        /// The tool's name.
        tool: String,
        /// Its output, or why it could not be started.
        reason: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::DirectoryNotFound {
                directory,
                provider,
            } => write!(
                f,
                "the folder {} does not exist: install {provider}, which contains it",
                directory.display()
            ),
            Self::Architecture(name) => write!(
                f,
                "cannot build a driver for {name}: only x86_64 and aarch64 are supported on hosts other than Windows"
            ),
            Self::DriverModel(model) => write!(
                f,
                "the driver's model is {model}: only WDM drivers can be built on hosts other than Windows"
            ),
            Self::ApiSubset(subset) => write!(
                f,
                "the headers for {subset:?} are only in the WDK: leave out that feature of wdk-sys, \
                 or build on Windows"
            ),
            Self::StaticCrtNotEnabled => write!(
                f,
                "the target feature crt-static is off; build with `cargo interlock build`, or add \
                 `-C target-feature=+crt-static` to the target's rustflags"
            ),
            Self::Tool { tool, reason } => write!(f, "{tool}: {reason}"),
        }
    }
}

/// The same text as `Display`, since Cargo prints the error of a build script in this form.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<IoError> for ConfigError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}
