//! Plug and Play: adding, starting and removing a device.
//!
//! | minor function | action | the request is then |
//! | --- | --- | --- |
//! | `START_DEVICE` | waits for the lower drivers, starts the device, enables the interface, and reports D0 | completed |
//! | `QUERY_REMOVE_DEVICE` | asks the device; opens fail during the call, and after it if the device agrees; other requests are handled | passed on |
//! | `CANCEL_REMOVE_DEVICE` | waits for the lower drivers, then allows opens again | completed with success |
//! | `SURPRISE_REMOVAL` | disables the interface, completes all queued requests | passed on |
//! | `REMOVE_DEVICE` | the same; after the last request is completed, frees, detaches and deletes the device | passed on |
//! | `QUERY_STOP_DEVICE` | asks the device | passed on, or failed |
//! | `STOP_DEVICE`, `CANCEL_STOP_DEVICE` | none: the device has no resources; a stopped device is not powered up or down | passed on |
//! | `DEVICE_USAGE_NOTIFICATION` | none: the device can hold no paging, dump or hibernation file | failed if such a file is put on the device, else passed on |
//! | `QUERY_CAPABILITIES` | if the device may be removed by surprise, waits for the lower drivers and sets `SurpriseRemovalOK` | completed |
//! | any other | none | passed on |
//!
//! The PnP manager sends a device one of these at a time.
//!
//! WDK: [Plug and Play Minor IRPs](https://learn.microsoft.com/windows-hardware/drivers/kernel/plug-and-play-minor-irps),
//! [Handling an IRP_MN_REMOVE_DEVICE
//! Request](https://learn.microsoft.com/windows-hardware/drivers/kernel/handling-an-irp-mn-remove-device-request).

use crate::{
    Device, DevicePowerState, Error, Guid, NewDevice, NtStatus, PassiveLevel, PowerState,
    ex::pool::allocate,
    io::{
        create::{create_object, create_state},
        dispatch::complete_unheld,
        extension::{Extension, Methods},
        forward::{forward_and_wait, pass_down},
        holds::Holds,
        interface::DeviceInterface,
        power::report,
        power_policy::Power,
        remove_lock::RemoveLock,
    },
    ke::irql::CallerLevel,
};

/// The driver's AddDevice routine: makes the device object and its state, and attaches it to the device stack.
///
/// # Safety
/// Called by the PnP manager, at `PASSIVE_LEVEL`.
pub(crate) unsafe extern "C" fn add_device<D: Device>(
    driver: *mut nt::DRIVER_OBJECT,
    pdo: *mut nt::DEVICE_OBJECT,
) -> i32 {
    // SAFETY: AddDevice is called at PASSIVE_LEVEL.
    let mut irql = unsafe { PassiveLevel::assume() };
    // SAFETY: the PnP manager passes a driver object and a physical device object.
    let added = unsafe {
        add::<D, D::File>(
            driver,
            pdo,
            Some(&D::INTERFACE),
            |new, irql| D::add(new, irql).and_then(allocate::<D>),
            attach::<D>,
            methods::<D>(),
            &mut irql,
        )
    };
    added.map_or_else(Error::to_raw, |()| nt::STATUS_SUCCESS)
}

/// Performs the steps of AddDevice; if one fails, undoes the earlier ones. `make` makes the device's state in the pool, and
/// `attach` attaches the device object and allows requests.
///
/// # Safety
/// The caller passes a driver object and a physical device object, at `PASSIVE_LEVEL`. `attach` fails only if it has not
/// attached the device object. The state of the device's files is an `F`, and `methods` are those of a `D`.
pub(crate) unsafe fn add<D, F: Send + Sync + 'static>(
    driver: *mut nt::DRIVER_OBJECT,
    pdo: *mut nt::DEVICE_OBJECT,
    class: Option<&Guid>,
    make: impl FnOnce(&mut NewDevice, &mut PassiveLevel) -> Result<*mut D, Error>,
    attach: unsafe fn(
        *mut nt::DEVICE_OBJECT,
        *mut nt::DEVICE_OBJECT,
        &Extension,
    ) -> Result<(), Error>,
    methods: Methods,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    // The device has no name, since it is found by its interface.
    // SAFETY: the caller passes a driver object, at PASSIVE_LEVEL.
    let object = unsafe { create_object(driver, core::ptr::null_mut()) }?;
    // SAFETY: the device object was just created, and the caller passes a physical device object.
    let added = unsafe { prepare(object, pdo, class, methods, make, irql) }.and_then(|extension| {
        // SAFETY: the device objects are valid, and the extension is initialised.
        let attached = unsafe { attach(object, pdo, extension) };
        match attached {
            Ok(()) => extension.object.set_attached(),
            // SAFETY: the device object is not attached, so no request has reached it; this is called once.
            Err(_) => unsafe { extension.tear_down::<D, F>(irql) },
        }
        attached
    });
    if added.is_err() {
        // SAFETY: the device object is new and not attached, and no other code references it.
        unsafe { nt::IoDeleteDevice(object) };
    }
    added
}

