//! The correct part of every family's driver, which loads, starts and removes it.

use std::{ptr::null_mut, sync::Arc};

use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_OBJECT, IRP, LIST_ENTRY, NTSTATUS, STATUS_NOT_FOUND,
    STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Device, Driver, Kernel};

use crate::harness::{COMPLETE, Harness, PEND, send};

/// Calls a routine of `nt`. In a report, the caller is the line that contains the macro.
#[collapse_debuginfo(yes)]
macro_rules! nt {
    ($($routine:ident)::+($($argument:expr),*)) => {
        // SAFETY: the objects are the driver's or the model's, and the model keeps their memory. It checks the other
        // obligations of the caller, and stops at the first that a mistake breaks.
        unsafe { nt::$($routine)::+($($argument),*) }
    };
}

pub(super) use nt;

/// An IRP that was sent to the driver.
///
/// The model keeps an IRP's memory for a while after its completion, so that the mistakes that access it then are detected.
/// That makes the calls below sound on the model, whether or not the driver still owns the IRP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Irp(pub(super) *mut IRP);

impl Irp {
    /// Returns the IRP that contains a list entry.
    pub(super) fn of(entry: *mut LIST_ENTRY) -> Self {
        Self(nt!(irp::from_list_entry(entry)))
    }

    /// Returns the list entry.
    pub(super) fn entry(self) -> *mut LIST_ENTRY {
        nt::irp::list_entry(self.0)
    }

    /// Returns the file object.
    pub(super) fn file(self) -> *mut FILE_OBJECT {
        nt!(irp::file_object(self.0))
    }

    /// Marks the IRP pending (`IoMarkIrpPending`).
    pub(super) fn mark_pending(self) {
        nt!(irp::IoMarkIrpPending(self.0));
    }

    /// Sets the Cancel routine of a family's driver.
    pub(super) fn set_cancel_routine<F: Family>(self) {
        nt!(irp::IoSetCancelRoutine(self.0, Some(cancel::<F>)));
    }

    /// Sets the Cancel routine to NULL; returns whether it was set.
    pub(super) fn clear_cancel_routine(self) -> bool {
        nt!(irp::IoSetCancelRoutine(self.0, None)).is_some()
    }

    /// Returns `Irp->Cancel`.
    pub(super) fn is_cancelled(self) -> bool {
        nt!(irp::is_cancel_requested(self.0))
    }

    /// Returns `Irp->CancelIrql`, in the Cancel routine.
    pub(super) fn cancel_irql(self) -> u8 {
        nt!(irp::cancel_irql(self.0))
    }

    /// Completes the IRP with `Information` 0.
    pub(super) fn complete(self, status: NTSTATUS) {
        nt!(irp::set_status(self.0, status));
        nt!(irp::set_information(self.0, 0));
        nt!(IofCompleteRequest(self.0, nt::IO_NO_INCREMENT));
    }
}

/// A family: the driver's data, and how it handles requests.
pub(super) trait Family: 'static {
    /// The driver's part of the device extension. It is zeroed at first and does not move.
    type Data: 'static;

    /// Initializes the data in `AddDevice`.
    fn initialize(data: &Self::Data);

    /// `IRP_MJ_DEVICE_CONTROL`.
    fn control(data: &Self::Data, irp: Irp, code: u32) -> NTSTATUS;

    /// `IRP_MJ_CLEANUP`, which the caller completes.
    fn cleanup(_: &Self::Data, _: *mut FILE_OBJECT) {}

    /// A Cancel routine.
    fn cancel(_: &Self::Data, _: Irp) {}
}

/// The device extension.
#[repr(C)]
struct Extension<T> {
    lower: *mut DEVICE_OBJECT,
    data: T,
}

/// Returns the extension of a device object.
///
/// # Safety
/// The device object is the family's, and is not deleted while the reference is used.
unsafe fn extension<'a, F: Family>(device: *mut DEVICE_OBJECT) -> &'a Extension<F::Data> {
    // SAFETY: the caller's obligation.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: `add_device` created an extension of this type, which is valid when zeroed.
    unsafe { &*extension.cast() }
}

/// The Cancel routine of a family's driver.
unsafe extern "C" fn cancel<F: Family>(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the I/O manager passes the driver's own device object, which outlives its IRPs.
    let extension = unsafe { extension::<F>(device) };
    F::cancel(&extension.data, Irp(irp));
}

