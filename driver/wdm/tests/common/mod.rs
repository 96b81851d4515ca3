//! A driver on the model kernel, driven step by step by one thread.

// No test program uses all of it.
#![allow(dead_code)]

use std::{
    cell::RefCell, collections::HashMap, env, process::Command, rc::Rc, sync::Arc, time::Duration,
};

use ntmodel::{Access, Clock, Completion, Config, Device, Driver, Faults, File, Kernel, Request};
use pinned_init::PinInit;
use wdm::{
    DeviceObject, Error, Guid, Handled, Irp, NewDevice, PassiveLevel, QueueCallbacks, Shared,
    SpinLock,
    ctl_code::{Access as Right, Method, UNKNOWN_DEVICE, ctl_code},
};

/// Callbacks that do nothing; with `LOOKUP`, the queue finds its IRPs by key.
#[derive(Default)]
pub struct Quiet<const LOOKUP: bool = false>;

impl<const LOOKUP: bool> QueueCallbacks for Quiet<LOOKUP> {
    type Record = ();

    const LOOKUP: bool = LOOKUP;
}

/// The state of a device that handles device controls, for tests that do not test [`wdm::Device`] itself.
pub trait Controls: Send + Sync + Sized + 'static {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error>;

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp>;

    fn remove(&self, _: &mut PassiveLevel) {}
}

/// The device with a state.
pub struct Controlled<C>(C);

impl<C: Controls> wdm::Device for Controlled<C> {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(C::add(device, irql)?)))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        self.0.control(irp, irql)
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        self.0.remove(irql);
    }
}

/// A slot for a request, a thread or another value that a device keeps.
pub type Place<T> = Shared<SpinLock<Option<T>>>;

/// Makes an empty slot.
pub fn place<T: Send + 'static>(
    owner: &DeviceObject,
    irql: &mut PassiveLevel,
) -> Result<Place<T>, Error> {
    Shared::new(SpinLock::new(None), owner, irql)
}

/// Makes a kernel for one thread, which aborts the test at a violation.
pub fn kernel() -> Arc<Kernel> {
    Kernel::new(Config {
        clock: Clock::Virtual,
        ..Config::default()
    })
}

/// Makes such a kernel whose allocations and steps fail as `Faults` selects.
pub fn kernel_with_faults() -> (Arc<Faults>, Arc<Kernel>) {
    let faults = Arc::new(Faults::default());
    let kernel = Kernel::new(Config {
        clock: Clock::Virtual,
        faults: Some(Arc::clone(&faults)),
        ..Config::default()
    });
    (faults, kernel)
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
pub fn start<D: wdm::Device>(kernel: &Arc<Kernel>) -> Stack {
    Stack::new(load::<D>(kernel)).started()
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

/// Returns how a request ends. The timeout is only reached if it never ends.
pub fn end(request: &Request) -> Completion {
    let end = request.wait(Duration::from_secs(20));
    end.expect("the request ends")
}

/// The status with which a request ends.
pub fn status(request: &Request) -> i32 {
    end(request).status
}

/// A device control with buffered I/O.
pub const fn code(function: u32) -> u32 {
    ctl_code(UNKNOWN_DEVICE, function, Method::Buffered, Right::Any)
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

/// A device and the drivers of its stack, from the lowest.
pub struct Stack {
    pub drivers: Vec<Driver>,
    pub device: Device,
}

impl Stack {
    /// Adds a device of a driver.
    pub fn new(lowest: Driver) -> Self {
        Self::with_flags(lowest, 0)
    }

    /// Adds a device of a driver, whose bus driver's device object has these flags.
    pub fn with_flags(lowest: Driver, flags: u32) -> Self {
        let device = lowest.add_device_with(flags).expect("AddDevice");
        Self {
            drivers: vec![lowest],
            device,
        }
    }

    /// Adds a filter driver above.
    pub fn filter(mut self, above: Driver) -> Self {
        above.add_filter(&self.device).expect("AddDevice");
        self.drivers.push(above);
        self
    }

    /// Adds a function driver above.
    pub fn function(mut self, above: Driver) -> Self {
        above.add_function(&self.device).expect("AddDevice");
        self.drivers.push(above);
        self
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

    /// Removes the device if it was not removed, unloads the drivers, and checks for leaks.
    pub fn unload(self) {
        if !self.device.is_removed() {
            self.device.remove().expect("no file is open");
        }
        drop(self.device);
        for driver in self.drivers.into_iter().rev() {
            driver.unload();
        }
    }
}
