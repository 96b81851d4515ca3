//! Routines that a driver registers for processes, threads, images and device interfaces.
//!
//! Microsoft's pages:
//! [`PsSetCreateProcessNotifyRoutine`](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-pssetcreateprocessnotifyroutine),
//! [`PsRemoveCreateThreadNotifyRoutine`](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psremovecreatethreadnotifyroutine),
//! [`IoRegisterPlugPlayNotification`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioregisterplugplaynotification),
//! [`IoUnregisterPlugPlayNotificationEx`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iounregisterplugplaynotificationex)

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst},
    },
};

use call::CLASS;
use common::{Body, NO_CODE, delete, found_in, is, passes, stops};
use nt::{
    DEVICE_INTERFACE_CHANGE_NOTIFICATION, DEVICE_OBJECT, DRIVER_OBJECT,
    EventCategoryDeviceInterfaceChange, GUID_DEVICE_INTERFACE_REMOVAL, HANDLE, IMAGE_INFO, IRP,
    NTSTATUS, PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES, PS_CREATE_NOTIFY_INFO,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Config, Driver, DriverEntry, Kernel, Rule};
use steps::{Steps, breaks, entry, holds, lower, skip};

const STATUS_PROCEDURE_NOT_FOUND: NTSTATUS = 0xc000_007a_u32.cast_signed();
const STATUS_ACCESS_DENIED: NTSTATUS = 0xc000_0022_u32.cast_signed();

unsafe extern "C" fn on_process(_: HANDLE, _: HANDLE, _: u8) {}

unsafe extern "C" fn on_process_ex(_: *mut c_void, _: HANDLE, _: *mut PS_CREATE_NOTIFY_INFO) {}

unsafe extern "C" fn on_thread(_: HANDLE, _: HANDLE, _: u8) {}

unsafe extern "C" fn on_image(_: *mut UNICODE_STRING, _: HANDLE, _: *mut IMAGE_INFO) {}

unsafe extern "C" fn on_interface(_: *mut c_void, _: *mut c_void) -> NTSTATUS {
    STATUS_SUCCESS
}

fn load(kernel: &Arc<Kernel>, entry: DriverEntry) -> Driver {
    // SAFETY: the entry point is that of a driver on `nt`.
    unsafe { Driver::load(kernel, entry) }.expect("the driver loads")
}

fn unloads_by(driver: *mut DRIVER_OBJECT, unload: unsafe extern "C" fn(*mut DRIVER_OBJECT)) {
    // SAFETY: the I/O manager passes the driver object.
    unsafe { (*driver).DriverUnload = Some(unload) };
}

#[test]
fn routine_is_added_and_removed_once() {
    passes(|device| {
        let process = |remove| nt!(PsSetCreateProcessNotifyRoutine(Some(on_process), remove));
        let process_ex = |remove| {
            nt!(PsSetCreateProcessNotifyRoutineEx(
                Some(on_process_ex),
                remove
            ))
        };
        assert_eq!(
            [0, 0, 1, 1].map(process),
            [
                STATUS_SUCCESS,
                STATUS_INVALID_PARAMETER,
                STATUS_SUCCESS,
                STATUS_PROCEDURE_NOT_FOUND
            ]
        );
        assert_eq!(
            [0, 0, 1].map(process_ex),
            [STATUS_SUCCESS, STATUS_INVALID_PARAMETER, STATUS_SUCCESS]
        );
        let thread = Some(on_thread as unsafe extern "C" fn(_, _, _));
        let image = Some(on_image as unsafe extern "C" fn(_, _, _));
        let set = nt!(PsSetCreateThreadNotifyRoutine(thread));
        let removed = [(); 2].map(|()| nt!(PsRemoveCreateThreadNotifyRoutine(thread)));
        assert_eq!(
            (set, removed),
            (STATUS_SUCCESS, [STATUS_SUCCESS, STATUS_PROCEDURE_NOT_FOUND])
        );
        let set = nt!(PsSetLoadImageNotifyRoutine(image));
        let removed = [(); 2].map(|()| nt!(PsRemoveLoadImageNotifyRoutine(image)));
        assert_eq!(
            (set, removed),
            (STATUS_SUCCESS, [STATUS_SUCCESS, STATUS_PROCEDURE_NOT_FOUND])
        );
        delete(device);
    });
}

/// "A driver must remove any callbacks it registers before it unloads."
#[test]
fn unloaded_driver_has_removed_its_routines() {
    fn fails(body: impl Body) {
        stops(body, Rule::Callback, 0xce, 0, "DriverEntry");
    }
    fails(|device| {
        nt!(PsSetCreateProcessNotifyRoutine(Some(on_process), 0));
        delete(device);
    });
    fails(|device| {
        nt!(PsSetCreateProcessNotifyRoutineEx(Some(on_process_ex), 0));
        delete(device);
    });
    fails(|device| {
        nt!(PsSetCreateThreadNotifyRoutine(Some(on_thread)));
        delete(device);
    });
    fails(|device| {
        nt!(PsSetLoadImageNotifyRoutine(Some(on_image)));
        delete(device);
    });
}

