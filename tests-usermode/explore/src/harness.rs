//! The driver, device and file of a test.

use std::{cell::Cell, sync::Arc, time::Duration};

use interlock_abi::{Pend, Pended, ioctl};
use nt::{STATUS_CANCELLED, STATUS_SUCCESS};
use ntmodel::{Access, Device, Driver, File, Kernel, Request, explore::Actor};
use zerocopy::IntoBytes;

/// The IOCTLs of the tests' drivers: keep this request pending; complete the oldest pending request.
///
/// A driver whose requests have keys adds four times the key to `PEND`.
pub const PEND: u32 = 0x22_2000;
pub const COMPLETE: u32 = 0x22_3000;

/// How long a request may take. An exploration takes no time: it reports a request that is never completed as a hang.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A loaded driver, its started device and an open file.
pub struct Harness {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    driver: Driver,
    /// The device.
    pub device: Device,
    /// The file.
    pub file: Arc<File>,
    /// Whether the device was removed by surprise, so that it is removed with its last file.
    is_unplugged: Cell<bool>,
}

impl Harness {
    /// Starts the device of a driver, and opens it by its interface.
    ///
    /// # Panics
    /// One of the steps fails.
    #[must_use]
    pub fn new(kernel: &Arc<Kernel>, driver: Result<Driver, i32>) -> Self {
        Self::open_by(kernel, driver, Device::open)
    }

    /// Starts the device of a driver, and opens it by a function.
    pub(crate) fn open_by(
        kernel: &Arc<Kernel>,
        driver: Result<Driver, i32>,
        open: fn(&Device, Access) -> Result<File, i32>,
    ) -> Self {
        let driver = driver.expect("DriverEntry succeeds");
        let device = driver.add_device().expect("AddDevice succeeds");
        device.start().expect("the device starts");
        Self {
            kernel: Arc::clone(kernel),
            driver,
            file: Arc::new(open(&device, Access::ReadWrite).expect("the device opens")),
            device,
            is_unplugged: Cell::new(false),
        }
    }

    /// Runs a test with the device of a driver on `wdm`, which is removed afterwards.
    pub fn run<D: wdm::Device>(kernel: &Arc<Kernel>, test: impl FnOnce(&Self)) {
        let harness = Self::new(kernel, crate::load::<D>(kernel));
        test(&harness);
        harness.tear_down();
    }

    /// Opens another file.
    ///
    /// # Panics
    /// The device does not open.
    #[must_use]
    pub fn open(&self) -> Arc<File> {
        let file = self.device.open(Access::ReadWrite);
        Arc::new(file.expect("the device opens"))
    }

    /// Sends an IOCTL without buffers.
    pub(crate) fn send(&self, code: u32) -> Request {
        send(&self.file, code)
    }

    /// Sends [`COMPLETE`]; returns whether a request was pending.
    pub(crate) fn complete(&self) -> bool {
        self.send(COMPLETE).answer() == STATUS_SUCCESS
    }

    /// Completes every pending request.
    pub(crate) fn complete_all(&self) {
        while self.complete() {}
    }

    /// Starts a thread that uses a value of the test, such as a file.
    pub fn actor<V: Send + Sync + 'static, T: Send + 'static>(
        &self,
        name: &'static str,
        value: &Arc<V>,
        part: impl FnOnce(&V) -> T + Send + 'static,
    ) -> Actor<T> {
        actor(&self.kernel, name, value, part)
    }

    /// Removes the device by surprise.
    pub fn surprise_remove(&self) {
        self.is_unplugged.set(true);
        self.device.surprise_remove();
    }

    /// Starts a thread that removes the device by surprise.
    #[must_use]
    pub fn remover(&self) -> Actor<()> {
        self.is_unplugged.set(true);
        let device = self.device.clone();
        let remove = move || device.surprise_remove();
        self.kernel.actor("PnP manager", remove)
    }

    /// Checks a condition of the test.
    pub fn verify(&self, holds: bool, what: impl FnOnce() -> String) {
        self.kernel.verify(holds, what);
    }

    /// Waits for a request to end, and checks that its status is one of these; returns the status.
    pub fn end(&self, request: &Request, allowed: &[i32]) -> i32 {
        let end = request.wait(TIMEOUT).map(|end| end.status);
        self.verify(end.is_some_and(|end| allowed.contains(&end)), || {
            format!("a request ended with {end:#x?}, but may end only with {allowed:#x?}")
        });
        end.unwrap_or_default()
    }

    /// Closes the file, removes the device unless it was removed by surprise, and unloads the driver, after which the model checks
    /// for leaks.
    pub fn tear_down(self) {
        let file = Arc::into_inner(self.file);
        let kernel = &self.kernel;
        kernel.verify(file.is_some(), || "an actor still uses the file".into());
        drop(file);
        if !self.is_unplugged.get() {
            let removed = self.device.remove();
            kernel.verify(removed.is_ok(), || {
                format!("the removal of the device failed: {removed:#x?}")
            });
        }
        kernel.verify(self.device.is_removed(), || {
            "the device was not removed with its last file".into()
        });
        let holds = kernel.holds();
        kernel.verify(holds == 0, || {
            format!("the remove lock of the removed device has {holds} holds")
        });
        self.driver.unload();
    }
}

/// Starts a thread that uses a value of the test.
pub fn actor<V: Send + Sync + 'static, T: Send + 'static>(
    kernel: &Arc<Kernel>,
    name: &'static str,
    value: &Arc<V>,
    part: impl FnOnce(&V) -> T + Send + 'static,
) -> Actor<T> {
    let value = Arc::clone(value);
    kernel.actor(name, move || part(&value))
}

/// Sends an IOCTL without buffers through a file.
pub fn send(file: &File, code: u32) -> Request {
    file.device_control(code, &[], Vec::new())
}

/// Sends a `PEND` request to `interlock.sys`.
#[must_use]
pub fn pend(file: &File, pend: Pend) -> Request {
    file.device_control(ioctl::PEND, pend.as_bytes(), vec![0; size_of::<Pended>()])
}

/// Returns the status of a request that is cancelled if it was not completed.
pub fn status_if(completed: bool) -> i32 {
    if completed {
        STATUS_SUCCESS
    } else {
        STATUS_CANCELLED
    }
}
