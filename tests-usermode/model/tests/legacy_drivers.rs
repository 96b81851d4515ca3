//! Drivers without `AddDevice`: the operations that are allowed in their entry points and Unload routines.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{ptr::null_mut, sync::Arc};

use call::{create_device, fill_in, on_completion, sets_event, with_string};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_OBJECT, IRP, NTSTATUS, STATUS_CANCELLED, STATUS_PENDING,
    STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Access, Config, Driver, Kernel, User};
use steps::{FIRST, Steps, complete, entry, holds, mark};

const NAME: &str = r"\Device\Lower";
/// The information that the filter completes requests with.
const FILTERED: u64 = 77;

unsafe extern "C" fn succeeds(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn succeeds_with_information(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    nt!(irp::set_status(irp, STATUS_SUCCESS));
    nt!(irp::set_information(irp, 77));
    nt!(IofCompleteRequest(irp, 0));
    STATUS_SUCCESS
}

unsafe extern "C" fn deletes(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the I/O manager passes the driver object.
    let device = unsafe { (*driver).DeviceObject };
    nt!(IoDeleteDevice(device));
}

fn handles(driver: *mut DRIVER_OBJECT, unload: nt::PDRIVER_UNLOAD) {
    // SAFETY: as above.
    let driver = unsafe { &mut *driver };
    for major in [nt::IRP_MJ_CREATE, nt::IRP_MJ_CLEANUP, nt::IRP_MJ_CLOSE] {
        driver.MajorFunction[major] = Some(succeeds);
    }
    driver.DriverUnload = unload;
}

unsafe extern "C" fn named(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    handles(driver, Some(deletes));
    let mut device = null_mut();
    with_string(NAME, |name| {
        nt!(IoCreateDevice(driver, 0, name, 0x22, 0, 0, &raw mut device))
    })
}

unsafe extern "C" fn detaches(driver: *mut DRIVER_OBJECT) {
    // SAFETY: as above.
    let device = unsafe { (*driver).DeviceObject };
    // SAFETY: the device object is the driver's own.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: the extension has the lower device object.
    let lower = unsafe { extension.cast::<*mut DEVICE_OBJECT>().read() };
    nt!(IoDetachDevice(lower));
    nt!(IoDeleteDevice(device));
}

/// A filter that is not a PnP driver, above a device that it finds by name.
unsafe extern "C" fn legacy_filter(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    handles(driver, Some(detaches));
    // SAFETY: as above.
    let fields = unsafe { &mut *driver };
    fields.MajorFunction[nt::IRP_MJ_DEVICE_CONTROL] = Some(succeeds_with_information);
    let (mut file, mut below): (*mut FILE_OBJECT, _) = (null_mut(), null_mut());
    let status = with_string(NAME, |name| {
        nt!(IoGetDeviceObjectPointer(
            name,
            0,
            &raw mut file,
            &raw mut below
        ))
    });
    assert_eq!(status, STATUS_SUCCESS);
    let device = create_device(driver, 8);
    let lower = nt!(IoAttachDeviceToDeviceStack(device, below));
    assert_eq!(lower, below);
    // SAFETY: the device object is the driver's own.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: the extension has room for the pointer.
    unsafe { extension.cast::<*mut DEVICE_OBJECT>().write(lower) };
    // SAFETY: the device object was made here.
    unsafe { (*device).Flags &= !nt::DO_DEVICE_INITIALIZING };
    nt!(ObfDereferenceObject(file.cast()));
    STATUS_SUCCESS
}

fn load(kernel: &Arc<Kernel>, entry: ntmodel::DriverEntry) -> Driver {
    // SAFETY: the entry point is that of a driver on `nt`.
    unsafe { Driver::load(kernel, entry) }.expect("DriverEntry succeeds")
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/non-pnp-driver-s-unload-routine>
#[test]
fn a_legacy_filter_detaches_in_its_unload_routine() {
    holds(|kernel| {
        let lower = load(kernel, named);
        load(kernel, legacy_filter).unload();
        lower.unload();
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iogetdeviceobjectpointer>: the top object of the stack.
#[test]
fn file_that_is_opened_by_name_sends_to_the_top_of_the_stack() {
    let kernel = Kernel::new(Config::default());
    let lower = load(&kernel, named);
    let filter = load(&kernel, legacy_filter);
    let file = kernel.open_device(NAME, Access::ReadWrite, User::System);
    let file = file.expect("it opens");
    let end = file.device_control(3, &[], Vec::new()).ended();
    assert_eq!(
        end.expect("it has ended").information,
        usize::try_from(FILTERED).expect("it is small")
    );
    file.close();
    filter.unload();
    lower.unload();
}

/// Its device object has a name.
struct Fails;

impl Steps for Fails {
    type Own = u64;

    const NAME: Option<&str> = Some(NAME);

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        complete(irp, nt::STATUS_INVALID_DEVICE_REQUEST)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/non-pnp-driver-s-unload-routine>
#[test]
fn a_legacy_filter_detaches_from_the_stack_of_a_pnp_device() {
    holds(|kernel| {
        let lower = load(kernel, entry::<Fails>);
        let device = lower.add_device().expect("AddDevice");
        device.start().expect("the device starts");
        load(kernel, legacy_filter).unload();
        device.remove().expect("no file is open");
        lower.unload();
    });
}

unsafe extern "C" fn cancels(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    let irql = nt!(irp::cancel_irql(irp));
    nt!(IoReleaseCancelSpinLock(irql));
    complete(irp, STATUS_CANCELLED);
}

/// Pends a request until it is cancelled.
unsafe extern "C" fn pends(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    mark(irp);
    nt!(irp::IoSetCancelRoutine(irp, Some(cancels)));
    STATUS_PENDING
}

unsafe extern "C" fn named_pending(
    driver: *mut DRIVER_OBJECT,
    path: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: as above.
    unsafe { (*driver).MajorFunction[nt::IRP_MJ_DEVICE_CONTROL] = Some(pends) };
    // SAFETY: as above.
    unsafe { named(driver, path) }
}

/// The request that a driver has outstanding until it is unloaded.
#[repr(C)]
struct Outstanding {
    irp: *mut IRP,
    file: *mut FILE_OBJECT,
    ended: nt::KEVENT,
}

fn outstanding(driver: *mut DRIVER_OBJECT) -> *mut Outstanding {
    // SAFETY: the I/O manager passes the driver object, which has a device object.
    let device = unsafe { (*driver).DeviceObject };
    common::extension(device).cast()
}

unsafe extern "C" fn has_outstanding(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    handles(driver, Some(cancels_outstanding));
    let (mut own, mut below) = (null_mut(), null_mut());
    let size = u32::try_from(size_of::<Outstanding>()).expect("it is small");
    let none = null_mut();
    let status = nt!(IoCreateDevice(driver, size, none, 0x22, 0, 0, &raw mut own));
    assert_eq!(status, STATUS_SUCCESS);
    // SAFETY: the extension has room for it, and zero is valid for every field.
    let request = unsafe { &mut *outstanding(driver) };
    let file = &raw mut request.file;
    let status = with_string(NAME, |name| {
        nt!(IoGetDeviceObjectPointer(name, 0, file, &raw mut below))
    });
    assert_eq!(status, STATUS_SUCCESS);
    common::initialise(&raw mut request.ended);
    request.irp = nt!(IoAllocateIrp(1, 0));
    fill_in(request.irp, FIRST);
    on_completion(request.irp, sets_event, (&raw mut request.ended).cast());
    assert_eq!(nt!(IofCallDriver(below, request.irp)), STATUS_PENDING);
    STATUS_SUCCESS
}

unsafe extern "C" fn cancels_outstanding(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the entry point has filled it in.
    let request = unsafe { &mut *outstanding(driver) };
    nt!(IoCancelIrp(request.irp));
    let event = (&raw mut request.ended).cast();
    nt!(KeWaitForSingleObject(event, 0, 0, 0, null_mut()));
    nt!(IoFreeIrp(request.irp));
    nt!(ObfDereferenceObject(request.file.cast()));
    // SAFETY: as above.
    unsafe { deletes(driver) };
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/different-ways-of-handling-irps-cheat-sheet>: scenario 12.
#[test]
fn an_unload_routine_cancels_a_request_of_the_driver_and_waits_for_it() {
    holds(|kernel| {
        let lower = load(kernel, named_pending);
        load(kernel, has_outstanding).unload();
        lower.unload();
    });
}
