//! The model kernel in this process, with the driver's own logic loaded into it.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use interlock::Interlock;
use ntmodel::{Config, Driver, OnViolation};

use super::{Access, Completion, DEADLINE, Gone, TakenAway};
use crate::error::{Error, Result};
use crate::status::Status;

/// The system, and what was loaded into it.
#[derive(Debug)]
struct Machine {
    kernel: std::sync::Arc<ntmodel::Kernel>,
    /// There until the run ends.
    driver: Mutex<Option<Driver>>,
    device: Mutex<ntmodel::Device>,
}

static MACHINE: OnceLock<Machine> = OnceLock::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn machine() -> Result<&'static Machine> {
    let machine = MACHINE.get();
    machine.ok_or_else(|| Error::could_not_run("the model kernel was not started"))
}

/// An NTSTATUS as a failure of `what`.
fn failed(what: &str, status: i32) -> Error {
    Error::failed(format!("{what}: {}", Status(status.cast_unsigned())))
}

/// Starts the system, loads the driver and adds its device.
pub fn start(processors: u32) -> Result<()> {
    let kernel = ntmodel::Kernel::new(Config {
        processors,
        on_violation: OnViolation::Halt,
        check_lists: false,
        print: false,
        ..Config::default()
    });
    let driver = interlock_explore::load::<Interlock>(&kernel);
    let driver = driver.map_err(|status| failed("DriverEntry", status))?;
    let device = add_device(&driver)?;
    let machine = Machine {
        kernel,
        driver: Mutex::new(Some(driver)),
        device: Mutex::new(device),
    };
    // It is started once, by the command that runs on it.
    let _ = MACHINE.set(machine);
    Ok(())
}

/// The time of the system.
pub fn now() -> Option<Duration> {
    Some(MACHINE.get()?.kernel.now())
}

fn add_device(driver: &Driver) -> Result<ntmodel::Device> {
    let device = driver.add_device();
    let device = device.map_err(|status| failed("AddDevice", status))?;
    let started = device.start();
    started.map_err(|status| failed("IRP_MN_START_DEVICE", status))?;
    Ok(device)
}

/// Removes the device and unloads the driver. What it leaves behind is found by the model.
pub fn stop() -> Result<()> {
    let machine = machine()?;
    if let (None, Some(driver)) = (stopped(), lock(&machine.driver).take()) {
        let removed = lock(&machine.device).remove();
        removed.map_err(|status| failed("the device is not removed", status))?;
        // A violation stops the thread that it is found in.
        let unloading = std::thread::spawn(|| driver.unload());
        while !unloading.is_finished() && stopped().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    stopped().map_or(Ok(()), |violation| Err(Error::failed(violation)))
}

/// The violation that the system has stopped for.
pub fn stopped() -> Option<String> {
    let violation = MACHINE.get()?.kernel.violation()?;
    Some(format!("\n{violation}"))
}

/// Takes the device away under its users.
pub fn take_away() -> Result<TakenAway> {
    lock(&machine()?.device).take_away();
    Ok(TakenAway::Gone(Gone::Model))
}

/// Adds the device again, once the one that was taken away is gone.
pub fn bring_back() -> Result<()> {
    let machine = machine()?;
    let mut device = lock(&machine.device);
    if !device.is_removed() {
        return Err(Error::failed(
            "the device that was taken away is still there",
        ));
    }
    if let Some(driver) = &*lock(&machine.driver) {
        *device = add_device(driver)?;
    }
    Ok(())
}

/// An open file.
#[derive(Debug)]
pub struct Device(ntmodel::File);

impl Device {
    /// Opens the device.
    pub fn open(access: Access) -> Result<Self> {
        let device = lock(&machine()?.device).clone();
        Self::open_on(&device, access)
    }

    /// Opens a device of any model kernel.
    pub fn open_on(device: &ntmodel::Device, access: Access) -> Result<Self> {
        let access = match access {
            Access::Read => ntmodel::Access::Read,
            Access::Write => ntmodel::Access::Write,
            Access::ReadWrite => ntmodel::Access::ReadWrite,
        };
        let file = device.open(access);
        file.map(Self)
            .map_err(|status| failed("the device does not open", status))
    }

    /// Sends a request.
    pub fn submit(&self, code: u32, input: &[u8], output: Vec<u8>) -> Request {
        Request(self.0.device_control(code, input, output))
    }

    /// Cancels every request of this file; returns whether there was any.
    pub fn cancel_all(&self) -> bool {
        self.0.cancel_all()
    }

    /// Cancels every request that the calling thread sent.
    pub fn cancel_threads_own(&self) {
        self.0.cancel_threads_own();
    }
}

/// A request. Dropping one that has not ended cancels it and waits for its end.
#[derive(Debug)]
pub struct Request(ntmodel::Request);

impl Request {
    /// Asks for its cancellation; returns whether it was still there.
    pub fn cancel(&self) -> bool {
        self.0.cancel()
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        self.0.is_done()
    }

    /// Waits for its end; `None` when it does not come in time.
    pub fn wait(&self, timeout: Duration) -> Result<Option<Completion>> {
        let ended = self.0.wait(timeout).map(|end| Completion {
            status: Status(end.status.cast_unsigned()),
            information: end.information,
            output: end.output,
        });
        match (ended, stopped()) {
            (None, Some(violation)) => Err(Error::failed(violation)),
            (ended, _) => Ok(ended),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.0.is_done() && stopped().is_none() {
            self.0.cancel();
            // Whether it ends is for the scenario to say.
            let _ = self.0.wait(DEADLINE);
        }
    }
}
