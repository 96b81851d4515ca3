//! A function driver on `nt`, which completes its `IRP_MN_REMOVE_DEVICE` even if it has a request.

use std::{ptr::null_mut, sync::Arc};

use nt::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, NTSTATUS, UNICODE_STRING, irp};
use ntmodel::{Driver, Kernel};

/// The driver's handling of requests that are not for PnP.
pub trait Control: 'static {
    /// The flags of the device object that say how reads and writes transfer data.
    const IO_TYPE: u32 = 0;

    /// Handles an IRP that it owns.
    fn control(irp: *mut IRP) -> NTSTATUS;

    /// Acts when the device gets `IRP_MN_REMOVE_DEVICE`.
    fn remove(_object: *mut DEVICE_OBJECT) {}
}

/// Loads the driver.
pub fn load<C: Control>(kernel: &Arc<Kernel>) -> Driver {
    // SAFETY: the entry point is that of a driver on `nt`.
    unsafe { Driver::load(kernel, entry::<C>) }.expect("DriverEntry")
}

/// Completes an IRP with a status.
pub fn complete(irp: *mut IRP, status: NTSTATUS) -> NTSTATUS {
    // SAFETY: the caller owns the IRP; so below.
    unsafe { irp::set_status(irp, status) };
    // SAFETY: as above.
    unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
    status
}

/// The `DriverEntry`.
unsafe extern "C" fn entry<C: Control>(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the driver may fill in its object.
    unsafe { (*driver).MajorFunction = [Some(dispatch::<C>); 28] };
    // SAFETY: as above.
    unsafe { (*driver).DriverUnload = Some(unload) };
    // SAFETY: as above.
    let extension = unsafe { (*driver).DriverExtension };
    // SAFETY: as above.
    unsafe { (*extension).AddDevice = Some(add::<C>) };
    nt::STATUS_SUCCESS
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

unsafe extern "C" fn add<C: Control>(
    driver: *mut DRIVER_OBJECT,
    pdo: *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let mut object = null_mut();
    // SAFETY: the PnP manager passes the driver object.
    let status = unsafe { nt::IoCreateDevice(driver, 8, null_mut(), 0x22, 0, 0, &raw mut object) };
    assert_eq!(status, nt::STATUS_SUCCESS);
    // SAFETY: both device objects are valid.
    let lower = unsafe { nt::IoAttachDeviceToDeviceStack(object, pdo) };
    let place = extension(object);
    // SAFETY: the extension has room for a pointer.
    unsafe { place.write(lower) };
    // SAFETY: the driver may change the field in AddDevice.
    unsafe { (*object).Flags |= C::IO_TYPE };
    // SAFETY: as above.
    unsafe { (*object).Flags &= !nt::DO_DEVICE_INITIALIZING };
    nt::STATUS_SUCCESS
}

unsafe extern "C" fn dispatch<C: Control>(object: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: this routine owns the IRP; so below.
    if unsafe { irp::major_function(irp) } != nt::IRP_MJ_PNP {
        return C::control(irp);
    }
    // SAFETY: `add` has stored it.
    let lower = unsafe { *extension(object) };
    // SAFETY: as above.
    let removes = unsafe { irp::minor_function(irp) } == nt::IRP_MN_REMOVE_DEVICE;
    if removes {
        C::remove(object);
    }
    // SAFETY: as above.
    unsafe { irp::set_status(irp, nt::STATUS_SUCCESS) };
    // SAFETY: as above.
    unsafe { irp::IoSkipCurrentIrpStackLocation(irp) };
    // SAFETY: the IRP is given up.
    let status = unsafe { nt::IofCallDriver(lower, irp) };
    if removes {
        // SAFETY: the device object is attached to the lower one.
        unsafe { nt::IoDetachDevice(lower) };
        // SAFETY: the device object is detached.
        unsafe { nt::IoDeleteDevice(object) };
    }
    status
}

/// Where the lower device object is stored.
fn extension(object: *mut DEVICE_OBJECT) -> *mut *mut DEVICE_OBJECT {
    // SAFETY: the callers pass the driver's device object.
    unsafe { (*object).DeviceExtension }.cast()
}
