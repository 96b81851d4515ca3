//! The systems that a sequence runs on.

use std::sync::Arc;
use std::time::Duration;

use interlock_abi::Counters;
use ntmodel::{Clock, Config, Kernel, OnViolation};

use super::run::run;
use super::step::{Pnp, Step};
use crate::cli::On;
use crate::client::Device;
use crate::error::{Error, Result};
use crate::target::{Access, DEADLINE, LoadedDriver, run_watched};

/// A kernel with the driver loaded and its device started.
pub trait System {
    /// Opens the device; `None` if it does not open.
    fn open(&mut self, access: Access) -> Result<Option<Device>>;
    /// Does what the PnP manager does; returns whether it succeeded.
    fn pnp(&mut self, pnp: Pnp) -> Result<bool>;
    /// Advances the clock.
    fn advance(&mut self, time: Duration) -> Result;
}

/// The installed driver. Its clock runs by itself, and its device is not removed.
pub struct Installed;

impl System for Installed {
    fn open(&mut self, access: Access) -> Result<Option<Device>> {
        Device::open_with(access).map(Some)
    }

    fn pnp(&mut self, _: Pnp) -> Result<bool> {
        Err(Error::could_not_run(
            "this sequence removes the device: it runs only on the model kernel",
        ))
    }

    fn advance(&mut self, time: Duration) -> Result {
        if time < Duration::from_millis(1) {
            return Ok(());
        }
        Err(Error::could_not_run(
            "this sequence advances the clock: it runs only on the model kernel",
        ))
    }
}

impl System for LoadedDriver {
    fn open(&mut self, access: Access) -> Result<Option<Device>> {
        Ok(Device::open_on(&self.device, access).ok())
    }

    fn pnp(&mut self, pnp: Pnp) -> Result<bool> {
        match pnp {
            Pnp::QueryRemove => Ok(self.device.pnp(nt::IRP_MN_QUERY_REMOVE_DEVICE) >= 0),
            Pnp::CancelRemove => Ok(self.device.pnp(nt::IRP_MN_CANCEL_REMOVE_DEVICE) >= 0),
            Pnp::Remove => Ok(self.device.remove().is_ok()),
            Pnp::SurpriseRemove => {
                self.device.surprise_remove();
                Ok(true)
            }
            Pnp::Restore => self.restore().map(|()| true),
        }
    }

    fn advance(&mut self, time: Duration) -> Result {
        self.kernel.advance(time);
        Ok(())
    }
}

/// Runs a sequence on a model kernel of its own, whose clock is virtual, and unloads the driver; returns the transcript.
pub fn on_model(steps: Vec<Step>, on: &On) -> Result<Vec<String>> {
    let kernel = Kernel::new(Config {
        processors: on.processors,
        on_violation: OnViolation::Halt,
        clock: Clock::Virtual,
        print: false,
        ..Config::default()
    });
    let watched = Arc::clone(&kernel);
    let stopped = || Some(format!("\n{}", watched.violation()?));
    let image = on.driver.clone();
    let result = run_watched(DEADLINE, stopped, move || {
        let mut loaded = LoadedDriver::load(&kernel, image.as_deref())?;
        let transcript = run(&mut loaded, &steps, Counters::default(), true)?;
        loaded.driver.unload();
        Ok(transcript)
    });
    result.unwrap_or_else(|| Err(Error::failed("the sequence did not end within the timeout")))
}
