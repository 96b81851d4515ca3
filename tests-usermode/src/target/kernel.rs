//! Which kernel this run is on: the choice is made once, before the first device is opened.

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
    /// This system's own, where it is Windows or Wine.
    fn default() -> Self {
        if cfg!(windows) {
            Self::Device
        } else {
            Self::Model
        }
    }
}

static CHOSEN: OnceLock<Kernel> = OnceLock::new();

/// The kernel of this run. Commands that cannot choose work on this system's own.
pub fn chosen() -> Kernel {
    CHOSEN.get().copied().unwrap_or(Kernel::Device)
}

/// Chooses the kernel; the model is started, and the driver loaded.
pub fn start(on: On) -> Result<()> {
    // One command is one run, so nobody has chosen before.
    let _ = CHOSEN.set(on.kernel);
    match on.kernel {
        Kernel::Model => model::start(on.processors),
        Kernel::Device => Ok(()),
    }
}

/// Ends the run: the model's device is removed and the driver unloaded, and what that leaves behind is a failure.
pub fn stop() -> Result<()> {
    match chosen() {
        Kernel::Model => model::stop(),
        Kernel::Device => Ok(()),
    }
}

/// Why the system has stopped, if it has and can still be asked.
pub fn stopped() -> Option<String> {
    match chosen() {
        Kernel::Model => model::stopped(),
        Kernel::Device => None,
    }
}

/// The kernel's time, to measure from: the model's may be ahead of this system's.
pub fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let model = (chosen() == Kernel::Model).then(model::now).flatten();
    model.unwrap_or_else(|| START.get_or_init(Instant::now).elapsed())
}

/// Why there can be no second process, if there can be none.
pub fn lacks_processes() -> Option<&'static str> {
    match chosen() {
        Kernel::Model => {
            Some("the model kernel is in this process, so no other one can have requests in it")
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
