//! Drivers, device and file objects, remove locks and device interfaces.

use core::{
    alloc::Layout,
    cell::Cell,
    ffi::{c_char, c_void},
    ptr::null_mut,
};
use std::sync::{
    Arc, Condvar, Mutex, PoisonError,
    atomic::{AtomicIsize, Ordering},
};

use nt::{
    DEVICE_OBJECT, DRIVER_EXTENSION, DRIVER_OBJECT, FILE_OBJECT, GUID, IO_REMOVE_LOCK,
    IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_PNP,
    STATUS_DELETE_PENDING, STATUS_PENDING, STATUS_SUCCESS, UNICODE_STRING,
};
use pinned_init::PinInit;
use wdm::{Device, Error, Filter, Guid, Handled, Irp, NewDevice, PassiveLevel, RegistryKey};

pub use super::irp::Request;
use super::{
    free,
    irp::Parameters,
    irql::{add_holds, assert_passive},
    lock, make, routines,
};

/// A device object with its reference count.
#[repr(C)]
struct DeviceObject {
    object: DEVICE_OBJECT,
    references: AtomicIsize,
    extension: usize,
}

/// Makes a device object with an extension of the given size.
fn make_device(driver: *mut DRIVER_OBJECT, extension: usize) -> *mut DEVICE_OBJECT {
    // SAFETY: zero is valid for every field of a device object.
    let object: DEVICE_OBJECT = unsafe { core::mem::zeroed() };
    let device = make(DeviceObject {
        object,
        references: AtomicIsize::new(1),
        extension,
    });
    let device = device.cast::<DEVICE_OBJECT>();
    // SAFETY: the device object is new; the same holds for all blocks below.
    unsafe { (*device).DriverObject = driver };
    // SAFETY: as above.
    unsafe { (*device).Flags = nt::DO_DEVICE_INITIALIZING };
    if extension != 0 {
        // SAFETY: the size is not zero.
        let memory = unsafe { std::alloc::alloc_zeroed(extension_layout(extension)) };
        // SAFETY: as above.
        unsafe { (*device).DeviceExtension = memory.cast() };
    }
    device
}

fn extension_layout(size: usize) -> Layout {
    Layout::from_size_align(size, nt::MEMORY_ALLOCATION_ALIGNMENT).expect("an extension's size")
}

/// Returns the reference count of a device object.
///
/// # Safety
/// The device object is valid as long as the reference is used.
unsafe fn references<'a>(device: *mut DEVICE_OBJECT) -> &'a AtomicIsize {
    // SAFETY: guaranteed by the caller.
    unsafe { &(*device.cast::<DeviceObject>()).references }
}

/// Adds a reference; returns the number of references.
///
/// # Safety
/// The device object is valid.
pub unsafe fn reference(device: *mut DEVICE_OBJECT) -> isize {
    // SAFETY: guaranteed by the caller.
    unsafe { references(device) }.fetch_add(1, Ordering::Relaxed) + 1
}

/// Releases a reference, and frees the device object with the last one; returns the number of references.
///
/// # Safety
/// The caller owns the reference.
pub unsafe fn dereference(device: *mut DEVICE_OBJECT) -> isize {
    // SAFETY: guaranteed by the caller.
    let left = unsafe { references(device) }.fetch_sub(1, Ordering::AcqRel) - 1;
    if left == 0 {
        // SAFETY: the device object is no longer used.
        let memory = unsafe { (*device).DeviceExtension };
        // SAFETY: as above.
        let size = unsafe { (*device.cast::<DeviceObject>()).extension };
        if size != 0 {
            // SAFETY: `make_device` allocated it with this layout.
            unsafe { std::alloc::dealloc(memory.cast(), extension_layout(size)) };
        }
        // SAFETY: as above.
        unsafe { free(device.cast::<DeviceObject>()) };
    }
    left
}

/// A `DriverEntry`.
type Entry = unsafe extern "C" fn(*mut DRIVER_OBJECT, *mut UNICODE_STRING) -> i32;

/// A loaded driver.
struct Driver {
    object: *mut DRIVER_OBJECT,
    bus: *mut DEVICE_OBJECT,
}

impl Driver {
    /// Calls `DriverEntry`, and returns its status.
    fn load(entry: Entry) -> (Self, i32) {
        // SAFETY: zero is valid for every field of both.
        let extension: DRIVER_EXTENSION = unsafe { core::mem::zeroed() };
        // SAFETY: as above.
        let object: DRIVER_OBJECT = unsafe { core::mem::zeroed() };
        let object = make(object);
        let extension = make(extension);
        // SAFETY: the driver object is new.
        unsafe { (*object).DriverExtension = extension };
        let mut path = UNICODE_STRING {
            Length: 0,
            MaximumLength: 0,
            Buffer: null_mut(),
        };
        // SAFETY: this is the I/O manager, with a new driver object.
        let status = unsafe { entry(object, &raw mut path) };
        let bus = make_device(null_mut(), 0);
        (Self { object, bus }, status)
    }

