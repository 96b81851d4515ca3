//! Filter drivers.

use pinned_init::PinInit;

use crate::{
    Error, FileIrp, Handled, Irp, MajorFunction, NewDevice, NewFilter, NtStatus, PassiveLevel,
    RegistryKey,
    ex::pool::allocate,
    io::{
        dispatch::{call, complete_unheld, pass_on, pass_power_on},
        driver,
        extension::{Extension, Methods},
        forward::{forward_and_wait, pass_down},
        pnp::{add, complete, remove, succeed_and_pass_down},
    },
    ke::{critical_region::CriticalRegion, irql::CallerLevel},
};

/// The device of a filter driver: its state, and how it handles the requests of the device that it filters.
///
/// An upper filter is above the function driver, and receives every request first. A lower filter is below the function driver,
/// and receives the requests that the function driver forwards. The INF determines the position (`UpperFilters`, `LowerFilters`);
/// the driver itself is the same. [`driver_entry!`](crate::driver_entry) makes a driver from it.
///
/// Requests that the filter does not handle are forwarded. This crate also forwards the PnP, power and WMI requests. It attaches the
/// device with the flags, the type and the characteristics of the lower device. It waits for the lower drivers when the device is
/// started or receives a paging file. When the device is removed, it waits for the requests that return to the filter.
///
/// A filter can keep requests on an [`IrpQueue`](crate::IrpQueue) and [forward](crate::PendedIrp::forward) them later. The queue belongs
/// to the filter's device: its requests are cancelled when their handle is closed, and completed when the device is removed.
///
/// A filter has no state for each open file: the fields of the file object belong to the function driver.
///
/// WDK: [Filter Drivers](https://learn.microsoft.com/windows-hardware/drivers/kernel/filter-drivers),
/// [AddDevice Routines in Function or Filter
/// Drivers](https://learn.microsoft.com/windows-hardware/drivers/kernel/adddevice-routines-in-function-or-filter-drivers).
///
/// # Examples
///
/// ```no_run
/// use pinned_init::PinInit;
/// use wdm::{Error, Filter, Handled, Irp, MajorFunction, NewDevice, NewFilter, PassiveLevel, irql::CallerLevel};
///
/// /// Makes a device read-only.
/// struct ReadOnly;
///
/// impl Filter for ReadOnly {
///     fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
///         Ok(Ok::<_, Error>(Self))
///     }
///
///     fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
///         match irp.major() {
///             MajorFunction::Write => irp.complete(Error::MEDIA_WRITE_PROTECTED, irql),
///             _ => irp.forward(irql),
///         }
///     }
/// }
///
/// wdm::driver_entry!(filter: ReadOnly);
/// # fn main() {}
/// ```
///
/// # What goes wrong in C
///
/// A filter completes or fails a request of a kind that it does not know; does not copy `DO_BUFFERED_IO`, `DO_DIRECT_IO` and
/// `DO_POWER_PAGABLE` from the lower device, so that the lower drivers get no buffer or are called at another IRQL; returns another status
/// than the lower driver, or `STATUS_PENDING` for an IRP that it has not marked; or is removed while a request returns to its completion
/// routine.
#[doc(alias = "IoAttachDeviceToDeviceStackSafe")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the device of a filter driver",
    note = "implement `wdm::Filter` for the type of the device's state"
)]
pub trait Filter: Send + Sync + Sized + 'static {
    /// Initialises the driver when it is loaded (`DriverEntry`).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The error with which `DriverEntry` fails; the driver is then unloaded.
    #[doc(alias = "DriverEntry")]
    fn driver_entry(_registry: &RegistryKey<'_>, _irql: &mut PassiveLevel) -> Result<(), Error> {
        Ok(())
    }

    /// Returns whether the driver filters this device; if not, its device stack is built without the driver (`AddDevice`).
    ///
    /// A class filter is called for each device of its class, and decides by the device's
    /// [hardware key](NewFilter::hardware_key), for instance.
    ///
    /// WDK:
    /// [Guidelines for Writing AddDevice Routines](https://learn.microsoft.com/windows-hardware/drivers/kernel/guidelines-for-writing-adddevice-routines).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "AddDevice")]
    fn serves(_device: &NewFilter, _irql: &mut PassiveLevel) -> bool {
        true
    }

    /// Makes the queues of a new device and returns an in-place initialiser of its state (`AddDevice`).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The error with which `AddDevice` fails. The PnP manager then does not start the device at all. A filter that need not filter a
    /// device returns `false` from [`serves`](Filter::serves) instead.
    #[doc(alias = "AddDevice")]
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error>;

    /// Starts the device, after the lower drivers have started it (`IRP_MN_START_DEVICE`).
    ///
    /// It is called again after the device was stopped. Requests of the drivers above may arrive before and during the call.
    ///
    /// WDK: [Starting a Device in a Filter Driver](https://learn.microsoft.com/windows-hardware/drivers/kernel/starting-a-device-in-a-filter-driver).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The error with which the request fails; the PnP manager then removes the device.
    #[doc(alias = "IRP_MN_START_DEVICE")]
    fn start(&self, _irql: &mut PassiveLevel) -> Result<(), Error> {
        Ok(())
    }

    /// Handles a request that opens or closes a file: [`Create`](MajorFunction::Create),
    /// [`Cleanup`](MajorFunction::Cleanup) or [`Close`](MajorFunction::Close).
    ///
    /// Each of them is forwarded, unless the filter [fails an open](FileIrp::fail_open): the lower driver opens and closes its own
    /// files.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IRP_MJ_CREATE")]
    #[doc(alias = "IRP_MJ_CLEANUP")]
    #[doc(alias = "IRP_MJ_CLOSE")]
    fn open_or_close<'irp>(&self, irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.forward(irql)
    }

    /// Handles any other request: forwards, completes or pends it.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`: a driver above may send requests at that level.
    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        irp.forward(irql)
    }

    /// Called when the device is removed (`IRP_MN_SURPRISE_REMOVAL`, `IRP_MN_REMOVE_DEVICE`).
    ///
    /// The requests on the device's queues are already completed. The driver completes every request that it keeps elsewhere: the
    /// removal waits until the last one is completed.
    ///
    /// It is called again after each call of a method that handles a request, or of a
    /// [completion routine](crate::CompletionRoutine), [observer](crate::CompletionObserver), [callback of a queue](crate::QueueCallbacks) or
    /// [routine of an own request](crate::LowerIrpRoutine), that was still in progress, since that call may have kept another request. So it can be called several times, also by several threads
    /// at once.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "IRP_MN_SURPRISE_REMOVAL")]
    #[doc(alias = "IRP_MN_REMOVE_DEVICE")]
    fn remove(&self, _irql: &mut CallerLevel) {}
}