unsafe extern "C" fn control<F: Family>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager passes the driver's own device object, which outlives its IRPs.
    let extension = unsafe { extension::<F>(device) };
    let code = nt!(irp::io_control(irp)).code;
    F::control(&extension.data, Irp(irp), code)
}

unsafe extern "C" fn cleanup<F: Family>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager passes the driver's own device object, which outlives its IRPs.
    let extension = unsafe { extension::<F>(device) };
    F::cleanup(&extension.data, Irp(irp).file());
    Irp(irp).complete(STATUS_SUCCESS);
    STATUS_SUCCESS
}

unsafe extern "C" fn succeed(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    Irp(irp).complete(STATUS_SUCCESS);
    STATUS_SUCCESS
}

/// `IRP_MJ_PNP`: passed to the lower device; the device object is deleted with `IRP_MN_REMOVE_DEVICE`.
unsafe extern "C" fn pnp<F: Family>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager passes the driver's own device object.
    let lower = unsafe { extension::<F>(device) }.lower;
    let removed = nt!(irp::minor_function(irp)) == nt::IRP_MN_REMOVE_DEVICE;
    nt!(irp::IoSkipCurrentIrpStackLocation(irp));
    let status = nt!(IofCallDriver(lower, irp));
    if removed {
        nt!(IoDetachDevice(lower));
        nt!(IoDeleteDevice(device));
    }
    status
}

unsafe extern "C" fn add_device<F: Family>(
    driver: *mut DRIVER_OBJECT,
    pdo: *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let (mut device, name, kind) = (null_mut(), null_mut(), nt::FILE_DEVICE_UNKNOWN);
    let Ok(size) = u32::try_from(size_of::<Extension<F::Data>>()) else {
        return nt::STATUS_INSUFFICIENT_RESOURCES;
    };
    let out = &raw mut device;
    let status = nt!(IoCreateDevice(driver, size, name, kind, 0, 0, out));
    if status < 0 {
        return status;
    }
    // SAFETY: the device object was just created.
    let extension_start = unsafe { (*device).DeviceExtension }.cast::<Extension<F::Data>>();
    let lower = nt!(IoAttachDeviceToDeviceStack(device, pdo));
    // SAFETY: the extension has this size, and is not in use yet.
    unsafe { (*extension_start).lower = lower };
    // SAFETY: the device object was just created.
    F::initialize(&unsafe { extension::<F>(device) }.data);
    // SAFETY: the device object was just created.
    unsafe { (*device).Flags &= !nt::DO_DEVICE_INITIALIZING };
    status
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

/// `DriverEntry`.
unsafe extern "C" fn entry<F: Family>(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the I/O manager passes the driver object, which only this routine uses.
    let driver = unsafe { &mut *driver };
    driver.DriverUnload = Some(unload);
    driver.MajorFunction[nt::IRP_MJ_CREATE] = Some(succeed);
    driver.MajorFunction[nt::IRP_MJ_CLOSE] = Some(succeed);
    driver.MajorFunction[nt::IRP_MJ_CLEANUP] = Some(cleanup::<F>);
    driver.MajorFunction[nt::IRP_MJ_DEVICE_CONTROL] = Some(control::<F>);
    driver.MajorFunction[nt::IRP_MJ_PNP] = Some(pnp::<F>);
    // SAFETY: the driver object has an extension.
    unsafe { (*driver.DriverExtension).AddDevice = Some(add_device::<F>) };
    STATUS_SUCCESS
}

/// Loads a family's driver, and starts and opens its device.
pub(super) fn set_up<F: Family>(kernel: &Arc<Kernel>) -> Harness {
    // SAFETY: the entry point is that of a driver; the model detects its mistakes.
    let driver = unsafe { Driver::load(kernel, entry::<F>) };
    Harness::open_by(kernel, driver, Device::open_anyway)
}

/// One thread sends a request and another completes it, during or after that.
pub(super) fn completion_against_insertion<F: Family>(kernel: &Arc<Kernel>) {
    let harness = set_up::<F>(kernel);
    let completer = harness.actor("completer", &harness.file, |file| {
        send(file, COMPLETE).answer()
    });
    let request = harness.send(PEND);
    if completer.join() == STATUS_NOT_FOUND {
        // The completer found no request, because none was queued yet.
        harness.complete();
    }
    harness.end(&request, &[STATUS_SUCCESS]);
    harness.tear_down();
}
