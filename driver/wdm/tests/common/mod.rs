//! As much of a kernel as a device on `wdm` needs to come, get and end IRPs, and go: enough to play
//! single interleavings step by step, as the caller of `IoCancelIrp` and the PnP manager see them.
//!
//! It keeps the IRQL of the thread and stops at what Driver Verifier would stop at: a spin lock that is
//! taken twice, an IRP completed twice, under a lock, with a Cancel routine set or as pending.

// Not every test of several uses all of it.
#![allow(dead_code)]

mod device_queue;

use std::{
    alloc::{Layout, alloc_zeroed},
    cell::Cell,
    ffi::{CStr, c_char, c_void},
    mem::offset_of,
    ptr::null_mut,
};

use nt::{
    DEVICE_OBJECT, DRIVER_EXTENSION, DRIVER_OBJECT, FILE_OBJECT, GUID, HANDLE, IO_REMOVE_LOCK,
    IO_STACK_LOCATION, IRP, KEVENT, KSPIN_LOCK, OBJECT_ATTRIBUTES, UNICODE_STRING,
};

const PASSIVE_LEVEL: u8 = 0;
const DISPATCH_LEVEL: u8 = 2;
const STATUS_NOT_SUPPORTED: i32 = 0xC000_00BB_u32.cast_signed();

thread_local! {
    static IRQL: Cell<u8> = const { Cell::new(PASSIVE_LEVEL) };
    static TICKS: Cell<i64> = const { Cell::new(0) };
    static CANCEL_LOCK: Cell<bool> = const { Cell::new(false) };
    /// How many holds this thread's device has.
    static HOLDS: Cell<i32> = const { Cell::new(0) };
    static REMOVED: Cell<bool> = const { Cell::new(false) };
    static INTERFACE_ENABLED: Cell<bool> = const { Cell::new(false) };
    static DEVICES: Cell<i32> = const { Cell::new(0) };
}

/// What the IRPs of these tests keep in `UserIosb`, which is the I/O manager's: how often they ended.
const COMPLETIONS: usize = offset_of!(IRP, UserIosb);

/// Zeroed memory for good.
fn zeroed<T>() -> *mut T {
    // SAFETY: no type here has size zero.
    unsafe { alloc_zeroed(Layout::new::<T>()) }.cast()
}

/// Where an IRP has its `CurrentStackLocation`: on 64-bit Windows 0x40 into Tail.Overlay.
fn current_stack_location(irp: *mut IRP) -> *mut *mut IO_STACK_LOCATION {
    irp.wrapping_byte_add(offset_of!(IRP, Tail) + 0x40).cast()
}

/// Stops the test: nothing may unwind through the driver's routines.
fn stop(what: &str) -> ! {
    eprintln!("stopped: {what}");
    std::process::abort()
}

fn require(holds: bool, what: &str) {
    if !holds {
        stop(what);
    }
}

/// A driver that was loaded, and its one device.
pub struct Loaded {
    driver: *mut DRIVER_OBJECT,
    device: *mut DEVICE_OBJECT,
}

impl Loaded {
    /// Calls `DriverEntry` and AddDevice.
    pub fn new(
        entry: unsafe extern "C" fn(*mut DRIVER_OBJECT, *mut UNICODE_STRING) -> i32,
    ) -> Self {
        let driver = zeroed::<DRIVER_OBJECT>();
        // SAFETY: the driver object is this function's.
        unsafe { (*driver).DriverExtension = zeroed::<DRIVER_EXTENSION>() };
        // SAFETY: `entry` is a DriverEntry, at PASSIVE_LEVEL.
        assert_eq!(unsafe { entry(driver, zeroed()) }, 0);
        // SAFETY: DriverEntry filled the driver object in.
        let extension = unsafe { (*driver).DriverExtension };
        // SAFETY: as above.
        let extension = unsafe { &*extension };
        let add_device = extension.AddDevice.expect("DriverEntry sets AddDevice");
        let pdo = zeroed::<DEVICE_OBJECT>();
        // SAFETY: AddDevice gets a driver object and a physical device object, at PASSIVE_LEVEL.
        assert_eq!(unsafe { add_device(driver, pdo) }, 0);
        // SAFETY: IoCreateDevice, below, linked the new device object in.
        let device = unsafe { (*driver).DeviceObject };
        Self { driver, device }
    }

