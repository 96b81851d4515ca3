//! The kernel of this run, which is chosen once, before the first device is opened.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use clap::ValueEnum;

#[cfg(not(windows))]
use super::none;
use super::{Removal, RemovedDevice, model};
use crate::cli::On;
use crate::error::Result;
#[cfg(windows)]
use crate::win32;

/// A kernel to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// The model kernel, in this process, with the driver's own logic
    Model,
    /// The kernel of this system, with the driver that is installed there
    Device,
}

impl Default for Kernel {
    /// This system's own, if it is Windows or Wine.
    fn default() -> Self {
        if cfg!(windows) {
            Self::Device
        } else {
            Self::Model
        }
    }
}

static CHOSEN: OnceLock<Kernel> = OnceLock::new();

/// Returns the kernel of this run. Commands without the option use this system's own.
pub fn chosen() -> Kernel {
    CHOSEN.get().copied().unwrap_or(Kernel::Device)
}

/// Chooses the kernel. The model kernel is started and the driver loaded.
pub fn start(on: &On) -> Result<()> {
    // A command calls this once.
    let _ = CHOSEN.set(on.kernel());
    match on.kernel() {
        Kernel::Model => model::start(on),
        Kernel::Device => Ok(()),
    }
}

/// Ends the run. On the model kernel, removes the device and unloads the driver; a leak is an error.
pub fn stop() -> Result<()> {
    match chosen() {
        Kernel::Model => model::stop(),
        Kernel::Device => Ok(()),
    }
}

/// Returns the violation that stopped the model kernel.
pub fn stopped() -> Option<String> {
    match chosen() {
        Kernel::Model => model::stopped(),
        Kernel::Device => None,
    }
}

/// Returns the kernel's time, for measurements. The model kernel's may be ahead of this system's.
pub fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let model = (chosen() == Kernel::Model).then(model::now).flatten();
    model.unwrap_or_else(|| START.get_or_init(Instant::now).elapsed())
}

/// Returns the reason why the kernel does not support a second process, if it does not.
pub fn lacks_processes() -> Option<&'static str> {
    match chosen() {
        Kernel::Model => {
            Some("the model kernel runs in this process, so no other process can send it requests")
        }
        Kernel::Device => None,
    }
}

/// Removes the device while handles are open.
pub fn surprise_remove() -> Result<Removal> {
    match chosen() {
        Kernel::Model => model::surprise_remove(),
        #[cfg(windows)]
        Kernel::Device => win32::surprise_remove(),
        #[cfg(not(windows))]
        Kernel::Device => Err(none::no_device()),
    }
}

/// Restores the device that was removed.
pub fn restore(removed: &RemovedDevice) -> Result {
    match chosen() {
        Kernel::Model => model::restore(),
        #[cfg(windows)]
        Kernel::Device => win32::restore(removed),
        #[cfg(not(windows))]
        Kernel::Device => {
            let _ = removed;
            Err(none::no_device())
        }
    }
}