#[test]
fn routines_are_set_at_passive_level() {
    let body = |_: *mut DEVICE_OBJECT| {
        nt!(KfRaiseIrql(2));
        nt!(PsSetCreateProcessNotifyRoutine(Some(on_process), 0));
    };
    let routine = "PsSetCreateProcessNotifyRoutine";
    stops(body, Rule::IrqlPsPassive, 0xc4, 0x2_001c, routine);
    let body = |_: *mut DEVICE_OBJECT| {
        nt!(KfRaiseIrql(1));
        nt!(PsSetCreateProcessNotifyRoutineEx(Some(on_process_ex), 0));
    };
    let routine = "PsSetCreateProcessNotifyRoutineEx";
    stops(body, Rule::Irql, 0xc4, 0xe5, routine);
    let body = |_: *mut DEVICE_OBJECT| {
        nt!(KfRaiseIrql(2));
        nt!(PsRemoveLoadImageNotifyRoutine(Some(on_image)));
    };
    let routine = "PsRemoveLoadImageNotifyRoutine";
    stops(body, Rule::Irql, 0xc4, 0xe5, routine);
    let body = |device: *mut DEVICE_OBJECT| {
        nt!(KfRaiseIrql(1));
        register(driver_of(device), 0, null_mut());
    };
    let routine = "IoRegisterPlugPlayNotification";
    stops(body, Rule::Irql, 0xc4, 0xe5, routine);
}

/// The numbers of calls: of a process that starts, one that ends, a thread, an image.
static CALLS: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

unsafe extern "C" fn counts_process(
    process: *mut c_void,
    id: HANDLE,
    information: *mut PS_CREATE_NOTIFY_INFO,
) {
    assert_eq!(nt!(PsGetProcessId(process)), id);
    assert_eq!(nt!(KeAreApcsDisabled()), 1, "it runs in a critical region");
    let starts = !information.is_null();
    if starts {
        // SAFETY: the system passes the structure, whose name is a string.
        let name = unsafe { (*information).ImageFileName };
        // SAFETY: as above.
        assert_ne!(unsafe { (*name).Length }, 0);
    }
    CALLS[usize::from(!starts)].fetch_add(1, SeqCst);
}

unsafe extern "C" fn counts_thread(_: HANDLE, _: HANDLE, _: u8) {
    CALLS[2].fetch_add(1, SeqCst);
}

unsafe extern "C" fn counts_image(_: *mut UNICODE_STRING, _: HANDLE, image: *mut IMAGE_INFO) {
    // SAFETY: the system passes the structure.
    assert_ne!(unsafe { (*image).ImageSize }, 0);
    CALLS[3].fetch_add(1, SeqCst);
}

unsafe extern "C" fn removes_counters(_: *mut DRIVER_OBJECT) {
    nt!(PsSetCreateProcessNotifyRoutineEx(Some(counts_process), 1));
    nt!(PsRemoveCreateThreadNotifyRoutine(Some(counts_thread)));
    nt!(PsRemoveLoadImageNotifyRoutine(Some(counts_image)));
}

unsafe extern "C" fn counts(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    unloads_by(driver, removes_counters);
    nt!(PsSetCreateProcessNotifyRoutineEx(Some(counts_process), 0));
    nt!(PsSetCreateThreadNotifyRoutine(Some(counts_thread)));
    nt!(PsSetLoadImageNotifyRoutine(Some(counts_image)))
}

#[test]
fn process_notifies_the_registered_routines() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel, counts);
    kernel.run_process().expect("no driver prevents it");
    assert_eq!(
        CALLS.each_ref().map(|calls| calls.load(SeqCst)),
        [1, 1, 2, 1]
    );
    driver.unload();
    kernel.run_process().expect("no driver prevents it");
    assert_eq!(CALLS[0].load(SeqCst), 1, "the routine was removed");
}

unsafe extern "C" fn prevents(_: *mut c_void, _: HANDLE, information: *mut PS_CREATE_NOTIFY_INFO) {
    // SAFETY: the system passes NULL or the structure.
    if let Some(information) = unsafe { information.as_mut() } {
        information.CreationStatus = STATUS_ACCESS_DENIED;
    }
}

unsafe extern "C" fn removes_prevention(_: *mut DRIVER_OBJECT) {
    nt!(PsSetCreateProcessNotifyRoutineEx(Some(prevents), 1));
}