    /// Calls AddDevice, and returns its status.
    fn add_device(&self) -> i32 {
        // SAFETY: the driver object has its extension.
        let extension = unsafe { (*self.object).DriverExtension };
        // SAFETY: as above.
        let add = unsafe { (*extension).AddDevice }.expect("AddDevice");
        // SAFETY: this is the PnP manager.
        unsafe { add(self.object, self.bus) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Deferred work may still run the driver's code.
        super::wait::join_workers();
        // SAFETY: no device is left.
        if let Some(unload) = unsafe { (*self.object).DriverUnload } {
            // SAFETY: this is the I/O manager.
            unsafe { unload(self.object) };
        }
        // SAFETY: this driver owns the reference.
        unsafe { dereference(self.bus) };
        // SAFETY: the driver object has its extension.
        let extension = unsafe { (*self.object).DriverExtension };
        // SAFETY: it is no longer used.
        unsafe { free(extension) };
        // SAFETY: as above.
        unsafe { free(self.object) };
    }
}

/// A loaded driver and its device.
pub struct Loaded {
    driver: Driver,
    device: *mut DEVICE_OBJECT,
}

// SAFETY: any thread may call the I/O manager.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Loaded {
    /// Loads a driver and adds a device.
    pub fn new<D: Device>() -> Self {
        Self::with(wdm::entry::<D>)
    }

    /// Loads a filter driver and adds a device, above that of the bus driver.
    pub fn filter<F: Filter>() -> Self {
        Self::with(wdm::filter_entry::<F>)
    }

    fn with(entry: Entry) -> Self {
        let (driver, status) = Driver::load(entry);
        assert_eq!(status, STATUS_SUCCESS, "DriverEntry");
        assert_eq!(driver.add_device(), STATUS_SUCCESS, "AddDevice");
        // SAFETY: the bus driver's device object stays valid.
        let device = unsafe { (*driver.bus).AttachedDevice };
        let this = Self { driver, device };
        assert_eq!(this.pnp(nt::IRP_MN_START_DEVICE), STATUS_SUCCESS, "start");
        this
    }

    /// Sends a PnP request, and returns its status.
    pub fn pnp(&self, minor: u8) -> i32 {
        let parameters = Parameters {
            major: IRP_MJ_PNP,
            minor,
            code: 0,
            input: &[],
            output: 0,
        };
        // The PnP manager has a reference during the call.
        // SAFETY: the device object is valid: only this request can delete it.
        unsafe { reference(self.device) };
        // SAFETY: as above.
        let status = unsafe { Request::send(self.device, null_mut(), &parameters) }.wait();
        // SAFETY: the reference was acquired above.
        unsafe { dereference(self.device) };
        status
    }

    /// Opens the device (`IRP_MJ_CREATE`).
    pub fn open(&self) -> Result<Arc<File>, i32> {
        // SAFETY: zero is valid for every field of a file object.
        let object: FILE_OBJECT = unsafe { core::mem::zeroed() };
        let file = File {
            object: make(object),
            device: self.device,
        };
        // SAFETY: an open file has a reference.
        unsafe { reference(self.device) };
        let status = file.send(IRP_MJ_CREATE, 0, &[], 0).wait();
        if status == STATUS_SUCCESS {
            return Ok(Arc::new(file));
        }
        file.forget();
        Err(status)
    }

    /// Removes the device and unloads the driver.
    pub fn unload(self) {
        assert_eq!(self.pnp(nt::IRP_MN_REMOVE_DEVICE), STATUS_SUCCESS, "remove");
        self.unload_removed();
    }

    /// Unloads the driver of a device that was removed.
    pub fn unload_removed(self) {
        drop(self.driver);
    }
}

/// An open file. Dropping it sends `IRP_MJ_CLOSE`, so its requests are completed before.
pub struct File {
    object: *mut FILE_OBJECT,
    device: *mut DEVICE_OBJECT,
}

// SAFETY: any thread may call the I/O manager.
unsafe impl Send for File {}
// SAFETY: as above.
unsafe impl Sync for File {}

impl File {
    fn send(&self, major: usize, code: u32, input: &[u8], output: u32) -> Request {
        assert_passive("a request");
        let parameters = Parameters {
            major,
            minor: 0,
            code,
            input,
            output,
        };
        // SAFETY: the file references the device object, and stays valid until its requests are completed.
        unsafe { Request::send(self.device, self.object, &parameters) }
    }