    /// Sends an IRP to a dispatch routine; the answer must fit what became of it.
    pub fn send(&self, major: usize, irp: &TestIrp) -> i32 {
        // SAFETY: the IRP is the I/O manager's, that is, the test's, until the driver is called.
        let stack = unsafe { &mut *irp.stack };
        stack.MajorFunction = u8::try_from(major).expect("a major function");
        stack.DeviceObject = self.device;
        // SAFETY: DriverEntry filled the driver object in.
        let routine = unsafe { &*self.driver }.MajorFunction[major];
        let routine = routine.expect("DriverEntry sets the dispatch routine");
        // SAFETY: the IRP was sent to the device by its current stack location.
        let status = unsafe { routine(self.device, irp.irp) };
        require(
            IRQL.get() == PASSIVE_LEVEL,
            "IRQL changed over a dispatch (0xC9 05)",
        );
        let marked = stack.Control & nt::SL_PENDING_RETURNED != 0;
        require(
            marked == (status == nt::STATUS_PENDING),
            "marked pending, but not returned so",
        );
        status
    }
}

impl Loaded {
    /// Sends a PnP request.
    pub fn pnp(&self, minor: u8) -> i32 {
        let irp = TestIrp::new(0, 0);
        // SAFETY: the IRP is the test's.
        unsafe { (*irp.stack).MinorFunction = minor };
        // A PnP request comes with this status, for nobody to have handled it yet.
        // SAFETY: as above.
        unsafe { nt::irp::set_status(irp.irp, STATUS_NOT_SUPPORTED) };
        let status = self.send(nt::IRP_MJ_PNP, &irp);
        assert_eq!(irp.ended(), Some(status));
        status
    }
}

/// How many IRPs and calls hold this thread's device.
pub fn holds() -> i32 {
    HOLDS.get()
}

/// Whether user mode can find this thread's device by its interface.
pub fn is_interface_enabled() -> bool {
    INTERFACE_ENABLED.get()
}

/// How many device objects this thread's driver has made and not deleted.
pub fn devices() -> i32 {
    DEVICES.get()
}

/// An `IRP_MJ_DEVICE_CONTROL` with no buffers.
pub struct TestIrp {
    pub irp: *mut IRP,
    /// The driver's stack location; the lower driver's lies before it.
    stack: *mut IO_STACK_LOCATION,
}

impl TestIrp {
    pub fn new(code: u32, file: usize) -> Self {
        let (irp, stack) = (zeroed::<IRP>(), zeroed::<[IO_STACK_LOCATION; 2]>());
        let stack = stack.cast::<IO_STACK_LOCATION>().wrapping_add(1);
        // SAFETY: the IRP is this function's.
        unsafe { current_stack_location(irp).write(stack) };
        // 64-bit Windows has IoControlCode 0x10 into Parameters.
        // SAFETY: the stack location is this function's.
        let parameter = unsafe { stack.byte_add(offset_of!(IO_STACK_LOCATION, Parameters) + 0x10) };
        // SAFETY: as above.
        unsafe { parameter.cast::<u32>().write(code) };
        // SAFETY: as above. Nobody follows the file object.
        unsafe { (*stack).FileObject = std::ptr::without_provenance_mut::<FILE_OBJECT>(file) };
        Self { irp, stack }
    }

    /// The status that the IRP ended with; `None` while it pends.
    pub fn ended(&self) -> Option<i32> {
        // SAFETY: these IRPs are never freed.
        let completions = unsafe { self.irp.byte_add(COMPLETIONS) }.cast::<usize>();
        // SAFETY: as above.
        let completions = unsafe { completions.read() };
        // SAFETY: as above.
        (completions == 1).then(|| unsafe { nt::irp::status(self.irp) })
    }

