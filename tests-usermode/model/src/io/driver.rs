//! Loading and unloading of drivers, as by the service control manager and the PnP manager.

use std::{
    cell::UnsafeCell,
    mem::{ManuallyDrop, MaybeUninit},
    sync::{Arc, Mutex, atomic::Ordering},
};

use nt::{DEVICE_OBJECT, DRIVER_EXTENSION, DRIVER_OBJECT, IRP, NTSTATUS, UNICODE_STRING};

use crate::{
    host::{Call, Kernel, thread::Attached},
    image::{self, Image},
    io::{
        Device, bus,
        device::DeviceInner,
        device_stack::{Role, top_of},
        irp::{IrpRecord, Origin},
        registry,
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

const STATUS_INVALID_DEVICE_REQUEST: i32 = nt::STATUS_INVALID_DEVICE_REQUEST;

/// The type of `DriverEntry`.
pub type DriverEntry = unsafe extern "C" fn(*mut DRIVER_OBJECT, *mut UNICODE_STRING) -> NTSTATUS;

/// A driver object and its extension.
struct Objects {
    driver: MaybeUninit<DRIVER_OBJECT>,
    extension: MaybeUninit<DRIVER_EXTENSION>,
    /// The buffer of the driver's name.
    name: [u16; NAME.len()],
    hardware_database: MaybeUninit<UNICODE_STRING>,
    hardware_name: [u16; HARDWARE.len()],
}

const HARDWARE: &str = "\\REGISTRY\\MACHINE\\HARDWARE\\DESCRIPTION\\SYSTEM\0";

const NAME: &str = "\\Driver\\driver\0";

/// The objects of a driver that is loaded. The kernel keeps them if the [`Driver`] is dropped, whose devices remain.
pub(crate) struct DriverObjects(UnsafeCell<Objects>);

// SAFETY: the driver accesses the driver object while it is loaded or unloaded, one of which runs at a time. This crate
// reads the fields that the driver has set.
unsafe impl Send for DriverObjects {}
// SAFETY: as above.
unsafe impl Sync for DriverObjects {}

impl DriverObjects {
    pub(in crate::io) fn driver(&self) -> *mut DRIVER_OBJECT {
        // SAFETY: only the address is computed, inside the objects.
        unsafe { &raw mut (*self.0.get()).driver }.cast()
    }
}

/// A driver that is loaded.
pub struct Driver {
    kernel: Arc<Kernel>,
    objects: Arc<DriverObjects>,
    devices: Mutex<Vec<Arc<DeviceInner>>>,
    /// The driver's image, if it has one. It is unmapped only when the driver is unloaded, since threads of the driver can
    /// run in it.
    image: ManuallyDrop<Option<Image>>,
}

impl Driver {
    /// Loads a driver: creates its driver object and calls its `DriverEntry`.
    ///
    /// # Errors
    /// The error of `DriverEntry`; the driver is then not loaded.
    ///
    /// # Safety
    /// `entry` is the entry point of a driver that passes values of the types that `nt` declares: the model detects
    /// broken rules, but not every invalid pointer.
    pub unsafe fn load(kernel: &Arc<Kernel>, entry: DriverEntry) -> Result<Self, NTSTATUS> {
        // SAFETY: guaranteed by the caller.
        unsafe { Self::start(kernel, entry, None) }
    }

    /// Loads a driver's image: creates its driver object, calls its `DriverEntry`, and then unmaps the discardable
    /// sections.
    ///
    /// # Errors
    /// The error of `DriverEntry`; the driver is then not loaded.
    ///
    /// # Safety
    /// The image is that of a driver that passes values of the types of its imports: the model detects broken rules,
    /// but not every broken pointer.
    pub unsafe fn load_image(kernel: &Arc<Kernel>, image: Image) -> Result<Self, NTSTATUS> {
        let entry = std::ptr::with_exposed_provenance::<()>(image.entry());
        // SAFETY: it is the address of a function, which `Call::in_driver` calls by the convention of an image.
        let entry = unsafe { std::mem::transmute::<*const (), DriverEntry>(entry) };
        image::UPCALLS.get_or_init(|| image::Upcalls {
            lacks,
            invalid_request,
        });
        if image.has_inline_locks() {
            kernel.ke().has_inline_locks.store(true, Ordering::Relaxed);
        }
        // SAFETY: guaranteed by the caller.
        unsafe { Self::start(kernel, entry, Some(image)) }
    }

    /// # Safety
    /// As for [`Driver::load`].
    unsafe fn start(
        kernel: &Arc<Kernel>,
        entry: DriverEntry,
        image: Option<Image>,
    ) -> Result<Self, NTSTATUS> {
        let _attached = Attached::to(kernel);
        let call = Call::enter("DriverEntry");
        // SAFETY: zero is valid for every field.
        let objects = unsafe { MaybeUninit::<Objects>::zeroed().assume_init() };
        let mut this = Self {
            kernel: Arc::clone(kernel),
            objects: Arc::new(DriverObjects(UnsafeCell::new(objects))),
            devices: Mutex::default(),
            image: ManuallyDrop::new(image),
        };
        let driver = this.object();
        locked(&kernel.io().drivers).push(Arc::clone(&this.objects));
        let objects = this.objects.0.get();
        // SAFETY: only the address is computed, inside the objects.
        let extension = unsafe { &raw mut (*objects).extension }.cast::<DRIVER_EXTENSION>();
        // SAFETY: the objects are zeroed, and no other thread knows them yet.
        let fields = unsafe { &mut *driver };
        fields.Type = bus::IO_TYPE_DRIVER;
        fields.Size = i16::try_from(size_of::<DRIVER_OBJECT>()).unwrap_or_default();
        fields.DriverExtension = extension;
        // SAFETY: as above.
        let name = unsafe { &mut (*objects).name };
        fields.DriverName = fill(name, NAME);
        // SAFETY: as above.
        let hardware_name = unsafe { &mut (*objects).hardware_name };
        // SAFETY: as above.
        let hardware_database = unsafe { &mut (*objects).hardware_database };
        fields.HardwareDatabase = hardware_database.write(fill(hardware_name, HARDWARE));
        fields.DriverInit = (entry as *const ()).cast_mut().cast();
        if let Some(image) = this.image.as_ref() {
            let range = image.addresses();
            fields.DriverStart = std::ptr::with_exposed_provenance_mut(range.start);
            fields.DriverSize = u32::try_from(range.len()).unwrap_or(u32::MAX);
        }
        fields
            .MajorFunction
            .fill(Some(default_dispatch(this.image.is_some())));
        // SAFETY: as above.
        unsafe { (*extension).DriverObject = driver };
        // Drivers pass the buffer where a path that ends with a zero is expected.
        let mut path: Vec<u16> = registry::SERVICE.encode_utf16().chain([0]).collect();
        let mut path = bus::string_of(&mut path);
        // SAFETY: the entry point is called as the I/O manager calls it.
        let status = unsafe { Call::in_driver(entry, (driver, &raw mut path)) };
        call.require_returned("DriverEntry", 0);
        if status < 0 {
            call.forget_reinitialisations(driver);
            call.wait_for_work_items();
            call.verify_unload(driver);
            this.unmap();
            return Err(status);
        }
        for device in kernel.io().devices.of_driver(driver) {
            // Exposed when the object was made.
            let device = std::ptr::with_exposed_provenance_mut::<DEVICE_OBJECT>(device);
            // SAFETY: the device object is alive; the I/O manager clears the flag of those that DriverEntry has made.
            unsafe { (*device).Flags &= !nt::DO_DEVICE_INITIALIZING };
        }
        let discarded = this.image.as_ref().map_or(Ok(()), Image::discard);
        call.require(
            discarded.is_ok(),
            Rule::Pool,
            || "the host does not protect memory",
        );
        call.reinitialise(driver);
        Ok(this)
    }

    /// Unmaps the image, in which no routine of the driver runs any longer.
    fn unmap(&mut self) {
        locked(&self.kernel.io().drivers).retain(|loaded| !Arc::ptr_eq(loaded, &self.objects));
        // Dropped at the end of the function.
        let _image = ManuallyDrop::into_inner(std::mem::take(&mut self.image));
    }

    fn object(&self) -> *mut DRIVER_OBJECT {
        self.objects.driver()
    }

    /// Adds a device, as the PnP manager does when it finds one: calls AddDevice, but does not start the device.
    ///
    /// # Errors
    /// The error of AddDevice.
    pub fn add_device(&self) -> Result<Device, NTSTATUS> {
        self.add_device_with(0)
    }

    /// Adds a device whose physical device object has these flags, such as `DO_POWER_PAGABLE`.
    ///
    /// # Errors
    /// The error of AddDevice.
    pub fn add_device_with(&self, flags: u32) -> Result<Device, NTSTATUS> {
        self.add(flags, None)
    }

    fn add(&self, flags: u32, probe: Option<u8>) -> Result<Device, NTSTATUS> {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("AddDevice");
        let devices = &self.kernel.io().devices;
        let pdo = devices.create(std::ptr::null_mut(), 0, nt::FILE_DEVICE_UNKNOWN, 0);
        // SAFETY: the device object is this function's.
        unsafe { (*pdo).Flags = flags };
        *locked(&self.kernel.io().probe) = probe.map(|minor| (pdo.expose_provenance(), minor));
        let object = self.call_add_device(&call, pdo, Role::Lowest);
        call.is_probed.store(false, Ordering::Relaxed);
        let object = object?.unwrap_or(pdo);
        let inner = DeviceInner::new(pdo, object);
        self.kernel.io().namespace.attach(object.addr(), &inner);
        locked(&self.devices).push(Arc::clone(&inner));
        Ok(Device::new(&self.kernel, inner))
    }

    /// Adds a device, and sends it a PnP request with a minor function when AddDevice calls the first routine after
    /// `IoAttachDeviceToDeviceStack`. From then on the driver receives the requests that others send to the top of the
    /// device stack.
    ///
    /// # Errors
    /// The error of AddDevice.
    pub fn add_device_probed(&self, minor: u8) -> Result<Device, NTSTATUS> {
        self.add(0, Some(minor))
    }

    /// Adds this driver at the top of a device stack, as a filter driver.
    ///
    /// # Errors
    /// The error of AddDevice.
    pub fn add_filter(&self, device: &Device) -> Result<(), NTSTATUS> {
        self.add_above(device, Role::Filter)
    }

    /// Adds this driver on top of a device, as its function driver. The lower drivers are lower filters.
    ///
    /// # Errors
    /// The error of AddDevice.
    pub fn add_function(&self, device: &Device) -> Result<(), NTSTATUS> {
        self.add_above(device, Role::Function)
    }

    fn add_above(&self, device: &Device, role: Role) -> Result<(), NTSTATUS> {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("AddDevice");
        let inner = device.inner();
        if let Some(object) = self.call_add_device(&call, inner.pdo(), role)? {
            inner.add_object(object);
            self.kernel.io().namespace.attach(object.addr(), inner);
        }
        Ok(())
    }

    /// Calls AddDevice; returns the device object that it has attached. A filter driver need not attach one, as Microsoft's
    /// [guidelines](https://learn.microsoft.com/windows-hardware/drivers/kernel/guidelines-for-writing-adddevice-routines) say.
    fn call_add_device(
        &self,
        call: &Call,
        pdo: *mut DEVICE_OBJECT,
        role: Role,
    ) -> Result<Option<*mut DEVICE_OBJECT>, NTSTATUS> {
        let driver = self.object();
        // SAFETY: DriverEntry has set the fields of the driver object.
        let extension = unsafe { (*driver).DriverExtension };
        // SAFETY: as above.
        let Some(add_device) = (unsafe { (*extension).AddDevice }) else {
            return Err(STATUS_INVALID_DEVICE_REQUEST);
        };
        let before = top_of(pdo);
        // SAFETY: the routine is called as the PnP manager calls it.
        let status = unsafe { Call::in_driver(add_device, (driver, pdo)) };
        call.require_returned("AddDevice", 0);
        let object = top_of(pdo);
        let attached = object != before;
        if status < 0 {
            call.require(
                !attached,
                Rule::AddDevice,
                || "AddDevice has failed, but a device object is still attached",
            );
            return Err(status);
        }
        if role == Role::Filter && !attached {
            return Ok(None);
        }
        call.require(
            attached,
            Rule::AddDevice,
            || "AddDevice has attached no device object",
        );
        call.verify_flags(object, role);
        Ok(Some(object))
    }

    /// Unloads the driver, whose PnP devices were removed. Its named devices can no longer be opened. Waits until their last file is
    /// closed and the routines of its work items, which reference the driver object, have returned. Then checks
    /// for leaks: memory, device objects, references to them, symbolic links, work items, handles, timers, DPCs and IRPs. While another
    /// driver is loaded, which can own them, only device objects and IRPs are checked.
    pub fn unload(mut self) {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("DriverUnload");
        let driver = self.object();
        let devices = &self.kernel.io().devices;
        if call.is_last_driver(driver) {
            // No other driver can release what IoGetDeviceObjectPointer has opened, and the unload would wait for it.
            call.require_no_file_reference(|file| file.requestor_mode() == nt::KERNEL_MODE);
        }
        call.wait_until_closed(&devices.of_driver(driver));
        // SAFETY: DriverEntry has set the fields of the driver object.
        let extension = unsafe { (*driver).DriverExtension };
        // SAFETY: as above.
        let is_pnp = unsafe { (*extension).AddDevice }.is_some();
        // A driver that is not a PnP driver ends its requests, and detaches and deletes its devices, in its Unload routine.
        if is_pnp {
            // If something keeps a device object, it is reported before the device object.
            call.require_no_irp_of(driver, |record| record.origin == Origin::IoManager);
            let of_pnp = devices.of_driver(driver).into_iter();
            let of_pnp = of_pnp.filter(|device| devices.pdo_of(*device).is_some());
            call.require_no_device(of_pnp.count());
        }
        // SAFETY: DriverEntry has filled the driver object in.
        let Some(unload) = (unsafe { (*driver).DriverUnload }) else {
            let what = "the driver has no Unload routine, so it cannot be unloaded";
            call.stop(BugCheck::NONE, Rule::DriverUnload, what);
        };
        // SAFETY: the routine is called as the I/O manager calls it.
        unsafe { Call::in_driver(unload, (driver,)) };
        call.require_returned("the Unload routine", 0);
        call.wait_for_work_items();
        call.verify_unload(driver);
        self.unmap();
    }
}

/// Fills in the buffer of a string.
fn fill(units: &mut [u16], text: &str) -> UNICODE_STRING {
    for (unit, of_text) in units.iter_mut().zip(text.encode_utf16()) {
        *unit = of_text;
    }
    bus::string_of(units)
}

/// Returns the dispatch routine of the requests for which a driver sets none, by the calling convention of the driver.
fn default_dispatch(is_image: bool) -> Dispatch {
    if !is_image {
        return invalid_request;
    }
    let address = std::ptr::with_exposed_provenance::<()>(image::default_dispatch());
    // SAFETY: it is the address of a function, which only the image calls; the model calls `invalid_request` for it.
    unsafe { std::mem::transmute::<*const (), Dispatch>(address) }
}

type Dispatch = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP) -> NTSTATUS;

/// Completes a request for which the driver has no routine.
unsafe extern "C" fn invalid_request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let call = Call::enter_noted("the default dispatch routine");
    call.refuse(&call.live_irp(irp))
}