/// Registers the device's interface, if it has a class, and makes its state.
///
/// # Safety
/// As for [`create_state`], and `pdo` is a physical device object.
unsafe fn prepare<'a, D>(
    object: *mut nt::DEVICE_OBJECT,
    pdo: *mut nt::DEVICE_OBJECT,
    class: Option<&Guid>,
    methods: Methods,
    make: impl FnOnce(&mut NewDevice, &mut PassiveLevel) -> Result<*mut D, Error>,
    irql: &mut PassiveLevel,
) -> Result<&'a Extension, Error> {
    let interface = match class {
        // SAFETY: the caller passes a physical device object.
        Some(class) => unsafe { DeviceInterface::register(pdo, class, irql) }?,
        None => None,
    };
    let holds = Holds::RemoveLock(RemoveLock::uninitialised());
    let make = |new: &mut NewDevice, irql: &mut PassiveLevel| {
        new.pdo = pdo;
        make(new, irql)
    };
    // SAFETY: guaranteed by the caller.
    unsafe {
        create_state(
            object,
            holds,
            interface,
            class.is_none(),
            methods,
            make,
            irql,
        )
    }
}

/// Attaches a device object whose extension is initialised to the device stack, and allows requests
/// (`IoAttachDeviceToDeviceStack`).
///
/// # Safety
/// As for [`prepare`], which has returned successfully.
unsafe fn attach<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
    pdo: *mut nt::DEVICE_OBJECT,
    extension: &Extension,
) -> Result<(), Error> {
    // Registered first, since only a step before the attachment can be undone. Until the device is attached, a notification does
    // not access the device's state, which is freed if the attachment fails.
    // SAFETY: the device object is valid, and its extension is initialised.
    unsafe { register_shutdown::<D>(object) }?;
    // SAFETY: both device objects are valid.
    let lower = unsafe { nt::IoAttachDeviceToDeviceStack(object, pdo) };
    if lower.is_null() {
        // SAFETY: AddDevice runs at PASSIVE_LEVEL.
        unsafe { unregister_shutdown::<D>(object) };
        return Err(Error::NO_SUCH_DEVICE);
    }
    extension.set_lower(lower);
    // SAFETY: the lower device object is valid while this one is attached to it.
    let lower_flags = unsafe { (*lower).Flags };
    // Accesses only the field: other code can access the device object now, so there must be no exclusive reference
    // to it.
    // SAFETY: the driver may change the field in AddDevice.
    unsafe { (*object).Flags |= D::IO_TYPE.flag() | lower_flags & nt::DO_POWER_PAGABLE };
    // SAFETY: as above. This is the last step, which allows requests.
    unsafe { (*object).Flags &= !nt::DO_DEVICE_INITIALIZING };
    Ok(())
}