    /// Sends an `IRP_MJ_DEVICE_CONTROL`.
    pub fn ioctl(&self, code: u32, input: &[u8], output: u32) -> Request {
        let request = self.send(IRP_MJ_DEVICE_CONTROL, code, input, output);
        assert!(request.answer() == STATUS_PENDING || request.answer() == request.wait());
        request
    }

    /// Closes the last handle (`IRP_MJ_CLEANUP`).
    pub fn cleanup(&self) {
        assert_eq!(self.send(IRP_MJ_CLEANUP, 0, &[], 0).wait(), STATUS_SUCCESS);
    }

    /// Frees the file object, and releases its reference to the device object.
    fn forget(self) {
        let file = core::mem::ManuallyDrop::new(self);
        // SAFETY: the file is passed to `mem::forget`, so its fields are used once.
        unsafe { free(file.object) };
        // SAFETY: the file owns the reference.
        unsafe { dereference(file.device) };
    }
}

impl Drop for File {
    fn drop(&mut self) {
        assert_eq!(self.send(IRP_MJ_CLOSE, 0, &[], 0).wait(), STATUS_SUCCESS);
        let (object, device) = (self.object, self.device);
        Self { object, device }.forget();
    }
}

/// Runs a closure at `PASSIVE_LEVEL`, with the token of a `DriverEntry`.
pub fn at_passive(body: fn(&mut PassiveLevel)) {
    ENTRY.set(Some(body));
    let (driver, status) = Driver::load(wdm::entry::<Once>);
    assert_eq!(status, nt::STATUS_UNSUCCESSFUL);
    drop(driver);
}

/// Runs a closure in AddDevice, for a device that is then not added.
pub fn at_add_device(body: Add) {
    ADD.set(Some(body));
    let (driver, status) = Driver::load(wdm::entry::<Once>);
    assert_eq!(status, STATUS_SUCCESS);
    assert_eq!(driver.add_device(), nt::STATUS_UNSUCCESSFUL);
    drop(driver);
}

/// The closure that AddDevice runs.
type Add = fn(&mut NewDevice, &mut PassiveLevel);

thread_local! {
    static ENTRY: Cell<Option<fn(&mut PassiveLevel)>> = const { Cell::new(None) };
    static ADD: Cell<Option<Add>> = const { Cell::new(None) };
}

/// The driver of [`at_passive`] and [`at_add_device`].
struct Once(#[expect(dead_code, reason = "a device has a state")] u8);

impl Device for Once {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn driver_entry(_: &RegistryKey<'_>, irql: &mut PassiveLevel) -> Result<(), Error> {
        let Some(body) = ENTRY.take() else {
            return Ok(());
        };
        body(irql);
        Err(Error::UNSUCCESSFUL)
    }

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        ADD.take().expect("the closure to run")(device, irql);
        Err::<Result<Self, Error>, Error>(Error::UNSUCCESSFUL)
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        irp.complete(Error::NOT_SUPPORTED, irql)
    }
}

/// Locked while a remove lock is read or changed.
static REMOVE_LOCKS: Mutex<()> = Mutex::new(());

/// Notified when a hold is released.
static RELEASED: Condvar = Condvar::new();

/// The contents of an `IO_REMOVE_LOCK`.
#[repr(C)]
struct RemoveLock {
    removed: bool,
    holds: u64,
    reserved: [u64; 2],
}

const _: () = assert!(size_of::<RemoveLock>() == size_of::<IO_REMOVE_LOCK>());

