//! What the steps are taken on.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use interlock::Interlock;
use interlock_abi::Counters;
use ntmodel::{Clock, Config, Driver, Kernel, OnViolation};

use super::run::run;
use super::step::{Plug, Step};
use crate::error::{Error, Result};
use crate::status::Status;
use crate::target::{Access, DEADLINE, Device};

/// A kernel with the driver loaded and its device there.
pub trait System {
    /// Opens the device; `None` where it does not open.
    fn open(&mut self, access: Access) -> Result<Option<Device>>;
    /// Does something to the device; says whether it is done.
    fn plug(&mut self, plug: Plug) -> Result<bool>;
    /// Lets a time pass.
    fn pass(&mut self, time: Duration) -> Result<()>;
}

/// The driver that is installed. Time passes by itself, and the device stays.
pub struct Installed;

impl System for Installed {
    fn open(&mut self, access: Access) -> Result<Option<Device>> {
        Device::open_with(access).map(Some)
    }

    fn plug(&mut self, _: Plug) -> Result<bool> {
        Err(Error::could_not_run(
            "this sequence removes the device: it runs on the model kernel alone",
        ))
    }

    fn pass(&mut self, time: Duration) -> Result<()> {
        if time < Duration::from_millis(1) {
            return Ok(());
        }
        Err(Error::could_not_run(
            "this sequence lets a certain time pass: it runs on the model kernel alone",
        ))
    }
}

/// A model kernel of the sequence's own, with a time of its own.
struct Model {
    kernel: Arc<Kernel>,
    driver: Driver,
    device: ntmodel::Device,
}

fn failed(what: &str, status: i32) -> Error {
    Error::failed(format!("{what}: {}", Status(status.cast_unsigned())))
}

impl Model {
    fn start(kernel: &Arc<Kernel>) -> Result<Self> {
        let driver = interlock_explore::load::<Interlock>(kernel);
        let driver = driver.map_err(|status| failed("DriverEntry", status))?;
        Ok(Self {
            kernel: Arc::clone(kernel),
            device: add_device(&driver)?,
            driver,
        })
    }
}

fn add_device(driver: &Driver) -> Result<ntmodel::Device> {
    let device = driver.add_device();
    let device = device.map_err(|status| failed("AddDevice", status))?;
    let started = device.start();
    started.map_err(|status| failed("IRP_MN_START_DEVICE", status))?;
    Ok(device)
}

impl System for Model {
    fn open(&mut self, access: Access) -> Result<Option<Device>> {
        Ok(Device::open_on(&self.device, access).ok())
    }

    fn plug(&mut self, plug: Plug) -> Result<bool> {
        match plug {
            Plug::QueryRemove => Ok(self.device.pnp(nt::IRP_MN_QUERY_REMOVE_DEVICE) >= 0),
            Plug::CancelRemove => Ok(self.device.pnp(nt::IRP_MN_CANCEL_REMOVE_DEVICE) >= 0),
            Plug::Remove => Ok(self.device.remove().is_ok()),
            Plug::TakeAway => {
                self.device.take_away();
                Ok(true)
            }
            Plug::BringBack => {
                let removed = self.device.is_removed();
                self.device = add_device(&self.driver)?;
                Ok(removed)
            }
        }
    }

    fn pass(&mut self, time: Duration) -> Result<()> {
        self.kernel.advance(time);
        Ok(())
    }
}

/// Runs a sequence on a model kernel of its own, and unloads the driver; gives what is told of each step.
///
/// A thread that breaks a rule of the kernel's never goes on, so the sequence has a thread of its own.
pub fn on_model(steps: Vec<Step>, processors: u32) -> Result<Vec<String>> {
    let kernel = Kernel::new(Config {
        processors,
        on_violation: OnViolation::Halt,
        clock: Clock::Virtual,
        print: false,
        ..Config::default()
    });
    let (sender, receiver) = mpsc::channel();
    let runner = Arc::clone(&kernel);
    thread::spawn(move || {
        let result = Model::start(&runner).and_then(|mut model| {
            let told = run(&mut model, &steps, Counters::default(), true)?;
            model.driver.unload();
            Ok(told)
        });
        // Nobody listens any more if this thread was given up.
        let _ = sender.send(result);
    });
    let deadline = Instant::now() + DEADLINE;
    loop {
        match receiver.recv_timeout(Duration::from_millis(20)) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::failed("the thread of the sequence has panicked"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(violation) = kernel.violation() {
            return Err(Error::failed(format!("\n{violation}")));
        }
        if Instant::now() > deadline {
            return Err(Error::failed("the sequence hangs"));
        }
    }
}