/// Returns whether a dispatch routine is one that a driver has set.
pub(in crate::io) fn is_own(routine: &Dispatch) -> bool {
    let address = *routine as usize;
    address != invalid_request as *const () as usize && address != image::default_dispatch()
}

fn lacks(routine: &str) -> ! {
    let call = Call::enter("a routine that the model lacks");
    let what = format!("the image calls {routine}, which the model kernel lacks");
    call.stop(BugCheck::NONE, Rule::MissingRoutine, what)
}

impl Call {
    /// Returns whether only the driver that is being unloaded is loaded.
    fn is_last_driver(&self, driver: *mut DRIVER_OBJECT) -> bool {
        let drivers = locked(&self.kernel.io().drivers);
        drivers.iter().all(|loaded| loaded.driver() == driver)
    }

    /// Stops the system if an IRP has not ended when its driver is unloaded.
    fn require_no_irp_of(&self, driver: *mut DRIVER_OBJECT, is_meant: fn(&IrpRecord) -> bool) {
        let io = self.kernel.io();
        let is_of_driver = |device| io.devices.driver_of(device) == Some(driver);
        let mut live = io.live().into_iter();
        let left = live.find(|record| {
            is_meant(record) && (self.is_last_driver(driver) || record.has_device(is_of_driver))
        });
        if let Some(record) = left {
            let bug_check = BugCheck(0xce, [record.address() as u64, 0, 0, 0]);
            let what = format!("the driver is unloaded, but {record} has not ended");
            self.stop(bug_check, Rule::IrpProcessingComplete, what);
        }
    }