    /// The first half of `IoCancelIrp`: sets `Irp->Cancel` and takes the Cancel routine, with the
    /// cancel spin lock held from here to [`Cancelling::finish`].
    pub fn begin_cancel(&self) -> Cancelling<'_> {
        // SAFETY: these IRPs are never freed.
        unsafe { (*self.irp).Cancel = 1 };
        // SAFETY: as above.
        let routine = unsafe { nt::irp::IoSetCancelRoutine(self.irp, None) };
        Cancelling { irp: self, routine }
    }

    /// `IoCancelIrp`.
    pub fn cancel(&self) -> bool {
        self.begin_cancel().finish()
    }
}

/// An `IoCancelIrp` that has taken the Cancel routine and not called it yet.
pub struct Cancelling<'a> {
    irp: &'a TestIrp,
    routine: nt::PDRIVER_CANCEL,
}

impl Cancelling<'_> {
    /// Calls the Cancel routine, if there was one.
    pub fn finish(self) -> bool {
        let Some(routine) = self.routine else {
            return false;
        };
        let mut irql = 0;
        IoAcquireCancelSpinLock(&raw mut irql);
        // SAFETY: the driver has not completed an IRP whose Cancel routine it found taken.
        unsafe { (*self.irp.irp).CancelIrql = irql };
        // SAFETY: the routine is called as IoCancelIrp calls it, with the lock held.
        unsafe { routine(null_mut(), self.irp.irp) };
        require(
            IRQL.get() == PASSIVE_LEVEL,
            "a Cancel routine left the IRQL raised",
        );
        true
    }
}