unsafe extern "C" fn prevention(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    unloads_by(driver, removes_prevention);
    nt!(PsSetCreateProcessNotifyRoutineEx(Some(prevents), 0))
}

#[test]
fn driver_can_prevent_a_process() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel, prevention);
    assert_eq!(kernel.run_process(), Err(STATUS_ACCESS_DENIED));
    driver.unload();
}

unsafe extern "C" fn removes_itself(_: HANDLE, _: HANDLE, _: u8) {
    nt!(PsRemoveCreateThreadNotifyRoutine(Some(removes_itself)));
}

unsafe extern "C" fn removes_itself_later(
    _: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    nt!(PsSetCreateThreadNotifyRoutine(Some(removes_itself)))
}

/// "the callback routine itself must not call `PsRemoveCreateThreadNotifyRoutine`"
#[test]
fn routine_does_not_remove_itself() {
    let violation = found_in(|kernel| {
        let _driver = load(kernel, removes_itself_later);
        let _ = kernel.run_process();
    });
    let routine = "PsRemoveCreateThreadNotifyRoutine";
    is(&violation, Rule::Callback, NO_CODE, 0, routine);
}

fn register(driver: *mut DRIVER_OBJECT, flags: u32, context: *mut c_void) -> *mut c_void {
    register_routine(driver, flags, context, on_interface)
}

fn register_routine(
    driver: *mut DRIVER_OBJECT,
    flags: u32,
    context: *mut c_void,
    routine: unsafe extern "C" fn(*mut c_void, *mut c_void) -> NTSTATUS,
) -> *mut c_void {
    let (mut class, mut entry) = (CLASS, null_mut());
    let status = nt!(IoRegisterPlugPlayNotification(
        EventCategoryDeviceInterfaceChange,
        flags,
        (&raw mut class).cast(),
        driver,
        Some(routine),
        context,
        &raw mut entry
    ));
    assert_eq!(status, STATUS_SUCCESS);
    entry
}

fn driver_of(device: *mut DEVICE_OBJECT) -> *mut DRIVER_OBJECT {
    // SAFETY: the device object is the driver's.
    unsafe { (*device).DriverObject }
}

#[test]
fn notification_is_unregistered_before_its_context_is_freed() {
    passes(|device| {
        for is_old in [false, true] {
            let block = nt!(ExAllocatePoolWithTag(512, 64, 7));
            let entry = register(driver_of(device), 0, block);
            let status = if is_old {
                nt!(IoUnregisterPlugPlayNotification(entry))
            } else {
                nt!(IoUnregisterPlugPlayNotificationEx(entry))
            };
            assert_eq!(status, STATUS_SUCCESS);
            nt!(ExFreePoolWithTag(block, 7));
        }
        delete(device);
    });
    let body = |device: *mut DEVICE_OBJECT| {
        let block = nt!(ExAllocatePoolWithTag(512, 64, 7));
        register(driver_of(device), 0, block);
        nt!(ExFreePoolWithTag(block, 7));
    };
    stops(body, Rule::Callback, NO_CODE, 0, "ExFreePoolWithTag");
}

#[test]
fn notification_is_unregistered_once_before_the_driver_is_unloaded() {
    let body = |device: *mut DEVICE_OBJECT| {
        register(driver_of(device), 0, null_mut());
        delete(device);
    };
    stops(body, Rule::Callback, 0xce, 0, "DriverEntry");
    let violation = common::found(|device| {
        let entry = register(driver_of(device), 0, null_mut());
        nt!(IoUnregisterPlugPlayNotificationEx(entry));
        nt!(IoUnregisterPlugPlayNotificationEx(entry));
    });
    let seen = (violation.rule, violation.code, violation.routine);
    let expected = (Rule::Callback, 0x50, "IoUnregisterPlugPlayNotificationEx");
    assert_eq!(seen, expected, "{violation}");
}

/// A driver of a device that enables an interface, and is notified of the interfaces of its class. `WAITS` is whether it waits for the
/// routine before it frees the context.
struct Watches<const WAITS: bool>;

struct Watch {
    name: UnsafeCell<UNICODE_STRING>,
    entry: AtomicPtr<c_void>,
    context: AtomicPtr<c_void>,
}

/// Counts the arrivals and the removals, in the context.
unsafe extern "C" fn counts_interfaces(
    notification: *mut c_void,
    context: *mut c_void,
) -> NTSTATUS {
    let notification = notification.cast::<DEVICE_INTERFACE_CHANGE_NOTIFICATION>();
    // SAFETY: the PnP manager passes the structure.
    let event = unsafe { (*notification).Event }.Data1;
    let counts = context.cast::<u32>();
    let index = usize::from(event == GUID_DEVICE_INTERFACE_REMOVAL.Data1);
    nt!(KeStallExecutionProcessor(1));
    let count = counts.wrapping_add(index);
    // SAFETY: the context is two numbers.
    let before = unsafe { count.read_volatile() };
    // SAFETY: as above.
    unsafe { count.write_volatile(before + 1) };
    STATUS_SUCCESS
}

