//! The model kernel in this process, with the driver's logic loaded into it.

#![expect(clippy::unnecessary_wraps, reason = "these can fail on Windows")]

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use interlock::Interlock;
use ntmodel::{Config, Driver, Image, Kernel, OnViolation};

use super::{Access, Completion, DEADLINE, Removal, RemovedDevice};
use crate::cli::On;
use crate::error::{Error, Result};
use crate::status::Status;

/// The driver loaded into a model kernel, and its device, which is started.
#[derive(Debug)]
pub struct LoadedDriver {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// The driver.
    pub driver: Driver,
    /// The device.
    pub device: ntmodel::Device,
}

impl LoadedDriver {
    /// Loads the driver, from an image or as part of this program, and adds its device.
    pub fn load(kernel: &Arc<Kernel>, image: Option<&Path>) -> Result<Self> {
        let driver = match image {
            Some(path) => load_image(kernel, path)?,
            None => interlock_explore::load::<Interlock>(kernel),
        };
        let driver = driver.map_err(|status| failed("DriverEntry", status))?;
        Ok(Self {
            kernel: Arc::clone(kernel),
            device: add_device(&driver)?,
            driver,
        })
    }

    /// Adds a device in place of the one that was removed; fails if that is still there.
    pub fn restore(&mut self) -> Result {
        if !self.device.is_removed() {
            return Err(Error::failed("the removed device still exists"));
        }
        self.device = add_device(&self.driver)?;
        Ok(())
    }
}

fn load_image(kernel: &Arc<Kernel>, path: &Path) -> Result<Result<Driver, i32>> {
    let image = Image::load(path)
        .map_err(|error| Error::could_not_run(format!("{}: {error}", path.display())))?;
    #[expect(unsafe_code, reason = "the code of an image cannot be checked")]
    // SAFETY: the user has named the image as a driver's.
    Ok(unsafe { Driver::load_image(kernel, image) })
}

fn add_device(driver: &Driver) -> Result<ntmodel::Device> {
    let device = driver.add_device();
    let device = device.map_err(|status| failed("AddDevice", status))?;
    let started = device.start();
    started.map_err(|status| failed("IRP_MN_START_DEVICE", status))?;
    Ok(device)
}

fn failed(what: &str, status: i32) -> Error {
    Error::failed(format!("{what}: {}", Status(status.cast_unsigned())))
}