// SAFETY: no other function of this program has the name; so for every routine below.
#[unsafe(no_mangle)]
extern "C" fn IoAcquireCancelSpinLock(irql: *mut u8) {
    require(
        !CANCEL_LOCK.replace(true),
        "the cancel spin lock is taken twice",
    );
    // SAFETY: the caller gives room for an IRQL.
    unsafe { irql.write(IRQL.replace(DISPATCH_LEVEL)) };
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IoReleaseCancelSpinLock(irql: u8) {
    require(
        CANCEL_LOCK.replace(false),
        "the cancel spin lock is released, but not held",
    );
    IRQL.set(irql);
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeSpinLock(lock: *mut KSPIN_LOCK) {
    // SAFETY: the caller gives room for a lock.
    unsafe { lock.write(0) };
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeAcquireSpinLockRaiseToDpc(lock: *mut KSPIN_LOCK) -> u8 {
    let irql = IRQL.replace(DISPATCH_LEVEL);
    KeAcquireSpinLockAtDpcLevel(lock);
    irql
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeAcquireSpinLockAtDpcLevel(lock: *mut KSPIN_LOCK) {
    require(
        IRQL.get() == DISPATCH_LEVEL,
        "AtDpc below DISPATCH_LEVEL (0xC4 40)",
    );
    // SAFETY: the lock was initialised, and there is one thread.
    let held = unsafe { lock.replace(1) };
    require(held == 0, "a spin lock is taken twice (0xC4 1000)");
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseSpinLockFromDpcLevel(lock: *mut KSPIN_LOCK) {
    require(
        IRQL.get() == DISPATCH_LEVEL,
        "FromDpc below DISPATCH_LEVEL (0xC4 41)",
    );
    // SAFETY: the lock was initialised, and there is one thread.
    let held = unsafe { lock.replace(0) };
    require(held == 1, "a spin lock is released that is not held (0x10)");
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseSpinLock(lock: *mut KSPIN_LOCK, irql: u8) {
    KeReleaseSpinLockFromDpcLevel(lock);
    IRQL.set(irql);
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IofCompleteRequest(irp: *mut IRP, _boost: i8) {
    device_queue::require_not_queued(nt::irp::device_queue_entry(irp));
    require(
        IRQL.get() == PASSIVE_LEVEL,
        "an IRP is completed under a spin lock",
    );
    // SAFETY: these IRPs are never freed.
    let status = unsafe { nt::irp::status(irp) };
    require(
        status != nt::STATUS_PENDING,
        "an IRP is completed as pending (0xC9 06)",
    );
    // SAFETY: as above.
    let routine = unsafe { nt::irp::IoSetCancelRoutine(irp, None) };
    require(
        routine.is_none(),
        "an IRP is completed with a Cancel routine set (0x48)",
    );
    // SAFETY: as above.
    let completions = unsafe { irp.byte_add(COMPLETIONS) }.cast::<usize>();
    // SAFETY: as above.
    let before = unsafe { completions.replace(1) };
    require(before == 0, "an IRP is completed twice (0x44)");
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IoInitializeRemoveLockEx(_: *mut IO_REMOVE_LOCK, _: u32, _: u32, _: u32, _: u32) {
    HOLDS.set(0);
    REMOVED.set(false);
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IoAcquireRemoveLockEx(
    _: *mut IO_REMOVE_LOCK,
    _: *mut c_void,
    _: *const c_char,
    _: u32,
    _: u32,
) -> i32 {
    if REMOVED.get() {
        return nt::STATUS_DELETE_PENDING;
    }
    HOLDS.set(HOLDS.get() + 1);
    0
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IoReleaseRemoveLockEx(_: *mut IO_REMOVE_LOCK, _: *mut c_void, _: u32) {
    HOLDS.set(HOLDS.get() - 1);
    require(
        HOLDS.get() >= 0,
        "the remove lock is released once too often",
    );
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IoReleaseRemoveLockAndWaitEx(lock: *mut IO_REMOVE_LOCK, tag: *mut c_void, size: u32) {
    IoReleaseRemoveLockEx(lock, tag, size);
    REMOVED.set(true);
    require(
        HOLDS.get() == 0,
        "the removal waits for a request that nobody ends",
    );
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IoCreateDevice(
    driver: *mut DRIVER_OBJECT,
    extension: u32,
    _: *mut UNICODE_STRING,
    _: u32,
    _: u32,
    _: u8,
    device: *mut *mut DEVICE_OBJECT,
) -> i32 {
    require(
        extension <= 4096,
        "the extension is larger than this kernel makes them",
    );
    DEVICES.set(DEVICES.get() + 1);
    let object = zeroed::<DEVICE_OBJECT>();
    // SAFETY: the device object is this function's.
    unsafe { (*object).DeviceExtension = zeroed::<[u128; 256]>().cast() };
    // SAFETY: the driver object is the caller's.
    unsafe { (*driver).DeviceObject = object };
    // SAFETY: the caller gives room for the answer.
    unsafe { device.write(object) };
    0
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IoAttachDeviceToDeviceStack(
    _: *mut DEVICE_OBJECT,
    target: *mut DEVICE_OBJECT,
) -> *mut DEVICE_OBJECT {
    target
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IoRegisterDeviceInterface(
    _: *mut DEVICE_OBJECT,
    _: *const GUID,
    _: *mut UNICODE_STRING,
    _: *mut UNICODE_STRING,
) -> i32 {
    0
}

/// The debugger's output goes to the standard error stream; every line is one string.
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn DbgPrintEx(_: u32, _: u32, _: *const c_char, line: *const c_char) -> u32 {
    // SAFETY: the driver's one format takes one string that ends with a zero byte.
    let line = unsafe { CStr::from_ptr(line) };
    eprintln!("{}", line.to_string_lossy());
    0
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeBugCheckEx(code: u32, _: u64, _: u64, _: u64, _: u64) -> ! {
    stop(&format!("bug check {code:#x}"))
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeRaiseIrqlToDpcLevel() -> u8 {
    IRQL.replace(DISPATCH_LEVEL)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeLowerIrql(irql: u8) {
    require(irql <= IRQL.get(), "the IRQL is lowered to a higher one");
    IRQL.set(irql);
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeTryToAcquireSpinLockAtDpcLevel(lock: *mut KSPIN_LOCK) -> u8 {
    require(
        IRQL.get() == DISPATCH_LEVEL,
        "AtDpc below DISPATCH_LEVEL (0xC4 40)",
    );
    // SAFETY: the lock was initialised, and there is one thread.
    u8::from(unsafe { lock.replace(1) } == 0)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeGetCurrentProcessorNumberEx(_: *mut c_void) -> u32 {
    0
}

/// A clock that goes on by one tick whenever somebody looks.
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeQueryPerformanceCounter(_: *mut i64) -> i64 {
    TICKS.set(TICKS.get() + 1);
    TICKS.get()
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IoDetachDevice(_: *mut DEVICE_OBJECT) {}

/// The memory stays, as it does while a handle is open.
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IoDeleteDevice(_: *mut DEVICE_OBJECT) {
    DEVICES.set(DEVICES.get() - 1);
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IoSetDeviceInterfaceState(_: *mut UNICODE_STRING, enable: u8) -> i32 {
    INTERFACE_ENABLED.set(enable != 0);
    0
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn RtlFreeUnicodeString(_: *mut UNICODE_STRING) {}

/// The lower driver, which completes whatever comes with success.
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn IofCallDriver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    let current = current_stack_location(irp);
    // SAFETY: the caller has the IRP.
    let upper = unsafe { current.read() };
    let stack = upper.wrapping_sub(1);
    // SAFETY: as above.
    unsafe { current.write(stack) };
    // SAFETY: as above.
    unsafe { nt::irp::set_status(irp, 0) };
    // SAFETY: the stack location is the lower driver's, or lent to it by the upper one.
    let stack = unsafe { &*stack };
    let Some(routine) = stack.CompletionRoutine else {
        IofCompleteRequest(irp, 0);
        return 0;
    };
    // SAFETY: as above.
    unsafe { current.write(upper) };
    // SAFETY: the routine is called as the I/O manager calls it.
    let answer = unsafe { routine(device, irp, stack.Context) };
    require(
        answer == nt::STATUS_MORE_PROCESSING_REQUIRED,
        "the IRP is not taken back",
    );
    0
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeEvent(event: *mut KEVENT, _: i32, state: u8) {
    // SAFETY: the caller gives room for an event.
    unsafe { event.cast::<u64>().write(state.into()) };
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeSetEvent(event: *mut KEVENT, _: i32, _: u8) -> i32 {
    // SAFETY: the event was initialised.
    i32::from(unsafe { event.cast::<u64>().replace(1) } != 0)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeWaitForSingleObject(event: *mut c_void, _: i32, _: i8, _: u8, _: *mut i64) -> i32 {
    require(
        IRQL.get() == PASSIVE_LEVEL,
        "a wait at DISPATCH_LEVEL (0xC4 3B)",
    );
    // SAFETY: the event was initialised.
    let set = unsafe { event.cast::<u64>().read() };
    require(set == 1, "a wait for what never comes");
    0
}

/// Routines that no test here comes to.
macro_rules! not_reached {
    ($($routine:ident($($argument:ty),*) $(-> $answer:ty)?;)*) => {
        $(
            // SAFETY: as above.
            #[unsafe(no_mangle)]
            extern "C" fn $routine($(_: $argument),*) $(-> $answer)? {
                stop(concat!(stringify!($routine), " is not in this kernel"))
            }
        )*
    };
}

not_reached! {
    ZwClose(HANDLE) -> i32;
    ZwOpenKey(*mut HANDLE, u32, *mut OBJECT_ATTRIBUTES) -> i32;
    ZwQueryValueKey(HANDLE, *mut UNICODE_STRING, i32, *mut c_void, u32, *mut u32) -> i32;
}
