//! What stands in for a kernel where there is none: types without values, and functions that say so.

use std::path::Path;
use std::time::Duration;

use super::{Access, Completion, Devnode, Gone, Installed, Removed, TakenAway};
use crate::error::{Error, Result};

fn no_kernel() -> Error {
    Error::could_not_run(
        "this build has no kernel; the device target needs Windows or Wine: \
         run the harness.exe that was built for Windows there",
    )
}

#[derive(Debug)]
enum Never {}

/// An open handle of the device. Here there is none.
#[derive(Debug)]
pub struct Device(Never);

/// A request. Here there is none.
#[derive(Debug)]
pub struct Request(Never);

impl Device {
    /// Opens the device with read and write access.
    pub fn open() -> Result<Self> {
        Self::open_with(Access::ReadWrite)
    }

    /// Opens the device with the access named.
    pub fn open_with(_: Access) -> Result<Self> {
        Err(no_kernel())
    }

    /// Sends a request.
    pub fn submit(&self, _: u32, _: &[u8], _: Vec<u8>) -> Result<Request> {
        match self.0 {}
    }

    /// Closes the handle, whether or not requests are pending.
    pub fn close(self) {
        match self.0 {}
    }

    /// Cancels every request of this handle; returns whether there was any.
    pub fn cancel_all(&self) -> Result<bool> {
        match self.0 {}
    }

    /// Cancels every request that the calling thread sent through this handle.
    pub fn cancel_threads_own(&self) -> Result<()> {
        match self.0 {}
    }
}

impl Request {
    /// Asks for this request's cancellation; returns whether it was still there to be cancelled.
    pub fn cancel(&self) -> Result<bool> {
        match self.0 {}
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        match self.0 {}
    }

    /// Waits for its end; `None` when it does not come in time.
    pub fn wait(&self, _: Duration) -> Result<Option<Completion>> {
        match self.0 {}
    }
}

/// Installs the device.
pub fn install(_: &Path) -> Result<Installed> {
    Err(no_kernel())
}

/// Removes the device.
pub fn remove(_: bool) -> Result<Removed> {
    Err(no_kernel())
}

/// Lists the devices that there are.
pub fn devnodes() -> Result<Vec<Devnode>> {
    Err(no_kernel())
}

/// Tells the state of the driver's service.
pub fn service_state() -> Result<String> {
    Err(no_kernel())
}

/// Removes the device under its users.
pub fn take_away() -> Result<TakenAway> {
    Err(no_kernel())
}

/// Makes the device again that was taken away.
pub fn bring_back(_: &Gone) -> Result<()> {
    Err(no_kernel())
}