/// The `DriverEntry` of a filter driver whose device is `F`. [`driver_entry!`](crate::driver_entry) exports it by that name.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
///
/// # Safety
/// As for [`entry`](crate::entry).
#[doc(alias = "DriverEntry")]
pub unsafe extern "C" fn filter_entry<F: Filter>(
    driver: *mut nt::DRIVER_OBJECT,
    registry_path: *mut nt::UNICODE_STRING,
) -> i32 {
    // SAFETY: guaranteed by the caller. The routines are those of a driver whose devices are `F`s.
    unsafe {
        driver::start(
            driver,
            registry_path,
            F::driver_entry,
            add_device::<F>,
            |major| {
                major.fill(Some(request::<F>));
                major[nt::IRP_MJ_PNP] = Some(pnp::<F>);
                major[nt::IRP_MJ_POWER] = Some(pass_power_on);
                major[nt::IRP_MJ_SYSTEM_CONTROL] = Some(pass_on);
            },
        )
    }
}

/// The driver's AddDevice routine: makes the device object and its state, and attaches it to the device stack.
///
/// # Safety
/// Called by the PnP manager, at `PASSIVE_LEVEL`.
unsafe extern "C" fn add_device<F: Filter>(
    driver: *mut nt::DRIVER_OBJECT,
    pdo: *mut nt::DEVICE_OBJECT,
) -> i32 {
    // SAFETY: AddDevice is called at PASSIVE_LEVEL.
    let mut irql = unsafe { PassiveLevel::assume() };
    let mut is_served = true;
    let make = |new: &mut NewDevice, irql: &mut PassiveLevel| {
        let new = NewFilter::of(new);
        is_served = F::serves(new, irql);
        if !is_served {
            return Err(Error::NO_SUCH_DEVICE);
        }
        F::add(new, irql).and_then(allocate::<F>)
    };
    // SAFETY: the PnP manager passes a driver object and a physical device object.
    let added = unsafe { add::<F, ()>(driver, pdo, None, make, attach, methods::<F>(), &mut irql) };
    match added {
        Err(error) if is_served => error.to_raw(),
        _ => nt::STATUS_SUCCESS,
    }
}

