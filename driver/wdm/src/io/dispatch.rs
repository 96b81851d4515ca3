//! The dispatch routines except PnP, which call the [`Device`]'s methods.
//!
//! Each one first acquires a hold of the device's remove lock for its IRP. [`finish`] releases the hold of an IRP
//! that is completed. The hold of an IRP that is passed on is released after the call of the lower driver.
//!
//! The methods run in a critical region, since programs wait for the IRPs that a thread removes from queues, and user mode can suspend a thread.
//! A thread that is suspended during the call stops at the end of the region. [`call`] releases its hold after that, so the removal of the
//! device waits until the thread is resumed. Otherwise the driver could be unloaded before the thread continues. An IRP that opens or closes a
//! file has the I/O manager's reference to the device object instead.

use crate::{
    Device, Error, Irp, MajorFunction, NtStatus, PassiveLevel,
    io::{
        extension::Extension,
        file::OpenFile,
        forward::pass_down,
        irp::{complete_request, finish},
    },
    ke::{critical_region::CriticalRegion, irql::CallerLevel},
};

/// Completes an IRP that has no hold of the remove lock, because the device is being removed.
///
/// # Safety
/// The caller owns the IRP and gives it up, at most at `DISPATCH_LEVEL`.
pub(crate) unsafe fn complete_unheld(irp: *mut nt::IRP, status: NtStatus) -> i32 {
    // SAFETY: the caller gives the IRP up; no driver code has set a Cancel routine or taken a lock.
    unsafe { complete_request(irp, status, 0) };
    status.to_raw()
}

/// Completes an IRP that has a hold of the remove lock, and returns the status for the dispatch routine.
///
/// # Safety
/// As for [`finish`].
unsafe fn complete(irp: *mut nt::IRP, status: NtStatus) -> i32 {
    // SAFETY: guaranteed by the caller.
    unsafe { finish::<()>(irp, status, 0) };
    status.to_raw()
}

/// `IRP_MJ_CREATE`: opens the device, unless it was removed or its removal is pending. The I/O manager has checked
/// the caller's access.
///
/// # Safety
/// Called by the I/O manager, for a device object of this crate whose state is a `D`.
pub(crate) unsafe extern "C" fn create<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) -> i32 {
    // SAFETY: the I/O manager sends this request at PASSIVE_LEVEL.
    let mut irql = unsafe { PassiveLevel::assume() };
    let _region = CriticalRegion::enter(&irql);
    // SAFETY: the I/O manager holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    if !extension.holds.acquire(irp) {
        // SAFETY: the I/O manager has just given the IRP to this routine, at PASSIVE_LEVEL.
        return unsafe { complete_unheld(irp, NtStatus::DELETE_PENDING) };
    }
    let opened = extension.check_open().and_then(|()| {
        // SAFETY: the state is a `D`, and the IRP's hold keeps it until `complete`.
        let device = unsafe { extension.device::<D>() };
        let file = OpenFile::new(extension.queues(), device, &extension.object, &mut irql)?;
        // The device may have been queried for its removal before its method ran.
        extension.check_open().map(|()| file)
    });
    // SAFETY: the IRP has a hold.
    unsafe { Extension::called(object) };
    let status = match opened {
        Ok(file) => {
            // SAFETY: this routine owns the IRP, which opens a file of this device.
            unsafe { OpenFile::attach(file, &extension.files, irp, &mut irql) };
            NtStatus::SUCCESS
        }
        Err(error) => error.into(),
    };
    // SAFETY: as above, and the IRP has a hold.
    unsafe { complete(irp, status) }
}

/// `IRP_MJ_CLOSE`: drops an open file, to which no reference is left.
///
/// # Safety
/// Called by the I/O manager, for a device object of this crate whose state is a `D`.
pub(crate) unsafe extern "C" fn close<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) -> i32 {
    // SAFETY: the page about IRP_MJ_CLOSE says that it is always sent at PASSIVE_LEVEL.
    let mut irql = unsafe { PassiveLevel::assume() };
    let _region = CriticalRegion::enter(&irql);
    // SAFETY: the I/O manager holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    // SAFETY: the I/O manager has just given the IRP to this routine, and closes each file once.
    unsafe { OpenFile::<D::File>::detach(&extension.files, irp, &mut irql) };
    // SAFETY: as above, at PASSIVE_LEVEL.
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
    // SAFETY: the I/O manager sends this request at PASSIVE_LEVEL.
    let mut irql = unsafe { PassiveLevel::assume() };
    let _region = CriticalRegion::enter(&irql);
    // SAFETY: the I/O manager holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    if !extension.holds.acquire(irp) {
        // A removed device has no requests to cancel.
        // SAFETY: the I/O manager has just given the IRP to this routine, at PASSIVE_LEVEL.
        return unsafe { complete_unheld(irp, NtStatus::SUCCESS) };
    }
    // SAFETY: this routine owns the IRP, which was sent to a device whose state is a `D`.
    let file = unsafe { OpenFile::<D::File>::of(irp) };
    // SAFETY: this routine has the IRP, which has a hold.
    unsafe { extension.cleanup(irp, &mut irql) };
    if let Some(file) = file {
        // A thread that reads it calls the method, which comes after the requests on the queues were cancelled.
        file.set_cleaned_up();
        // SAFETY: the state is a `D`, and the IRP's hold keeps it until `complete`.
        let device = unsafe { extension.device::<D>() };
        device.cleanup(&file.state, &mut irql);
        // SAFETY: the IRP has a hold.
        unsafe { Extension::called(object) };
    }
    // SAFETY: as above, and the IRP has a hold.
    unsafe { complete(irp, NtStatus::SUCCESS) }
}