impl<const WAITS: bool> Steps for Watches<WAITS> {
    type Own = Watch;

    fn pass_down(device: *mut DEVICE_OBJECT, own: &Watch, irp: *mut IRP) -> NTSTATUS {
        let is_pnp = nt!(irp::major_function(irp)) == nt::IRP_MJ_PNP;
        if is_pnp && nt!(irp::minor_function(irp)) == nt::IRP_MN_START_DEVICE {
            let context = nt!(ExAllocatePoolWithTag(512, 8, 7));
            // SAFETY: the block has this size.
            unsafe { context.cast::<u64>().write(0) };
            own.context.store(context, SeqCst);
            let lower = lower::<Self>(device);
            let (class, none, name) = (std::ptr::from_ref(&CLASS), null_mut(), own.name.get());
            nt!(IoRegisterDeviceInterface(lower, class, none, name));
            let driver = driver_of(device);
            let entry = register_routine(driver, 0, context, counts_interfaces);
            own.entry.store(entry, SeqCst);
            nt!(IoSetDeviceInterfaceState(name, 1));
        }
        skip(lower::<Self>(device), irp)
    }

    fn remove(own: &Watch) {
        nt!(IoSetDeviceInterfaceState(own.name.get(), 0));
        let entry = own.entry.load(SeqCst);
        if WAITS {
            nt!(IoUnregisterPlugPlayNotificationEx(entry));
        } else {
            nt!(IoUnregisterPlugPlayNotification(entry));
        }
        nt!(ExFreePoolWithTag(own.context.load(SeqCst), 7));
        nt!(RtlFreeUnicodeString(own.name.get()));
    }
}

fn is_started_and_removed<const WAITS: bool>(kernel: &Arc<Kernel>) {
    let driver = load(kernel, entry::<Watches<WAITS>>);
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    device.remove().expect("no file is open");
    driver.unload();
}

/// "Therefore, the routine can be called after the `IoUnregisterPlugPlayNotification` method has returned."
#[test]
fn context_of_a_routine_that_can_run_is_not_freed() {
    holds(is_started_and_removed::<true>);
    let text = "counts_interfaces";
    breaks(is_started_and_removed::<false>, Rule::FreedMemory, text);
}

/// The number of calls for an arrival, and for a removal.
static NOTIFIED: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

unsafe extern "C" fn count_and_signal(notification: *mut c_void, context: *mut c_void) -> NTSTATUS {
    let notification = notification.cast::<DEVICE_INTERFACE_CHANGE_NOTIFICATION>();
    // SAFETY: as above.
    let notification = unsafe { &*notification };
    assert_eq!((notification.Version, notification.Size), (1, 0x30));
    assert_eq!(notification.InterfaceClassGuid.Data1, CLASS.Data1);
    // SAFETY: as above.
    assert_ne!(unsafe { (*notification.SymbolicLinkName).Length }, 0);
    let removed = notification.Event.Data1 == GUID_DEVICE_INTERFACE_REMOVAL.Data1;
    NOTIFIED[usize::from(removed)].fetch_add(1, SeqCst);
    nt!(KeSetEvent(context.cast(), 0, 0));
    STATUS_SUCCESS
}

#[test]
fn routine_is_notified_of_the_arrival_and_removal_of_interfaces() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel, entry::<Watches<true>>);
    let device = driver.add_device().expect("AddDevice");
    common::load(&kernel, expects_no_arrival);
    device.start().expect("the device starts");
    common::load(&kernel, expects_one_arrival);
    device.remove().expect("no file is open");
    driver.unload();
    let calls = NOTIFIED.each_ref().map(|calls| calls.load(SeqCst));
    assert_eq!(calls, [1, 0]);
}

fn existing(driver: *mut DRIVER_OBJECT) -> NTSTATUS {
    let mut event = common::event();
    common::initialise(&raw mut event);
    let flags = PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES;
    let entry = register_routine(driver, flags, (&raw mut event).cast(), count_and_signal);
    nt!(IoUnregisterPlugPlayNotificationEx(entry));
    nt::STATUS_CANCELLED
}

unsafe extern "C" fn expects_no_arrival(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    let status = existing(driver);
    assert_eq!(NOTIFIED[0].load(SeqCst), 0);
    status
}

unsafe extern "C" fn expects_one_arrival(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    let status = existing(driver);
    assert_eq!(NOTIFIED[0].load(SeqCst), 1);
    status
}
