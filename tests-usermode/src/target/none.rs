//! The functions that need the PnP manager or the service control manager, on systems without them.

use std::path::Path;

use super::{Devnode, Installed, Removed, ServiceState};
use crate::error::{Error, Result};

/// Returns the error of everything that needs the device.
pub fn no_device() -> Error {
    Error::could_not_run(
        "the device exists only on Windows or Wine: run the harness.exe that was built for Windows there, \
         or run on the model kernel",
    )
}

/// Installs the device.
pub fn install(_: &Path) -> Result<Installed> {
    Err(no_device())
}

/// Removes the device.
pub fn remove(_: bool) -> Result<Removed> {
    Err(no_device())
}

/// Lists the devices.
pub fn devnodes() -> Result<Vec<Devnode>> {
    Err(no_device())
}

/// Returns the state of the driver's service.
pub fn service_state() -> Result<ServiceState> {
    Err(no_device())
}