/// Calls a method of a device's state with an IRP, in the critical region that `enter` enters, with two holds of the remove lock: the IRP's,
/// which is released with the IRP, and one for the call, which keeps the state.
///
/// # Safety
/// Called by a dispatch routine with the arguments that the I/O manager passed to it. The device object is one of this crate's, and its
/// state is a `D`. `method` completes, pends or passes on the IRP, and returns the status.
pub(crate) unsafe fn call<D, L, R>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
    mut irql: L,
    enter: impl FnOnce(&L) -> R,
    method: impl FnOnce(&D, &Extension, &mut L) -> i32,
) -> i32 {
    // SAFETY: the I/O manager holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    if !extension.holds.acquire(irp) {
        // SAFETY: the I/O manager has just given the IRP to this routine, at most at DISPATCH_LEVEL.
        return unsafe { complete_unheld(irp, NtStatus::DELETE_PENDING) };
    }
    // This fails if the removal has begun since the first hold was acquired.
    let hold = object.cast();
    if !extension.holds.acquire(hold) {
        // SAFETY: as above, and the IRP has a hold.
        return unsafe { complete(irp, NtStatus::DELETE_PENDING) };
    }
    let region = enter(&irql);
    // SAFETY: the state is a `D`, and the call's hold keeps it until the release below.
    let status = method(unsafe { extension.device::<D>() }, extension, &mut irql);
    // A thread that was suspended during the call stops here. Its IRP and file may no longer exist, so only the call's hold keeps the driver loaded.
    drop(region);
    // SAFETY: the call's hold was acquired above, and the state is no longer used.
    unsafe { Extension::release(object, hold) };
    status
}

/// The requests that are sent through an open file.
///
/// # Safety
/// Called by the I/O manager, for a device object of this crate whose state is a `D`.
pub(crate) unsafe extern "C" fn request<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) -> i32 {
    let method = |device: &D, extension: &Extension, irql: &mut PassiveLevel| {
        if extension.is_removed() {
            // SAFETY: this routine owns the IRP, which has a hold.
            return unsafe { complete(irp, NtStatus::DELETE_PENDING) };
        }
        // The IRP may be completed and its file closed before the device's method returns, so the call keeps its own
        // reference to the file.
        // SAFETY: this routine owns the IRP, which was sent to a device whose state is a `D`.
        let Some(file) = (unsafe { OpenFile::<D::File>::of(irp) }) else {
            // SAFETY: as above, and the IRP has a hold.
            return unsafe { complete(irp, NtStatus::INVALID_DEVICE_REQUEST) };
        };
        // SAFETY: this routine owns the IRP, which has a hold, and makes one `Irp` from it.
        let irp = unsafe { Irp::from_raw(irp) };
        let handled = match irp.major() {
            MajorFunction::Read => device.read(irp, &file.state, irql),
            MajorFunction::Write => device.write(irp, &file.state, irql),
            MajorFunction::FlushBuffers => device.flush(irp, &file.state, irql),
            MajorFunction::QueryInformation => device.query_information(irp, &file.state, irql),
            MajorFunction::SetInformation => device.set_information(irp, &file.state, irql),
            _ => device.device_control(irp, &file.state, irql),
        };
        let status = handled.status();
        // The calls of `cleanup` and `remove` may have run before this call made the device keep another request.
        if file.is_cleaned_up() {
            device.cleanup(&file.state, irql);
        }
        if extension.is_removed() {
            device.remove(irql);
        }
        status
    };
    // SAFETY: the I/O manager sends this request at PASSIVE_LEVEL to a device that user mode opened:
    // https://learn.microsoft.com/windows-hardware/drivers/ifs/dispatch-routine-irql-and-thread-context
    let irql = unsafe { PassiveLevel::assume() };
    // SAFETY: the I/O manager has just given the IRP to this routine, and the state is a `D`.
    unsafe { call(object, irp, irql, CriticalRegion::enter, method) }
}