/// Attaches a device object to the device stack, copies the properties of the one below, and allows requests
/// (`IoAttachDeviceToDeviceStackSafe`).
///
/// # Safety
/// Both device objects are valid, and the extension is that of the first one, initialised.
unsafe fn attach(
    object: *mut nt::DEVICE_OBJECT,
    pdo: *mut nt::DEVICE_OBJECT,
    extension: &Extension,
) -> Result<(), Error> {
    // The lower device object is stored before the first request can arrive.
    // SAFETY: guaranteed by the caller.
    let status =
        unsafe { nt::IoAttachDeviceToDeviceStackSafe(object, pdo, extension.lower_place()) };
    Error::check(status)?;
    let lower = extension.lower();
    // SAFETY: the lower device object is valid while this one is attached to it.
    let flags = unsafe { (*lower).Flags };
    // SAFETY: as above.
    let device_type = unsafe { (*lower).DeviceType };
    // SAFETY: as above.
    let characteristics = unsafe { (*lower).Characteristics };
    // Accesses only the fields: other code can access the device object now.
    // SAFETY: the driver may change the fields in AddDevice.
    unsafe { (*object).DeviceType = device_type };
    // SAFETY: as above.
    unsafe { (*object).Characteristics = characteristics };
    let copied = nt::DO_BUFFERED_IO | nt::DO_DIRECT_IO | nt::DO_POWER_PAGABLE;
    // SAFETY: as above.
    unsafe { (*object).Flags |= flags & copied };
    // SAFETY: as above. This is the last step, which allows requests.
    unsafe { (*object).Flags &= !nt::DO_DEVICE_INITIALIZING };
    Ok(())
}

/// Every request but those for PnP, power and WMI.
///
/// # Safety
/// Called by the I/O manager or a driver above, for a device object of this crate whose state is an `F`.
unsafe extern "C" fn request<F: Filter>(object: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    let method = |filter: &F, extension: &Extension, irql: &mut CallerLevel| {
        // SAFETY: this routine owns the IRP, which has a hold, and makes one `Irp` from it.
        let irp = unsafe { Irp::from_raw(irp) };
        let major = irp.major();
        let handled = if major.opens_or_closes() {
            // SAFETY: the I/O manager sends these requests at PASSIVE_LEVEL.
            let mut irql = unsafe { PassiveLevel::assume() };
            // SAFETY: this routine owns the IRP.
            let file = unsafe { nt::irp::file_object(irp.as_raw()) };
            match major {
                MajorFunction::Cleanup => extension.cleanup_object(file, &mut irql),
                MajorFunction::Close => extension.close_object(file, &mut irql),
                _ => {}
            }
            filter.open_or_close(FileIrp::new(irp), &mut irql)
        } else {
            filter.request(irp, irql)
        };
        let status = handled.status();
        // The call of `remove` may have run before this call made the filter keep another request.
        if extension.is_removed() {
            filter.remove(irql);
        }
        status
    };
    // SAFETY: requests are sent at DISPATCH_LEVEL or lower, with no spin lock held.
    let irql = unsafe { CallerLevel::assume() };
    // SAFETY: this routine was just given the IRP, and the state is an `F`.
    unsafe { call(object, irp, irql, CriticalRegion::enter_if_needed, method) }
}

