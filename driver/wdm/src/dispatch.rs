//! The dispatch routines but for PnP: from the I/O manager's call to the [`Device`]'s.
//!
//! Each takes the device's remove lock for its IRP first. An IRP that is completed gives it back in
//! [`finish`]; one that is passed on, when the lower driver has been called.

use crate::{
    Device, FileId, Irp, NtStatus, PassiveLevel,
    device::Extension,
    forward::pass_down,
    irp::{complete_request, finish},
};

/// Completes an IRP that has no hold of the remove lock, since the device is being removed.
///
/// # Safety
/// The caller owns the IRP and gives it up, at `PASSIVE_LEVEL`.
pub(crate) unsafe fn complete_unheld(irp: *mut nt::IRP, status: NtStatus) -> i32 {
    // SAFETY: the caller gives the IRP up; no driver code has set a Cancel routine or taken a lock.
    unsafe { complete_request(irp, status, 0) };
    status.to_raw()
}

/// Completes an IRP that has a hold of the remove lock, and says what the dispatch routine returns.
///
/// # Safety
/// As for [`finish`].
unsafe fn complete(irp: *mut nt::IRP, status: NtStatus) -> i32 {
    // SAFETY: passed on to the caller.
    unsafe { finish::<()>(irp, status, 0) };
    status.to_raw()
}

/// `IRP_MJ_CREATE`: anybody whom the device's security lets through may open it.
///
/// # Safety
/// Called by the I/O manager, for a device object of this crate.
pub(crate) unsafe extern "C" fn create(object: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    // SAFETY: the I/O manager holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    if !extension.remove_lock.acquire(irp) {
        // SAFETY: the I/O manager has just given the IRP to this routine, at PASSIVE_LEVEL.
        return unsafe { complete_unheld(irp, NtStatus::DELETE_PENDING) };
    }
    let status = if extension.is_gone() {
        NtStatus::DELETE_PENDING
    } else {
        NtStatus::SUCCESS
    };
    // SAFETY: as above, and the IRP has a hold.
    unsafe { complete(irp, status) }
}

/// `IRP_MJ_CLOSE`: nothing is kept for an open file, so there is nothing to do, removed or not.
///
/// # Safety
/// Called by the I/O manager, for a device object of this crate.
pub(crate) unsafe extern "C" fn close(_object: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    // SAFETY: the I/O manager has just given the IRP to this routine, at PASSIVE_LEVEL.
    unsafe { complete_unheld(irp, NtStatus::SUCCESS) }
}

/// `IRP_MJ_CLEANUP`: the last handle of an open file is closed.
///
/// # Safety
/// Called by the I/O manager, for a device object of this crate whose state is a `D`.
pub(crate) unsafe extern "C" fn cleanup<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) -> i32 {
    // SAFETY: the I/O manager holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    if !extension.remove_lock.acquire(irp) {
        // A removed device has no request left to cancel.
        // SAFETY: the I/O manager has just given the IRP to this routine, at PASSIVE_LEVEL.
        return unsafe { complete_unheld(irp, NtStatus::SUCCESS) };
    }
    // SAFETY: this routine has the IRP.
    let file = FileId::new(unsafe { nt::irp::file_object(irp) });
    // SAFETY: the state is a `D`, and the IRP's hold keeps it until `complete`.
    let device = unsafe { extension.device::<D>() };
    // SAFETY: the I/O manager sends this request at PASSIVE_LEVEL.
    device.cleanup(file, &mut unsafe { PassiveLevel::assume() });
    // SAFETY: as above, and the IRP has a hold.
    unsafe { complete(irp, NtStatus::SUCCESS) }
}

/// `IRP_MJ_DEVICE_CONTROL`.
///
/// # Safety
/// Called by the I/O manager, for a device object of this crate whose state is a `D`.
pub(crate) unsafe extern "C" fn device_control<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) -> i32 {
    // SAFETY: the I/O manager holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    if !extension.remove_lock.acquire(irp) {
        // SAFETY: the I/O manager has just given the IRP to this routine, at PASSIVE_LEVEL.
        return unsafe { complete_unheld(irp, NtStatus::DELETE_PENDING) };
    }
    if extension.is_gone() {
        // SAFETY: as above, and the IRP has a hold.
        return unsafe { complete(irp, NtStatus::DELETE_PENDING) };
    }
    // The IRP's hold goes with the IRP, maybe before the device's routine returns. A second one, for the
    // call, keeps the state until then. It is refused if the removal has begun since the first was taken.
    let call = object.cast();
    if !extension.remove_lock.acquire(call) {
        // SAFETY: as above, and the IRP has a hold.
        return unsafe { complete(irp, NtStatus::DELETE_PENDING) };
    }
    // SAFETY: the state is a `D`, and the call's hold keeps it until it is released below.
    let device = unsafe { extension.device::<D>() };
    // SAFETY: this routine has the IRP, which has a hold, and makes one `Irp` of it.
    let irp = unsafe { Irp::from_raw(irp) };
    // SAFETY: the I/O manager sends this request at PASSIVE_LEVEL to a device that user mode opened: the
    // WDK's "Dispatch Routine IRQL and Thread Context".
    let mut irql = unsafe { PassiveLevel::assume() };
    let status = device.device_control(irp, &mut irql).status();
    // SAFETY: the call's hold was taken above, and the state is not used any more.
    unsafe { Extension::release(object, call) };
    status
}

/// `IRP_MJ_POWER` and `IRP_MJ_SYSTEM_CONTROL`: for the bus driver to answer. The device has no power
/// states of its own, and requests may wait across a sleep.
///
/// # Safety
/// Called by the power manager or WMI, for a device object of this crate.
pub(crate) unsafe extern "C" fn pass_on(object: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    // SAFETY: the caller holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    if !extension.remove_lock.acquire(irp) {
        // SAFETY: this routine has just been given the IRP, at PASSIVE_LEVEL: DO_POWER_PAGABLE is set.
        return unsafe { complete_unheld(irp, NtStatus::DELETE_PENDING) };
    }
    // SAFETY: this routine has the IRP; the hold keeps the device attached to the lower one.
    let status = unsafe { pass_down(extension.lower, irp) };
    // SAFETY: the hold was taken above.
    unsafe { Extension::release(object, irp) };
    status
}
