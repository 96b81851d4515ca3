//! The driver, device and file of a test.

use std::{sync::Arc, time::Duration};

use nt::{STATUS_CANCELLED, STATUS_SUCCESS};
use ntmodel::{Access, Device, Driver, File, Kernel, Request, explore::Actor};

/// The IOCTLs of the tests' drivers: keep this request pending; complete the oldest pending request.
///
/// A driver whose requests have keys adds four times the key to `PEND`.
pub const PEND: u32 = 0x22_2000;
pub const COMPLETE: u32 = 0x22_3000;

/// How long a request may take. An exploration takes no time: it reports a request that is never completed as a hang.
const LONG: Duration = Duration::from_secs(1);

/// A loaded driver, its started device and an open file.
pub struct Harness {
    kernel: Arc<Kernel>,
    driver: Driver,
    pub device: Device,
    pub file: Arc<File>,
}

impl Harness {
    /// Loads a driver on `wdm`, and starts and opens its device.
    pub fn new<D: wdm::Device>(kernel: &Arc<Kernel>) -> Self {
        Self::with_driver(kernel, crate::load::<D>(kernel))
    }

    /// Starts and opens the device of a driver.
    pub fn with_driver(kernel: &Arc<Kernel>, driver: Result<Driver, i32>) -> Self {
        let driver = driver.expect("DriverEntry succeeds");
        let device = driver.add_device().expect("AddDevice succeeds");
        device.start().expect("the device starts");
        Self {
            kernel: Arc::clone(kernel),
            driver,
            file: open(&device),
            device,
        }
    }

    /// Opens another file.
    pub fn open(&self) -> Arc<File> {
        open(&self.device)
    }

    /// Sends an IOCTL without buffers.
    pub fn send(&self, code: u32) -> Request {
        send(&self.file, code)
    }

    /// Sends [`COMPLETE`]; returns whether a request was pending.
    pub fn complete(&self) -> bool {
        self.send(COMPLETE).answer() == STATUS_SUCCESS
    }

    /// Starts a thread that uses a file.
    pub fn actor<T: Send + 'static>(
        &self,
        name: &'static str,
        file: &Arc<File>,
        part: impl FnOnce(&File) -> T + Send + 'static,
    ) -> Actor<T> {
        let file = Arc::clone(file);
        self.kernel.actor(name, move || part(&file))
    }

    /// Waits for a request to end, and checks that its status is one of these; returns the status.
    pub fn end(&self, request: &Request, allowed: &[i32]) -> i32 {
        let end = request.wait(LONG).map(|end| end.status);
        self.kernel
            .verify(end.is_some_and(|end| allowed.contains(&end)), || {
                format!("a request ended with {end:#x?}, but may end only with {allowed:#x?}")
            });
        end.unwrap_or_default()
    }

    /// Closes the file, removes the device if it was not removed, and unloads the driver, after which the model checks for
    /// leaks.
    pub fn tear_down(self) {
        let file = Arc::into_inner(self.file);
        self.kernel
            .verify(file.is_some(), || "an actor still uses the file".into());
        drop(file);
        if !self.device.is_removed() {
            let removed = self.device.remove();
            self.kernel.verify(removed.is_ok(), || {
                format!("the removal of the device failed: {removed:#x?}")
            });
        }
        let holds = self.kernel.holds();
        self.kernel.verify(holds == 0, || {
            format!("the remove lock of the removed device has {holds} holds")
        });
        self.driver.unload();
    }
}

/// Sends an IOCTL without buffers through a file.
pub fn send(file: &File, code: u32) -> Request {
    file.device_control(code, &[], Vec::new())
}

/// Returns the status of a request that is cancelled if it was not completed.
pub fn status_if(completed: bool) -> i32 {
    if completed {
        STATUS_SUCCESS
    } else {
        STATUS_CANCELLED
    }
}

fn open(device: &Device) -> Arc<File> {
    let file = device.open_anyway(Access::ReadWrite);
    Arc::new(file.expect("the device opens"))
}