/// Runs `work` on a thread of its own, since a thread that breaks a rule of the kernel never returns; `stopped` returns the
/// violation. `None` if the timeout expires.
///
/// The thread has ended when its result is returned: a process that ends while one of its threads does can crash under Wine.
pub fn run_watched<T: Send + 'static>(
    timeout: Duration,
    stopped: impl Fn() -> Option<String>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Option<Result<T>> {
    const INTERVAL: Duration = Duration::from_millis(20);
    let (sender, receiver) = mpsc::channel();
    // After the timeout nothing receives the result.
    let thread = thread::spawn(move || drop(sender.send(work())));
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        match receiver.recv_timeout(left.min(INTERVAL)) {
            Ok(result) => {
                // A thread that has sent its result does not panic.
                let _ = thread.join();
                return Some(result);
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Some(Err(Error::failed("the thread panicked")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(violation) = stopped() {
            return Some(Err(Error::failed(violation)));
        }
        if left.is_zero() {
            return None;
        }
    }
}

/// The kernel of this run.
#[derive(Debug)]
struct Machine {
    kernel: Arc<Kernel>,
    /// `None` after the run.
    loaded: Mutex<Option<LoadedDriver>>,
}

static MACHINE: OnceLock<Machine> = OnceLock::new();

fn with_driver<T>(work: impl FnOnce(&mut LoadedDriver) -> Result<T>) -> Result<T> {
    let not_started = || Error::could_not_run("the model kernel was not started");
    let machine = MACHINE.get().ok_or_else(not_started)?;
    let mut loaded = machine
        .loaded
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    work(loaded.as_mut().ok_or_else(not_started)?)
}

/// Starts to measure how long spin locks are held.
pub fn measure_holds() -> Result {
    with_driver(|loaded| {
        loaded.kernel.measure_holds();
        Ok(())
    })
}

/// Returns the longest hold of each spin lock since [`measure_holds`], the longest first, with code that releases the lock.
pub fn longest_holds() -> Result<Vec<(Duration, String)>> {
    with_driver(|loaded| Ok(loaded.kernel.longest_holds()))
}

/// Starts the kernel, loads the driver and adds its device.
pub fn start(on: &On) -> Result {
    let kernel = Kernel::new(Config {
        processors: on.processors,
        on_violation: OnViolation::Halt,
        check_lists: false,
        print: false,
        ..Config::default()
    });
    let load = {
        let (kernel, driver) = (Arc::clone(&kernel), on.driver.clone());
        move || LoadedDriver::load(&kernel, driver.as_deref())
    };
    let loaded = run_watched(Duration::MAX, || stopped_by(&kernel), load);
    let loaded = Mutex::new(loaded.transpose()?);
    // A command starts it once.
    let _ = MACHINE.set(Machine { kernel, loaded });
    Ok(())
}

/// Returns the kernel's time.
pub fn now() -> Option<Duration> {
    Some(MACHINE.get()?.kernel.now())
}

/// Removes the device and unloads the driver, which makes the kernel check for leaks.
pub fn stop() -> Result {
    let unload = || {
        with_driver(|loaded| {
            let removed = loaded.device.remove();
            removed.map_err(|status| failed("the device is not removed", status))
        })?;
        let machine = MACHINE.get();
        let loaded = machine.and_then(|machine| machine.loaded.lock().ok()?.take());
        if let Some(loaded) = loaded {
            loaded.driver.unload();
        }
        Ok(())
    };
    if stopped().is_none() {
        run_watched(Duration::MAX, stopped, unload).unwrap_or(Ok(()))?;
    }
    stopped().map_or(Ok(()), |violation| Err(Error::failed(violation)))
}

/// Returns the violation that stopped the kernel.
pub fn stopped() -> Option<String> {
    stopped_by(&MACHINE.get()?.kernel)
}

fn stopped_by(kernel: &Kernel) -> Option<String> {
    Some(format!("\n{}", kernel.violation()?))
}

/// Removes the device while handles are open.
pub fn surprise_remove() -> Result<Removal> {
    with_driver(|loaded| {
        loaded.device.surprise_remove();
        Ok(Removal::Removed(RemovedDevice::Model))
    })
}

/// Adds a device in place of the one that was removed.
pub fn restore() -> Result {
    with_driver(LoadedDriver::restore)
}

/// An open file.
#[derive(Debug)]
pub struct Device(ntmodel::File);

impl Device {
    /// Opens the device.
    pub fn open(access: Access) -> Result<Self> {
        let device = with_driver(|loaded| Ok(loaded.device.clone()))?;
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
    pub fn cancel_all(&self) -> Result<bool> {
        Ok(self.0.cancel_all())
    }

    /// Cancels every request that the calling thread sent.
    pub fn cancel_threads_own(&self) -> Result {
        self.0.cancel_threads_own();
        Ok(())
    }
}

/// A request. Dropping one that has not ended cancels it and waits for its end.
#[derive(Debug)]
pub struct Request(ntmodel::Request);

impl Request {
    /// Cancels the request; returns whether it was found.
    pub fn cancel(&self) -> Result<bool> {
        Ok(self.0.cancel())
    }

    /// Returns whether the request has ended.
    pub fn is_done(&self) -> bool {
        self.0.is_done()
    }

    /// Waits for the request to end; `None` if the timeout expires.
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
            // The scenario checks whether it ends.
            let _ = self.0.wait(DEADLINE);
        }
    }
}
