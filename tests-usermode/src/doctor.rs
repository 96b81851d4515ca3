//! Obstacles to an installation on this machine: from facts about the machine to findings.
//!
//! `win32` collects the facts. Nothing here calls the system, so all of it is tested on every host.

mod checks;
pub mod image;
mod print;

use std::fmt;

use crate::error::{Error, Result};
use crate::target::{Devnode, ServiceState};

pub use print::print;

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is not an obstacle.
    Fine(String),
    /// It is an obstacle.
    Problem {
        /// What is wrong.
        what: String,
        /// The command that removes it, or the setting to change if there is no such command.
        remedy: String,
    },
    /// It is not known, for this reason.
    CannotTell(String),
}

/// A check and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of the check.
    pub check: &'static str,
    /// Its result.
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
    /// Windows, by its version: major, minor and build. The major version of Windows 11 is 10 too.
    Windows([u32; 3]),
    /// Wine, by its version. It checks no signatures.
    Wine(String),
}

/// The options of the kernel's code integrity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeIntegrity {
    /// Whether it checks signatures.
    pub enabled: bool,
    /// Whether it accepts test signatures.
    pub test_signing: bool,
    /// Whether the hypervisor enforces it: memory integrity.
    pub memory_integrity: bool,
}

/// The facts about a machine. An error is the reason why a fact is not known.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether this program may install drivers.
    pub administrator: Result<bool>,
    /// The system.
    pub system: Result<System>,
    /// The machine's own architecture, not one that it emulates.
    pub machine: Result<Machine>,
    /// The architecture of this program.
    pub harness: Machine,
    /// The architecture of the `interlock.sys` in the folder of this program.
    pub driver: Result<Machine>,
    /// Whether there is an `interlock.cat` in the folder of this program.
    pub catalog: Result<bool>,
    /// The options of code integrity.
    pub code_integrity: Result<CodeIntegrity>,
    /// Whether Secure Boot is on; `None` if the firmware does not support it.
    pub secure_boot: Result<Option<bool>>,
    /// Whether memory integrity will be on after a restart; `None` if it was never turned on or off.
    pub memory_integrity_set: Result<Option<bool>>,
    /// Whether the certificate in the folder of this program is in the machine's store of trusted roots.
    pub in_root: Result<bool>,
    /// Whether it is in the machine's store of trusted publishers.
    pub in_trusted_publisher: Result<bool>,
    /// The devices with the hardware ID.
    pub devnodes: Result<Vec<Devnode>>,
    /// The state of the driver's service.
    pub service: Result<ServiceState>,
}

/// Runs every check.
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let finding = |(check, answer): &(&'static str, checks::Check)| Finding {
        check,
        answer: answer(facts).unwrap_or_else(|error| Answer::CannotTell(error.to_string())),
    };
    checks::ALL.iter().map(finding).collect()
}

/// Returns a fact, or the reason why it is not known.
fn known<T>(fact: &Result<T>) -> Result<&T> {
    fact.as_ref().map_err(Error::clone)
}

#[cfg(test)]
mod tests;
