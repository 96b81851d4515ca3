//! Handles and requests, of whichever kernel the run uses.

use std::time::Duration;

use super::kernel::{Kernel, chosen};
#[cfg(not(windows))]
use super::none;
use super::{Access, Completion, blank, model};
use crate::client::Ioctl;
use crate::error::Result;
#[cfg(windows)]
use crate::win32;

/// An open handle of the device. Dropping it closes the handle, whether or not requests are pending.
#[derive(Debug)]
pub enum Device {
    /// On the model kernel.
    Model(model::Device),
    /// On this system's own kernel.
    #[cfg(windows)]
    Real(win32::Device),
}

/// A request that was sent. Dropping one that has not ended cancels it.
#[derive(Debug)]
pub enum Request {
    /// On the model kernel.
    Model(model::Request),
    /// On this system's own kernel.
    #[cfg(windows)]
    Real(win32::Request),
}

/// Calls a method of whichever variant there is.
macro_rules! dispatch {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self {
            Self::Model(inner) => inner.$method($($argument),*),
            #[cfg(windows)]
            Self::Real(inner) => inner.$method($($argument),*),
        }
    };
}

impl Device {
    /// Opens the device with read and write access.
    pub fn open() -> Result<Self> {
        Self::open_with(Access::ReadWrite)
    }

    /// Opens the device with this access.
    pub fn open_with(access: Access) -> Result<Self> {
        match chosen() {
            Kernel::Model => model::Device::open(access).map(Self::Model),
            #[cfg(windows)]
            Kernel::Device => win32::Device::open_with(access).map(Self::Real),
            #[cfg(not(windows))]
            Kernel::Device => Err(none::no_device()),
        }
    }

    /// Opens a device of a model kernel that is not the run's.
    pub fn open_on(device: &ntmodel::Device, access: Access) -> Result<Self> {
        model::Device::open_on(device, access).map(Self::Model)
    }

    /// Sends a request, which may end immediately, later, or when it is cancelled.
    #[cfg_attr(
        not(windows),
        expect(clippy::unnecessary_wraps, reason = "it can fail on Windows")
    )]
    pub fn submit(&self, ioctl: &Ioctl) -> Result<Request> {
        let Ioctl { code, input, .. } = ioctl;
        let output = blank(ioctl.output_len);
        match self {
            Self::Model(device) => Ok(Request::Model(device.submit(*code, input, output))),
            #[cfg(windows)]
            Self::Real(device) => device.submit(*code, input, output).map(Request::Real),
        }
    }

    /// Closes the handle, whether or not requests are pending.
    pub fn close(self) {
        drop(self);
    }

    /// Cancels every request of this handle (`CancelIoEx`); returns whether there was any.
    pub fn cancel_all(&self) -> Result<bool> {
        dispatch!(self.cancel_all())
    }

    /// Cancels every request that the calling thread sent through this handle (`CancelIo`).
    pub fn cancel_threads_own(&self) -> Result {
        dispatch!(self.cancel_threads_own())
    }
}

impl Request {
    /// Cancels the request (`CancelIoEx`); returns whether it was found.
    pub fn cancel(&self) -> Result<bool> {
        dispatch!(self.cancel())
    }

    /// Returns whether the request has ended.
    pub fn is_done(&self) -> bool {
        dispatch!(self.is_done())
    }

    /// Waits for the request to end; `None` if the timeout expires.
    pub fn wait(&self, timeout: Duration) -> Result<Option<Completion>> {
        dispatch!(self.wait(timeout))
    }
}
