//! Handles and requests, of whichever kernel the run is on.

#![cfg_attr(
    not(windows),
    expect(
        clippy::unnecessary_wraps,
        reason = "what cannot fail on the model can fail on Windows"
    )
)]

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
    /// On the model.
    Model(model::Device),
    /// On this system's own kernel.
    #[cfg(windows)]
    Real(win32::Device),
}

/// A request that was sent. Dropping one that has not ended cancels it.
#[derive(Debug)]
pub enum Request {
    /// On the model.
    Model(model::Request),
    /// On this system's own kernel.
    #[cfg(windows)]
    Real(win32::Request),
}

impl Device {
    /// Opens the device with read and write access.
    pub fn open() -> Result<Self> {
        Self::open_with(Access::ReadWrite)
    }

    /// Opens the device with the access named.
    pub fn open_with(access: Access) -> Result<Self> {
        match chosen() {
            Kernel::Model => model::Device::open(access).map(Self::Model),
            #[cfg(windows)]
            Kernel::Device => win32::Device::open_with(access).map(Self::Real),
            #[cfg(not(windows))]
            Kernel::Device => Err(none::no_device()),
        }
    }

    /// Opens a device of a model kernel that is not the run's own.
    pub fn open_on(device: &ntmodel::Device, access: Access) -> Result<Self> {
        model::Device::open_on(device, access).map(Self::Model)
    }

    /// Sends a request, which may end at once, later, or when it is cancelled.
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

    /// Cancels every request of this handle; returns whether there was any.
    pub fn cancel_all(&self) -> Result<bool> {
        match self {
            Self::Model(device) => Ok(device.cancel_all()),
            #[cfg(windows)]
            Self::Real(device) => device.cancel_all(),
        }
    }

    /// Cancels every request that the calling thread sent through this handle.
    pub fn cancel_threads_own(&self) -> Result<()> {
        match self {
            Self::Model(device) => {
                device.cancel_threads_own();
                Ok(())
            }
            #[cfg(windows)]
            Self::Real(device) => device.cancel_threads_own(),
        }
    }
}

impl Request {
    /// Asks for this request's cancellation; returns whether it was still there to be cancelled.
    pub fn cancel(&self) -> Result<bool> {
        match self {
            Self::Model(request) => Ok(request.cancel()),
            #[cfg(windows)]
            Self::Real(request) => request.cancel(),
        }
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Model(request) => request.is_done(),
            #[cfg(windows)]
            Self::Real(request) => request.is_done(),
        }
    }

    /// Waits for its end; `None` when it does not come in time.
    pub fn wait(&self, timeout: Duration) -> Result<Option<Completion>> {
        match self {
            Self::Model(request) => request.wait(timeout),
            #[cfg(windows)]
            Self::Real(request) => request.wait(timeout),
        }
    }
}