/// `IRP_MJ_INTERNAL_DEVICE_CONTROL`, which other drivers send.
///
/// # Safety
/// Called by another driver, for a device object of this crate whose state is a `D`.
pub(crate) unsafe extern "C" fn internal_device_control<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) -> i32 {
    let method = |device: &D, extension: &Extension, irql: &mut CallerLevel| {
        if extension.is_removed() {
            // SAFETY: this routine owns the IRP, which has a hold.
            return unsafe { complete(irp, NtStatus::DELETE_PENDING) };
        }
        // SAFETY: this routine owns the IRP, which has a hold, and makes one `Irp` from it.
        let irp = unsafe { Irp::from_raw(irp) };
        let status = device.internal_device_control(irp, irql).status();
        // SAFETY: the call has a hold.
        unsafe { Extension::called(object) };
        status
    };
    // SAFETY: another driver sends this request at DISPATCH_LEVEL or lower, with no spin lock held.
    let irql = unsafe { CallerLevel::assume() };
    // SAFETY: this routine was just given the IRP, and the state is a `D`.
    unsafe { call(object, irp, irql, CriticalRegion::enter_if_needed, method) }
}

/// `IRP_MJ_SHUTDOWN`, of a device that is registered for it.
///
/// # Safety
/// Called by the I/O manager, for a device object of this crate whose state is a `D`.
pub(crate) unsafe extern "C" fn shutdown<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) -> i32 {
    let method = |device: &D, _: &Extension, irql: &mut PassiveLevel| {
        device.shutdown(irql);
        // SAFETY: the call has a hold.
        unsafe { Extension::called(object) };
        // SAFETY: this routine owns the IRP, which has a hold.
        unsafe { complete(irp, NtStatus::SUCCESS) }
    };
    // SAFETY: the I/O manager holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    if !extension.is_attached() {
        // AddDevice may fail and free the state. The device has nothing to save.
        // SAFETY: this routine owns the IRP, at PASSIVE_LEVEL.
        return unsafe { complete_unheld(irp, NtStatus::SUCCESS) };
    }
    // SAFETY: the I/O manager sends this request at PASSIVE_LEVEL.
    let irql = unsafe { PassiveLevel::assume() };
    // SAFETY: the I/O manager has just given the IRP to this routine, and the state is a `D`.
    unsafe { call(object, irp, irql, CriticalRegion::enter, method) }
}

/// `IRP_MJ_SYSTEM_CONTROL`: passed to the lower driver.
///
/// # Safety
/// Called by WMI, for a device object of this crate.
pub(crate) unsafe extern "C" fn pass_on(object: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    // SAFETY: guaranteed by the caller.
    unsafe { pass_on_to(object, irp, Extension::lower_for_request) }
}

/// A filter's `IRP_MJ_POWER`: passed to the lower driver, also while the lower drivers handle the removal, since the function driver may wait for
/// the request ([RemoveLockMnRemove](https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-removelockmnremove)).
///
/// # Safety
/// Called by the power manager, for a device object of this crate.
pub(crate) unsafe extern "C" fn pass_power_on(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) -> i32 {
    // SAFETY: guaranteed by the caller.
    unsafe { pass_on_to(object, irp, Extension::lower_for_power) }
}

/// Passes a request of the system to the device object that `lower` returns.
///
/// # Safety
/// Called by a dispatch routine with the arguments that it was called with, for a device object of this crate.
unsafe fn pass_on_to(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
    lower: impl FnOnce(&Extension) -> Result<*mut nt::DEVICE_OBJECT, Error>,
) -> i32 {
    // SAFETY: the caller holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    if !extension.is_attached() || !extension.holds.acquire(irp) {
        // SAFETY: this routine owns the IRP, and the IRQL is at most DISPATCH_LEVEL.
        return unsafe { complete_unheld(irp, NtStatus::DELETE_PENDING) };
    }
    let status = match lower(extension) {
        // SAFETY: this routine owns the IRP; the hold keeps the device attached to the lower one.
        Ok(lower) => unsafe { pass_down(lower, irp) },
        // SAFETY: as for an IRP without a hold, above.
        Err(error) => unsafe { complete_unheld(irp, error.into()) },
    };
    // SAFETY: the hold was acquired above.
    unsafe { Extension::release(object, irp) };
    status
}
