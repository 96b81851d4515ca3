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

    /// Returns Rust's target.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::X64 => "x86_64-pc-windows-msvc",
            Self::Arm64 => "aarch64-pc-windows-msvc",
        }
    }

    /// Returns the name of the WDK's folders for it.
    pub const fn wdk_name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "arm64",
        }
    }

    /// Returns the name that follows `NT` in an INF.
    pub const fn inf_name(self) -> &'static str {
        match self {
            Self::X64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Returns whether a models section with this decoration, such as `NTamd64.10.0`, is for this architecture only.
    pub fn is_decoration(self, decoration: &str) -> bool {
        let architecture = decoration.split('.').next().unwrap_or_default();
        let architecture = architecture.to_ascii_lowercase();
        architecture.strip_prefix("nt") == Some(self.inf_name())
    }

    /// Returns its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X64 => "x86-64",
            Self::Arm64 => "ARM64",
        }
    }

    /// Returns the machine type in an image.
    pub const fn machine(self) -> Machine {
        match self {
            Self::X64 => IMAGE_FILE_MACHINE_AMD64,
            Self::Arm64 => IMAGE_FILE_MACHINE_ARM64,
        }
    }
}
