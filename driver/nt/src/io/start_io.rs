//! The device queue of a device object, and the StartIo routine that receives its requests one at a time.

use core::{ffi::c_void, mem::transmute};

use crate::{
    DEVICE_OBJECT, DRIVER_OBJECT, IRP, KDPC, KeInitializeDpc, KeInsertQueueDpc, PDRIVER_CANCEL,
};

/// A StartIo routine.
pub type PDRIVER_STARTIO =
    Option<unsafe extern "C" fn(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP)>;

/// The DPC routine of a device object.
pub type PIO_DPC_ROUTINE = Option<
    unsafe extern "C" fn(
        Dpc: *mut KDPC,
        DeviceObject: *mut DEVICE_OBJECT,
        Irp: *mut IRP,
        Context: *mut c_void,
    ),
>;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// `Key` and `CancelFunction` may be NULL.
    pub fn IoStartPacket(
        DeviceObject: *mut DEVICE_OBJECT,
        Irp: *mut IRP,
        Key: *mut u32,
        CancelFunction: PDRIVER_CANCEL,
    );
    pub fn IoStartNextPacket(DeviceObject: *mut DEVICE_OBJECT, Cancelable: u8);
    pub fn IoStartNextPacketByKey(DeviceObject: *mut DEVICE_OBJECT, Cancelable: u8, Key: u32);
    pub fn IoSetStartIoAttributes(
        DeviceObject: *mut DEVICE_OBJECT,
        DeferredStartIo: u8,
        NonCancelable: u8,
    );
}

/// Sets `DriverObject->DriverStartIo`.
///
/// # Safety
/// The caller is the `DriverEntry` of `driver`.
pub unsafe fn set_start_io(driver: *mut DRIVER_OBJECT, routine: PDRIVER_STARTIO) {
    // SAFETY: only the address is computed, inside the driver object.
    let field = unsafe { &raw mut (*driver).DriverStartIo };
    // SAFETY: the field is a StartIo routine or NULL. Only the name of its type depends on the bindings.
    unsafe { field.cast::<PDRIVER_STARTIO>().write(routine) };
}

/// `DeviceObject->CurrentIrp`: returns the IRP that was passed to the StartIo routine last, or NULL.
///
/// # Safety
/// The device object is valid, and the caller holds the cancel spin lock or is the only one to start the next IRP.
#[must_use]
pub unsafe fn current_irp(device: *mut DEVICE_OBJECT) -> *mut IRP {
    // SAFETY: guaranteed by the caller.
    unsafe { (*device).CurrentIrp }.cast()
}

/// `IoInitializeDpcRequest`: sets the routine of the device object's DPC.
///
/// # Safety
/// The device object is the driver's, and its DPC is not queued.
pub unsafe fn IoInitializeDpcRequest(device: *mut DEVICE_OBJECT, routine: PIO_DPC_ROUTINE) {
    // SAFETY: the parameters of both types are pointers. The context is the device object, and the arguments are those of
    // `IoRequestDpc`.
    let routine = unsafe { transmute::<PIO_DPC_ROUTINE, crate::PKDEFERRED_ROUTINE>(routine) };
    // SAFETY: only the address is computed, inside the device object.
    let dpc = unsafe { &raw mut (*device).Dpc };
    // SAFETY: guaranteed by the caller.
    unsafe { KeInitializeDpc(dpc.cast(), routine, device.cast()) };
}

/// `IoRequestDpc`: queues the device object's DPC.
///
/// # Safety
/// [`IoInitializeDpcRequest`] was called for the device object, and its routine can be called with these arguments.
pub unsafe fn IoRequestDpc(device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) {
    // SAFETY: only the address is computed, inside the device object.
    let dpc = unsafe { &raw mut (*device).Dpc };
    // SAFETY: guaranteed by the caller.
    unsafe { KeInsertQueueDpc(dpc.cast(), irp.cast(), context) };
}