/// `IRP_MJ_PNP`.
///
/// # Safety
/// Called by the PnP manager, at `PASSIVE_LEVEL`, for a device object of this crate whose state is a `D`.
pub(crate) unsafe extern "C" fn pnp<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) -> i32 {
    // SAFETY: the PnP manager sends its requests at PASSIVE_LEVEL.
    let mut irql = unsafe { PassiveLevel::assume() };
    let irql = &mut irql;
    // SAFETY: the PnP manager holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    // The device is on the stack before AddDevice knows the lower device object.
    if !extension.is_attached() || !extension.holds.acquire(irp) {
        // SAFETY: this routine owns the IRP, at PASSIVE_LEVEL.
        return unsafe { complete_unheld(irp, NtStatus::DELETE_PENDING) };
    }
    // SAFETY: the state is a `D`; the IRP's hold keeps it until it is released.
    let device = unsafe { extension.device::<D>() };
    // SAFETY: this routine owns the IRP.
    let status = match unsafe { nt::irp::minor_function(irp) } {
        nt::IRP_MN_START_DEVICE => {
            // SAFETY: this routine owns the IRP.
            let lower = unsafe { forward_and_wait(extension.lower(), irp, irql) };
            let started = Error::check(lower)
                .and_then(|()| device.start(irql))
                .and_then(|()| extension.set_interface_enabled(true, irql));
            if started.is_ok() {
                // SAFETY: the device object is valid during the call, at PASSIVE_LEVEL.
                unsafe { report(object, PowerState::Device(DevicePowerState::D0)) };
            }
            // SAFETY: this routine owns the IRP again.
            let status = unsafe { complete(irp, started.map_or_else(Error::to_raw, |()| lower)) };
            // No power request is sent before the device is started.
            if started.is_ok() {
                Power::started(&extension.object);
            }
            status
        }
        nt::IRP_MN_QUERY_REMOVE_DEVICE => {
            // Before the device is asked, so that either the device finds an open in progress, or the open finds that it is refused.
            extension.refuse_opens();
            match device.query_remove(irql) {
                // SAFETY: this routine owns the IRP.
                Ok(()) => unsafe { succeed_and_pass_down(extension.lower(), irp) },
                Err(error) => {
                    extension.allow_opens();
                    // SAFETY: this routine owns the IRP.
                    unsafe { complete(irp, error.to_raw()) }
                }
            }
        }
        nt::IRP_MN_CANCEL_REMOVE_DEVICE => {
            // SAFETY: this routine owns the IRP.
            let _ = unsafe { forward_and_wait(extension.lower(), irp, irql) };
            extension.allow_opens();
            // A driver must not fail this request, even if the lower drivers did.
            // SAFETY: this routine owns the IRP again.
            unsafe { complete(irp, nt::STATUS_SUCCESS) }
        }
        nt::IRP_MN_SURPRISE_REMOVAL => {
            end_requests(extension, device, irql);
            // SAFETY: this routine owns the IRP.
            unsafe { succeed_and_pass_down(extension.lower(), irp) }
        }
        nt::IRP_MN_REMOVE_DEVICE => {
            end_requests(extension, device, irql);
            // SAFETY: PnP requests are sent at PASSIVE_LEVEL, and this one is sent once.
            unsafe { unregister_shutdown::<D>(object) };
            // SAFETY: this routine owns the IRP and its hold, and gives up both.
            return unsafe { remove::<D, D::File>(object, irp, irql) };
        }
        nt::IRP_MN_QUERY_STOP_DEVICE => match device.query_stop(irql) {
            // SAFETY: this routine owns the IRP.
            Ok(()) => unsafe { succeed_and_pass_down(extension.lower(), irp) },
            // SAFETY: this routine owns the IRP.
            Err(error) => unsafe { complete(irp, error.to_raw()) },
        },
        minor @ (nt::IRP_MN_STOP_DEVICE | nt::IRP_MN_CANCEL_STOP_DEVICE) => {
            if minor == nt::IRP_MN_STOP_DEVICE {
                Power::stopped(&extension.object);
            }
            // SAFETY: this routine owns the IRP.
            unsafe { succeed_and_pass_down(extension.lower(), irp) }
        }
        nt::IRP_MN_QUERY_CAPABILITIES if D::SURPRISE_REMOVAL_OK => {
            // SAFETY: this routine owns the IRP.
            let status = unsafe { forward_and_wait(extension.lower(), irp, irql) };
            // SAFETY: this routine owns the IRP again.
            let added =
                status < 0 || unsafe { nt::irp::add_capabilities(irp, nt::SURPRISE_REMOVAL_OK) };
            // A driver fails the request if it does not know the version of the structure.
            let status = if added {
                status
            } else {
                nt::STATUS_UNSUCCESSFUL
            };
            // SAFETY: as above.
            unsafe { complete(irp, status) }
        }
        // SAFETY: this routine owns the IRP.
        nt::IRP_MN_DEVICE_USAGE_NOTIFICATION if unsafe { nt::irp::usage_in_path(irp) } => {
            // A driver that supports no paging, hibernation or dump file on its device must fail the request.
            // SAFETY: this routine owns the IRP.
            unsafe { complete(irp, nt::STATUS_UNSUCCESSFUL) }
        }
        // SAFETY: this routine owns the IRP. Its status is not changed.
        _ => unsafe { pass_down(extension.lower(), irp) },
    };
    // SAFETY: the hold was acquired above.
    unsafe { Extension::release(object, irp) };
    status
}

/// Registers the device for shutdown notification, if the driver requests it (`IoRegisterShutdownNotification`).
///
/// # Safety
/// The device object is valid, its extension is initialised, and this is called once, at `PASSIVE_LEVEL`.
pub(super) unsafe fn register_shutdown<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
) -> Result<(), Error> {
    if !D::NOTIFIED_OF_SHUTDOWN {
        return Ok(());
    }
    // SAFETY: guaranteed by the caller.
    Error::check(unsafe { nt::IoRegisterShutdownNotification(object) })
}