routines! {
    fn IoInitializeRemoveLockEx(remove_lock: *mut IO_REMOVE_LOCK, _tag: u32, _minutes: u32, _high: u32, _size: u32) {
        let new = RemoveLock { removed: false, holds: 0, reserved: [0; 2] };
        // SAFETY: the caller passes valid memory for the lock.
        unsafe { remove_lock.cast::<RemoveLock>().write(new) };
    }

    fn IoAcquireRemoveLockEx(
        remove_lock: *mut IO_REMOVE_LOCK,
        _tag: *mut c_void,
        _file: *const c_char,
        _line: u32,
        _size: u32,
    ) -> i32 {
        let _held = lock(&REMOVE_LOCKS);
        // SAFETY: the caller passes an initialised lock; the mutex is locked.
        let remove_lock = unsafe { &mut *remove_lock.cast::<RemoveLock>() };
        if remove_lock.removed {
            return STATUS_DELETE_PENDING;
        }
        remove_lock.holds += 1;
        add_holds(1);
        STATUS_SUCCESS
    }

    fn IoReleaseRemoveLockEx(remove_lock: *mut IO_REMOVE_LOCK, _tag: *mut c_void, _size: u32) {
        let held = lock(&REMOVE_LOCKS);
        // SAFETY: the caller has a hold, so the lock is valid; the mutex is locked.
        let holds = unsafe { &mut (*remove_lock.cast::<RemoveLock>()).holds };
        *holds = holds.checked_sub(1).expect("a hold");
        add_holds(-1);
        drop(held);
        RELEASED.notify_all();
    }

    fn IoReleaseRemoveLockAndWaitEx(remove_lock: *mut IO_REMOVE_LOCK, _tag: *mut c_void, _size: u32) {
        assert_passive("IoReleaseRemoveLockAndWait");
        let remove_lock = remove_lock.cast::<RemoveLock>();
        let mut held = lock(&REMOVE_LOCKS);
        // SAFETY: the caller has a hold, so the lock is valid; the mutex is locked. The same holds for all blocks
        // below.
        unsafe { (*remove_lock).removed = true };
        // SAFETY: as above.
        unsafe { (*remove_lock).holds -= 1 };
        loop {
            // SAFETY: as above.
            if unsafe { (*remove_lock).holds } == 0 {
                break;
            }
            held = RELEASED.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn IoCreateDevice(
        driver: *mut DRIVER_OBJECT,
        extension: u32,
        _name: *mut UNICODE_STRING,
        _kind: u32,
        _characteristics: u32,
        _exclusive: u8,
        device: *mut *mut DEVICE_OBJECT,
    ) -> i32 {
        let new = make_device(driver, extension as usize);
        // SAFETY: the caller passes valid memory for the pointer.
        unsafe { device.write(new) };
        STATUS_SUCCESS
    }

    fn IoDeleteDevice(device: *mut DEVICE_OBJECT) {
        // SAFETY: the caller gives up the reference of a new device object.
        unsafe { dereference(device) };
    }

    fn IoAttachDeviceToDeviceStack(source: *mut DEVICE_OBJECT, target: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT {
        // SAFETY: the caller passes two device objects.
        unsafe { (*target).AttachedDevice = source };
        target
    }

    fn IoAttachDeviceToDeviceStackSafe(
        source: *mut DEVICE_OBJECT,
        target: *mut DEVICE_OBJECT,
        attached_to: *mut *mut DEVICE_OBJECT,
    ) -> i32 {
        // SAFETY: the caller passes two device objects.
        unsafe { (*target).AttachedDevice = source };
        // SAFETY: the caller passes valid memory for the pointer.
        unsafe { attached_to.write(target) };
        STATUS_SUCCESS
    }

    fn IoRegisterShutdownNotification(_device: *mut DEVICE_OBJECT) -> i32 {
        STATUS_SUCCESS
    }

    fn IoUnregisterShutdownNotification(_device: *mut DEVICE_OBJECT) {}

    fn PoRequestPowerIrp(
        _device: *mut DEVICE_OBJECT,
        _minor: u8,
        _state: i32,
        _routine: nt::PREQUEST_POWER_COMPLETE,
        _context: *mut c_void,
        _irp: *mut *mut nt::IRP,
    ) -> i32 {
        nt::STATUS_INSUFFICIENT_RESOURCES
    }

    fn PoSetPowerState(_device: *mut DEVICE_OBJECT, _kind: i32, state: i32) -> i32 {
        state
    }

    fn IoDetachDevice(target: *mut DEVICE_OBJECT) {
        // SAFETY: the caller passes a device object.
        unsafe { (*target).AttachedDevice = null_mut() };
    }

    fn IoRegisterDeviceInterface(
        _device: *mut DEVICE_OBJECT,
        _class: *const GUID,
        _reference: *mut UNICODE_STRING,
        name: *mut UNICODE_STRING,
    ) -> i32 {
        let new = UNICODE_STRING { Length: 2, MaximumLength: 2, Buffer: make(u16::from(b'?')) };
        // SAFETY: the caller passes valid memory for the name.
        unsafe { name.write(new) };
        STATUS_SUCCESS
    }

    fn RtlFreeUnicodeString(name: *mut UNICODE_STRING) {
        // SAFETY: the caller passes a name from `IoRegisterDeviceInterface`.
        let buffer = unsafe { (*name).Buffer };
        // SAFETY: as above, and it is no longer used.
        unsafe { free(buffer) };
    }

    fn IoSetDeviceInterfaceState(_name: *mut UNICODE_STRING, _enable: u8) -> i32 {
        assert_passive("IoSetDeviceInterfaceState");
        STATUS_SUCCESS
    }

    fn ObfReferenceObject(object: *mut c_void) -> isize {
        // SAFETY: the caller passes a device object.
        unsafe { reference(object.cast()) }
    }

    fn ObfDereferenceObject(object: *mut c_void) -> isize {
        // SAFETY: the caller owns the reference.
        unsafe { dereference(object.cast()) }
    }
}
