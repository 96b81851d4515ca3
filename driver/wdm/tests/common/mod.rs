//! A driver on the model kernel, driven step by step by one thread.

// No test program uses all of it.
#![allow(dead_code)]

use std::{cell::RefCell, collections::HashMap, env, process::Command, rc::Rc, sync::Arc};

use ntmodel::{Access, Clock, Config, Device, Driver, File, Kernel, Request};
use wdm::QueueCallbacks;

/// Callbacks that do nothing; with `LOOKUP`, the queue finds its IRPs by key.
#[derive(Default)]
pub struct Quiet<const LOOKUP: bool = false>;

impl<const LOOKUP: bool> QueueCallbacks for Quiet<LOOKUP> {
    type Record = ();

    const LOOKUP: bool = LOOKUP;
}

/// Makes a kernel for one thread, which aborts the test at a violation.
pub fn kernel() -> Arc<Kernel> {
    Kernel::new(Config {
        clock: Clock::Virtual,
        ..Config::default()
    })
}

/// Loads a driver on `wdm`.
pub fn load<D: wdm::Device>(kernel: &Arc<Kernel>) -> Driver {
    // SAFETY: the entry point is that of a driver on wdm.
    unsafe { Driver::load(kernel, wdm::entry::<D>) }.expect("DriverEntry")
}

/// Loads a filter driver on `wdm`.
pub fn load_filter<F: wdm::Filter>(kernel: &Arc<Kernel>) -> Driver {
    // SAFETY: as above.
    unsafe { Driver::load(kernel, wdm::filter_entry::<F>) }.expect("DriverEntry")
}

/// Loads a driver, and adds and starts its device.
pub fn start<D: wdm::Device>(kernel: &Arc<Kernel>) -> (Driver, Device) {
    let driver = load::<D>(kernel);
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    (driver, device)
}

/// A loaded driver, its device and its open files.
pub struct Loaded {
    pub kernel: Arc<Kernel>,
    pub device: Device,
    files: RefCell<HashMap<u32, Rc<File>>>,
    driver: Driver,
}

impl Loaded {
    /// Calls `DriverEntry` and AddDevice.
    pub fn new<D: wdm::Device>() -> Self {
        let kernel = kernel();
        let driver = load::<D>(&kernel);
        let device = driver.add_device().expect("AddDevice");
        Self {
            kernel,
            device,
            files: RefCell::default(),
            driver,
        }
    }

    /// Sends an IOCTL through a file, which is opened first if it is not open.
    pub fn send(&self, code: u32, file: u32) -> Request {
        self.file(file).device_control(code, &[], Vec::new())
    }

    fn file(&self, number: u32) -> Rc<File> {
        let mut files = self.files.borrow_mut();
        let file = files.entry(number).or_insert_with(|| {
            let file = self.device.open_anyway(Access::ReadWrite);
            Rc::new(file.expect("the device opens"))
        });
        Rc::clone(file)
    }

    /// Sends a request through a file, and checks that it is pending.
    pub fn pend(&self, code: u32, file: u32) -> Request {
        let request = self.send(code, file);
        assert_eq!(request.answer(), nt::STATUS_PENDING);
        request
    }

    /// Closes a file: `IRP_MJ_CLEANUP`, and `IRP_MJ_CLOSE` after its last request is completed.
    pub fn close(&self, file: u32) {
        let file = self.files.borrow_mut().remove(&file);
        assert!(file.is_some(), "it is open");
    }

    /// Closes a file's handle (`IRP_MJ_CLEANUP`) and keeps the file open for a system call that is in progress.
    pub fn clean_up(&self, file: u32) {
        self.file(file).close_handle();
    }

    /// Cancels every request of a file.
    pub fn cancel_all(&self, file: u32) {
        self.file(file).cancel_all();
    }

    /// Returns the number of holds of the device's remove lock.
    pub fn holds(&self) -> i32 {
        self.kernel.holds()
    }

    /// Closes all files, removes the device if it was not removed, unloads the driver, and checks for leaks.
    pub fn unload(self) {
        self.files.borrow_mut().clear();
        if !self.device.is_removed() {
            self.device.remove().expect("no file is open");
        }
        self.driver.unload();
    }
}

/// Runs an attack in a child process, and checks that the model stops it with a message.
pub fn stops(name: &str, with: &str, attempt: impl FnOnce()) {
    const CHILD: &str = "ATTACK_IN_THIS_PROCESS";
    if env::var_os(CHILD).is_some() {
        attempt();
        return;
    }
    let child = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("this program runs");
    let printed = String::from_utf8_lossy(&child.stderr);
    assert!(
        !child.status.success() && printed.contains(with),
        "{printed}"
    );
}

/// Loads a driver, runs a scenario, and unloads the driver, which is checked for leaks.
pub fn with_driver<D: wdm::Device>(kernel: &Arc<Kernel>, scenario: impl FnOnce(&Driver)) {
    let driver = load::<D>(kernel);
    scenario(&driver);
    driver.unload();
}

/// Like [`with_driver`], with an open file of a device, which is removed if the scenario does not remove it.
pub fn with_file<D: wdm::Device>(kernel: &Arc<Kernel>, scenario: impl FnOnce(&Device, &Arc<File>)) {
    with_driver::<D>(kernel, |driver| {
        let device = driver.add_device().expect("AddDevice");
        let file = device.open_anyway(Access::ReadWrite);
        let file = Arc::new(file.expect("the device opens"));
        scenario(&device, &file);
        let file = Arc::into_inner(file).expect("no other thread has the file");
        file.close();
        if !device.is_removed() {
            device.remove().expect("no file is open");
        }
    });
}

/// A device with a lower and an upper driver, both on `wdm`.
pub struct Stack {
    below: Driver,
    pub above: Driver,
    pub device: Device,
}

impl Stack {
    /// Adds a device of the lower driver, and a filter driver above it.
    pub fn with_filter(below: Driver, above: Driver) -> Self {
        Self::new(below, above, Driver::add_filter)
    }

    /// Adds a device of a lower filter driver, and a function driver above it.
    pub fn with_function(below: Driver, above: Driver) -> Self {
        Self::new(below, above, Driver::add_function)
    }

    fn new(
        below: Driver,
        above: Driver,
        add: impl FnOnce(&Driver, &Device) -> Result<(), i32>,
    ) -> Self {
        let device = below.add_device().expect("AddDevice");
        add(&above, &device).expect("AddDevice");
        Self {
            below,
            above,
            device,
        }
    }

    /// Starts the device.
    pub fn started(self) -> Self {
        self.device.start().expect("the device starts");
        self
    }

    /// Opens the device.
    pub fn open(&self) -> File {
        self.device
            .open(Access::ReadWrite)
            .expect("the device opens")
    }

    /// Removes the device if it was not removed, unloads both drivers, and checks for leaks.
    pub fn unload(self) {
        if !self.device.is_removed() {
            self.device.remove().expect("no file is open");
        }
        drop(self.device);
        self.above.unload();
        self.below.unload();
    }
}