/// Ends the notification of a shutdown, if the device is registered for it (`IoUnregisterShutdownNotification`).
///
/// # Safety
/// [`register_shutdown`] has succeeded, and this is called once, at `PASSIVE_LEVEL`.
pub(super) unsafe fn unregister_shutdown<D: Device>(object: *mut nt::DEVICE_OBJECT) {
    if D::NOTIFIED_OF_SHUTDOWN {
        // SAFETY: guaranteed by the caller.
        unsafe { nt::IoUnregisterShutdownNotification(object) };
    }
}

/// Disables the device's interface and completes every queued request.
fn end_requests<D: Device>(extension: &Extension, device: &D, irql: &mut PassiveLevel) {
    // A removal that follows a surprise removal must not disable the interface again: a device that is inserted again has the same one.
    // Disabling fails for an interface that was never enabled, which is not an error here.
    if !extension.is_removed() {
        let _ = extension.set_interface_enabled(false, irql);
    }
    extension.end_requests(irql);
    Power::removed(&extension.object);
    device.remove(irql);
}

/// The methods of a function driver's or a control device.
pub(super) const fn methods<D: Device>() -> Methods {
    Methods {
        // SAFETY: guaranteed by the caller.
        remove: |device, irql| unsafe { &*device.cast::<D>() }.remove(irql),
        power_up_failed: |device, error, _irql| {
            // SAFETY: guaranteed by the caller.
            let device = unsafe { &*device.cast::<D>() };
            // SAFETY: the IRQL is PASSIVE_LEVEL, and no spin lock is held.
            device.power_up_failed(error, &mut unsafe { CallerLevel::assume() });
        },
    }
}

/// Passes the removal on, waits for the requests in progress, then frees what AddDevice made.
///
/// # Safety
/// `irp` is the `IRP_MN_REMOVE_DEVICE`, which the caller gives up with its hold of the remove lock. The device's state is a
/// `D`, and that of its files an `F`.
pub(crate) unsafe fn remove<D, F: Send + Sync + 'static>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
    irql: &mut PassiveLevel,
) -> i32 {
    // SAFETY: the PnP manager holds a reference to the device object during the call. The extension is
    // not used after IoDeleteDevice below.
    let extension = unsafe { Extension::of(object) };
    let lower = extension.lower();
    extension.set_removed_below();
    // SAFETY: this routine owns the IRP and does not access it again: below, its address is only the tag of a hold.
    let status = unsafe { succeed_and_pass_down(lower, irp) };
    extension.set_lower_gone();
    // The lower drivers have completed their requests, and a completion routine may have kept one of them.
    // SAFETY: the IRP's hold is released below.
    unsafe { extension.end_kept(irql) };
    if let Holds::RemoveLock(lock) = &extension.holds {
        // SAFETY: this thread acquired the IRP's hold. Every other hold belongs to a request that does not need this
        // thread to complete: queued requests were completed, and new ones are rejected.
        unsafe { lock.release_and_wait(irp, irql) };
    }
    // SAFETY: the wait has ended: the remove lock has no holds and rejects new ones.
    unsafe { extension.tear_down::<D, F>(irql) };
    // SAFETY: the device object is attached to `lower`, and no longer passes requests on.
    unsafe { nt::IoDetachDevice(lower) };
    // SAFETY: the device object is detached. It is freed with the last reference to it, and its remove lock rejects
    // requests until then.
    unsafe { nt::IoDeleteDevice(object) };
    status
}

/// Sets a PnP request's status to success and passes it on.
///
/// # Safety
/// As for [`pass_down`].
pub(crate) unsafe fn succeed_and_pass_down(
    lower: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) -> i32 {
    // SAFETY: the caller owns the IRP.
    unsafe { nt::irp::set_status(irp, nt::STATUS_SUCCESS) };
    // SAFETY: guaranteed by the caller.
    unsafe { pass_down(lower, irp) }
}

/// Completes a PnP request with a status, and leaves `Information` as the lower drivers set it.
///
/// # Safety
/// The caller owns the IRP and gives it up, at `PASSIVE_LEVEL`.
pub(crate) unsafe fn complete(irp: *mut nt::IRP, status: i32) -> i32 {
    // SAFETY: the caller owns the IRP.
    unsafe { nt::irp::set_status(irp, status) };
    // SAFETY: the caller gives up the IRP; PnP requests have no Cancel routine, and no lock is held.
    unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
    status
}
