//! The kernel of the run: its device and its requests.
//!
//! There are two: this system's own, on Windows and under Wine, with the installed driver; and the model kernel in this process,
//! with the driver's logic.

mod device;
mod kernel;
mod model;
#[cfg(not(windows))]
mod none;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::status::Status;

pub use device::{Device, Request};
pub use kernel::{Kernel, lacks_processes, now, restore, start, stop, stopped, surprise_remove};
pub use model::{LoadedDriver, longest_holds, measure_holds, run_watched};

#[cfg(not(windows))]
pub use none::{devnodes, install, remove, service_state};

#[cfg(windows)]
pub use crate::win32::{devnodes, install, remove, service_state};

/// The timeout of operations that should end soon. Under Driver Verifier, one that raises the IRQL 400,000 times takes long.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// The bytes of an output buffer that the driver has not written.
const UNTOUCHED: u8 = 0xA5;

/// The access that a handle is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// `GENERIC_READ`
    Read,
    /// `GENERIC_WRITE`
    Write,
    /// `GENERIC_READ | GENERIC_WRITE`
    ReadWrite,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The final status.
    pub status: Status,
    /// `Information`: how many bytes of the output buffer the driver has written. The I/O manager does not write the I/O status
    /// block of a request that was refused without having been pending; then it is 0.
    pub information: usize,
    /// The whole output buffer, including the part that was not written.
    pub output: Vec<u8>,
}

impl Completion {
    /// Returns whether the output buffer beyond `information` is as it was sent.
    pub fn rest_is_untouched(&self) -> bool {
        let rest = self.output.get(self.information..);
        rest.is_some_and(|rest| rest.iter().all(|byte| *byte == UNTOUCHED))
    }
}

/// Returns an output buffer, filled so that the bytes that were not written can be recognized.
fn blank(len: usize) -> Vec<u8> {
    vec![UNTOUCHED; len]
}

/// Returns the path of a file in the folder of this program.
pub fn in_program_folder(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().map_err(|error| {
        Error::could_not_run(format!("the path of this program is not known: {error}"))
    })?;
    Ok(program.with_file_name(name))
}

/// The result of `install`.
#[derive(Clone, Copy, Debug)]
pub struct Installed {
    /// Whether the device was created; otherwise it existed, and its driver was updated.
    pub created: bool,
    /// Whether the system must be restarted before the driver is in use.
    pub restart_needed: bool,
}

/// The result of `remove`.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// The instance IDs of the removed devices.
    pub devices: Vec<String>,
    /// The deleted driver packages.
    pub packages: Vec<String>,
    /// Whether the system must be restarted to finish the removal.
    pub restart_needed: bool,
}

/// A device with Interlock's hardware ID, as the PnP manager reports it.
#[derive(Clone, Debug)]
pub struct Devnode {
    /// Its device instance ID.
    pub instance: String,
    /// Its condition.
    pub condition: Condition,
    /// The INF in the system's INF folder that it was installed from.
    pub inf: Option<String>,
}

/// The condition of a device, as the system reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is started.
    Started,
    /// It is not started, and has no problem.
    Stopped,
    /// It has a problem, by its `CM_PROB` code.
    Problem(u32),
    /// It is registered but not present.
    Absent,
    /// The system does not report it.
    Unknown,
}

impl Condition {
    /// Returns whether the device works, as far as the system reports it.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Started | Self::Unknown)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Stopped => f.write_str("not started"),
            Self::Problem(code) => write!(f, "problem code {code}{}", problem(*code)),
            Self::Absent => f.write_str("registered, but not present"),
            Self::Unknown => f.write_str("not reported by this system"),
        }
    }
}

/// Returns the meaning of the problem codes that are most frequent with a driver under test.
const fn problem(code: u32) -> &'static str {
    match code {
        10 => ": the driver failed to start the device",
        14 => ": the system must be restarted",
        21 => ": the device is being removed",
        22 => ": the device is disabled",
        28 => ": no driver is installed",
        31 | 39 => ": the driver could not be loaded",
        38 => ": an earlier instance of the driver is still loaded; restart",
        48 => ": the driver is blocked on this system",
        52 => ": the driver's signature is not trusted: check that test signing is on",
        _ => "",
    }
}

/// The state of the driver's service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// The service does not exist.
    NotInstalled,
    /// It is stopped.
    Stopped,
    /// It is starting.
    Starting,
    /// It is stopping.
    Stopping,
    /// It is running.
    Running,
    /// Another state, by its `SERVICE_*` number.
    Other(u32),
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => f.write_str("not installed"),
            Self::Stopped => f.write_str("stopped"),
            Self::Starting => f.write_str("starting"),
            Self::Stopping => f.write_str("stopping"),
            Self::Running => f.write_str("running"),
            Self::Other(state) => write!(f, "in state {state}"),
        }
    }
}

/// The result of removing the device while handles are open.
#[derive(Debug)]
pub enum Removal {
    /// It was removed; [`restore`] restores it.
    Removed(RemovedDevice),
    /// The system did not remove it, for this reason.
    Vetoed(String),
}

/// How [`restore`] restores a device.
#[derive(Debug)]
pub enum RemovedDevice {
    /// It was the model's.
    Model,
    /// Its device node is still registered.
    #[cfg(windows)]
    Stopped {
        /// The device node.
        devnode: u32,
    },
    /// It must be installed again.
    #[cfg(windows)]
    Unregistered {
        /// The INF that it was installed from.
        inf: PathBuf,
    },
}
