//! What every scene sets up, and takes down again.

use std::{sync::Arc, time::Duration};

use ntmodel::{Access, Device, Driver, File, Kernel, Request};

/// How long a request may take. In an exploration nothing takes any time: what never ends is a hang, and found as one.
const LONG: Duration = Duration::from_secs(1);

/// A driver that was loaded, its started device and an open file of it.
pub struct Stage {
    kernel: Arc<Kernel>,
    driver: Driver,
    pub device: Device,
    pub file: Arc<File>,
}

impl Stage {
    /// Loads the driver of a device, and starts that.
    pub fn set<D: wdm::Device>(kernel: &Arc<Kernel>) -> Self {
        let driver = crate::load::<D>(kernel).expect("DriverEntry succeeds");
        let device = driver.add_device().expect("AddDevice succeeds");
        device.start().expect("the device starts");
        let file = device.open(Access::ReadWrite).expect("the device opens");
        Self {
            kernel: Arc::clone(kernel),
            driver,
            device,
            file: Arc::new(file),
        }
    }

    /// Sends an IOCTL without buffers.
    pub fn send(&self, code: u32) -> Request {
        self.file.device_control(code, &[], Vec::new())
    }

    /// Waits for a request's end, which must have one of the statuses.
    pub fn must_end(&self, request: &Request, allowed: &[i32]) -> i32 {
        let end = request.wait(LONG).map(|end| end.status);
        self.kernel
            .must(end.is_some_and(|end| allowed.contains(&end)), || {
                format!("a request ended with {end:#x?}, and may end with {allowed:#x?}")
            });
        end.unwrap_or_default()
    }

    /// Closes the file, removes the device unless it is gone, and unloads the driver, which must leave nothing behind.
    pub fn strike(self) {
        let file = Arc::into_inner(self.file);
        self.kernel
            .must(file.is_some(), || "an actor still has the file".into());
        drop(file);
        if !self.device.is_removed() {
            let removed = self.device.remove();
            self.kernel.must(removed.is_ok(), || {
                format!("the device is not removed: {removed:#x?}")
            });
        }
        let holds = self.kernel.holds();
        self.kernel.must(holds == 0, || {
            format!("the removed device is held {holds} times")
        });
        self.driver.unload();
    }
}