    fn require_no_device(&self, left: usize) {
        self.require(left == 0, Rule::DeviceRemoval, || {
            let what = format!("the driver is unloaded with {left} device objects");
            (BugCheck(0xce, [0; 4]), what)
        });
    }

    /// Stops the system if a driver that is unloaded has leaked anything.
    fn verify_unload(&self, driver: *mut DRIVER_OBJECT) {
        let kernel = &self.kernel;
        self.require_no_device(kernel.io().devices.of_driver(driver).len());
        kernel.io().driver_extensions.free(driver);
        self.require_no_irp_of(driver, |_| true);
        // The I/O manager does so before the image is unmapped.
        self.flush_dpcs();
        if !self.is_last_driver(driver) {
            return;
        }
        self.require_no_symbolic_link();
        self.require_no_interrupt();
        self.require_no_notification();
        self.require_no_power_setting();
        self.require_no_callback();
        self.require_no_notify_routine();
        self.require_no_timer();
        self.require_no_bug_check_callback();
        self.require_completions_ex_ran();
        self.require_no_work_item();
        self.require_no_reference();
        let threads = kernel.driver_threads();
        self.require(threads == 0, Rule::SystemThread, || {
            let what = format!("the driver is unloaded while {threads} of its threads run");
            (BugCheck(0xce, [0; 4]), what)
        });
        self.require_no_lookaside_list();
        self.require_no_provider();
        self.require_no_resource();
        self.require_no_io_space();
        self.verify_freed_blocks();
        self.require_ended_unused();
        self.require_no_dpc();
        self.require_no_kept_irp();
        self.require_no_mdl();
        let (blocks, bytes) = (kernel.pool_blocks(), kernel.pool_bytes());
        self.require(blocks == 0, Rule::Pool, || {
            let bug_check = BugCheck::verifier(0x62, [0, 0, blocks as u64]);
            let what = format!(
                "the driver is unloaded with {blocks} pool blocks, {bytes} bytes, not freed"
            );
            (bug_check, what)
        });
        let handles = kernel.handles();
        self.require(handles == 0, Rule::Pool, || {
            let what = format!("the driver is unloaded with {handles} handles open");
            (BugCheck(0xce, [0; 4]), what)
        });
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let devices = locked(&self.devices).len();
        f.debug_struct("Driver")
            .field("devices", &devices)
            .finish_non_exhaustive()
    }
}

/// The WDM version is that of Windows Vista, which all later systems have.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioiswdmversionavailable)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoIsWdmVersionAvailable(major: u8, minor: u8) -> u8 {
    let _call = Call::enter_noted("IoIsWdmVersionAvailable").at_most(0);
    u8::from((major, minor) <= (6, 0))
}
