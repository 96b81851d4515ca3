//! What stands between this machine and a working install: facts about the machine in, findings out.
//!
//! Nothing here asks the system anything, so all of it is tested on every host; the facts come from
//! `win32`.

mod checks;
pub mod image;
mod print;

use std::fmt;

use crate::error::{Error, Result};
use crate::target::{Devnode, ServiceState};

pub use print::print;

/// How a check came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does not stand in the way.
    Fine(String),
    /// It stands in the way.
    Problem {
        /// What is wrong.
        what: String,
        /// The command that mends it, or where to look where there is no such command.
        remedy: String,
    },
    /// It could not be found out, for this reason.
    CannotTell(String),
}

/// A check, and how it came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// What was found.
    pub answer: Answer,
}

/// The architecture of a machine or of an image, as `IMAGE_FILE_MACHINE_*` numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine(pub u16);

impl Machine {
    /// `IMAGE_FILE_MACHINE_AMD64`
    pub const X64: Self = Self(0x8664);
    /// `IMAGE_FILE_MACHINE_ARM64`
    pub const ARM64: Self = Self(0xAA64);
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::X64 => f.write_str("x64"),
            Self::ARM64 => f.write_str("ARM64"),
            Self(0x014C) => f.write_str("x86"),
            Self(other) => write!(f, "machine {other:#06x}"),
        }
    }
}

/// The system that this program runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum System {
    /// Windows, by its version.
    Windows {
        /// The major version, which is 10 for Windows 11 too.
        major: u32,
        /// The minor version.
        minor: u32,
        /// The build.
        build: u32,
    },
    /// Wine, by what it calls its version. It checks no signatures.
    Wine(String),
}

/// What the kernel's code integrity says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeIntegrity {
    /// Whether it checks signatures at all.
    pub enabled: bool,
    /// Whether it accepts test signatures.
    pub test_signing: bool,
    /// Whether the hypervisor enforces it: memory integrity.
    pub memory_integrity: bool,
}

/// What is known of a machine. An error is the reason why something is not.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether this program may install drivers.
    pub administrator: Result<bool>,
    /// The system.
    pub system: Result<System>,
    /// The machine's own architecture, whatever it emulates.
    pub machine: Result<Machine>,
    /// What this program was built for.
    pub harness: Machine,
    /// What the `interlock.sys` beside this program was built for.
    pub driver: Result<Machine>,
    /// Whether there is an `interlock.cat` beside this program.
    pub catalog: Result<bool>,
    /// What is checked of a driver before it is loaded.
    pub code_integrity: Result<CodeIntegrity>,
    /// Whether Secure Boot is on; `None` where the firmware has none.
    pub secure_boot: Result<Option<bool>>,
    /// Whether memory integrity is to be on after a restart; `None` where that was never set.
    pub memory_integrity_set: Result<Option<bool>>,
    /// Whether the certificate beside this program is in the machine's store of trusted roots.
    pub in_root: Result<bool>,
    /// Whether it is in the machine's store of trusted publishers.
    pub in_trusted_publisher: Result<bool>,
    /// The devices that have the hardware ID.
    pub devnodes: Result<Vec<Devnode>>,
    /// The state of the driver's service.
    pub service: Result<ServiceState>,
}

/// Makes every check.
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let finding = |(check, answer): &(&'static str, checks::Check)| Finding {
        check,
        answer: answer(facts).unwrap_or_else(|error| Answer::CannotTell(error.to_string())),
    };
    checks::ALL.iter().map(finding).collect()
}

/// A fact, or the reason why it is not known.
fn told<T>(fact: &Result<T>) -> Result<&T> {
    fact.as_ref().map_err(Error::clone)
}

#[cfg(test)]
mod tests;
