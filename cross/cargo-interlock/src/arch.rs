//! The architectures that a driver is built for.

use clap::ValueEnum;
use object::pe::{IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_ARM64, Machine};

/// An architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Arch {
    /// x86-64
    #[default]
    X64,
    /// ARM64
    Arm64,
}

impl Arch {
    /// Every architecture.
    pub const ALL: [Self; 2] = [Self::X64, Self::Arm64];

    /// The target that Rust has for it.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::X64 => "x86_64-pc-windows-msvc",
            Self::Arm64 => "aarch64-pc-windows-msvc",
        }
    }

    /// What the WDK calls its folders for it.
    pub const fn wdk_name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "arm64",
        }
    }

    /// What an INF calls it after `NT`.
    pub const fn inf_name(self) -> &'static str {
        match self {
            Self::X64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Whether a models section that is decorated like this, `NTamd64.10.0`, is for it and for no other.
    pub fn is_decoration(self, decoration: &str) -> bool {
        let architecture = decoration.split('.').next().unwrap_or_default();
        let architecture = architecture.to_ascii_lowercase();
        architecture.strip_prefix("nt") == Some(self.inf_name())
    }

    /// What it is called in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X64 => "x86-64",
            Self::Arm64 => "ARM64",
        }
    }

    /// How an image says that it is for it.
    pub const fn machine(self) -> Machine {
        match self {
            Self::X64 => IMAGE_FILE_MACHINE_AMD64,
            Self::Arm64 => IMAGE_FILE_MACHINE_ARM64,
        }
    }
}