/// `IRP_MJ_PNP`.
///
/// # Safety
/// Called by the PnP manager, at `PASSIVE_LEVEL`, for a device object of this crate whose state is an `F`.
unsafe extern "C" fn pnp<F: Filter>(object: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    // SAFETY: the PnP manager sends its requests at PASSIVE_LEVEL.
    let mut irql = unsafe { PassiveLevel::assume() };
    let irql = &mut irql;
    // SAFETY: the PnP manager holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    if !extension.holds.acquire(irp) {
        // SAFETY: this routine owns the IRP, at PASSIVE_LEVEL.
        return unsafe { complete_unheld(irp, NtStatus::DELETE_PENDING) };
    }
    // SAFETY: the state is an `F`; the IRP's hold keeps it until it is released.
    let filter = unsafe { extension.device::<F>() };
    let lower = extension.lower();
    // SAFETY: this routine owns the IRP.
    let status = match unsafe { nt::irp::minor_function(irp) } {
        nt::IRP_MN_START_DEVICE => {
            // SAFETY: this routine owns the IRP.
            let status = unsafe { forward_and_wait(lower, irp, irql) };
            let started = Error::check(status).and_then(|()| filter.start(irql));
            // SAFETY: the lower device object is valid while this one is attached to it.
            let removable = unsafe { (*lower).Characteristics } & nt::FILE_REMOVABLE_MEDIA;
            // SAFETY: the driver may change the field of its own device object.
            unsafe { (*object).Characteristics |= removable };
            // SAFETY: this routine owns the IRP again.
            unsafe { complete(irp, started.map_or_else(Error::to_raw, |()| status)) }
        }
        nt::IRP_MN_DEVICE_USAGE_NOTIFICATION => {
            // SAFETY: the device object is valid during the call.
            let upper = unsafe { (*object).AttachedDevice };
            // SAFETY: a device object that is attached to this one is valid during the call.
            let is_pagable =
                upper.is_null() || unsafe { (*upper).Flags } & nt::DO_POWER_PAGABLE != 0;
            // Above a device object that has the flag, all others have it. So it is set on the way down, and cleared on the
            // way up.
            if is_pagable {
                // SAFETY: the driver may change the field of its own device object, and PnP requests come one at a time.
                unsafe { (*object).Flags |= nt::DO_POWER_PAGABLE };
            }
            // SAFETY: this routine owns the IRP.
            let status = unsafe { forward_and_wait(lower, irp, irql) };
            // SAFETY: the lower device object is valid while this one is attached to it.
            if unsafe { (*lower).Flags } & nt::DO_POWER_PAGABLE == 0 {
                // SAFETY: as above.
                unsafe { (*object).Flags &= !nt::DO_POWER_PAGABLE };
            }
            // SAFETY: this routine owns the IRP again.
            unsafe { complete(irp, status) }
        }
        nt::IRP_MN_SURPRISE_REMOVAL => {
            extension.end_requests(irql);
            // SAFETY: the IRP has a hold.
            unsafe { extension.end_kept(irql) };
            // SAFETY: this routine owns the IRP.
            unsafe { succeed_and_pass_down(lower, irp) }
        }
        nt::IRP_MN_REMOVE_DEVICE => {
            extension.end_requests(irql);
            // SAFETY: the IRP has a hold.
            unsafe { extension.end_kept(irql) };
            // SAFETY: this routine owns the IRP and its hold, and gives up both.
            return unsafe { remove::<F, ()>(object, irp, irql) };
        }
        // SAFETY: this routine owns the IRP. Its status is not changed.
        _ => unsafe { pass_down(lower, irp) },
    };
    // SAFETY: the hold was acquired above.
    unsafe { Extension::release(object, irp) };
    status
}

/// The methods of a filter, which has no power policy.
const fn methods<F: Filter>() -> Methods {
    Methods {
        remove: |filter, _irql| {
            // SAFETY: guaranteed by the caller.
            let filter = unsafe { &*filter.cast::<F>() };
            // SAFETY: the IRQL is PASSIVE_LEVEL, and no spin lock is held.
            filter.remove(&mut unsafe { CallerLevel::assume() });
        },
        power_up_failed: |_filter, _error, _irql| {},
    }
}
