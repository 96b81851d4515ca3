//! `DriverEntry` and the driver object.

use crate::{
    Device, Error, PassiveLevel, RegistryKey,
    io::{dispatch, pnp, power},
    ke::unload::check_unload,
};

/// Defines the `DriverEntry` of a driver whose device is a [`Device`], with the word `filter` a
/// [`Filter`](crate::Filter), or with the word `control` a [`ControlDevice`](crate::ControlDevice).
///
/// WDK: [Writing a DriverEntry Routine](https://learn.microsoft.com/windows-hardware/drivers/kernel/writing-a-driverentry-routine).
///
/// # Examples
///
/// ```no_run
/// use pinned_init::PinInit;
/// use wdm::{Device, Error, Guid, Handled, Irp, NewDevice, PassiveLevel};
///
/// /// A device that answers every request with its two numbers swapped.
/// struct Swap;
///
/// impl Device for Swap {
///     const INTERFACE: Guid = Guid::new(0x1d6c_9f20, 0x3b52, 0x4f0e, [0x8a, 0x11, 0, 0, 0, 0, 0, 7]);
///
///     type File = ();
///
///     fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
///         Ok(Ok::<_, Error>(Self))
///     }
///
///     fn device_control<'irp>(&self, irp: Irp<'irp>, _: &(), irql: &mut PassiveLevel) -> Handled<'irp> {
///         match irp.input::<[u32; 2]>() {
///             Ok([first, second]) => irp.complete_with(&[second, first], irql),
///             Err(error) => irp.complete(error, irql),
///         }
///     }
/// }
///
/// // In the crate that is linked as the .sys file:
/// wdm::driver_entry!(Swap);
/// # fn main() {}
/// ```
#[doc(alias = "DriverEntry")]
#[macro_export]
macro_rules! driver_entry {
    (control: $device:ty) => {
        $crate::driver_entry!(@ $device, control_entry);
    };
    (filter: $device:ty) => {
        $crate::driver_entry!(@ $device, filter_entry);
    };
    ($device:ty) => {
        $crate::driver_entry!(@ $device, entry);
    };
    (@ $device:ty, $entry:ident) => {
        /// The driver's entry point.
        ///
        /// # Safety
        /// Called once, by the I/O manager.
        // SAFETY: a driver has one `DriverEntry`, and this is it.
        #[unsafe(export_name = "DriverEntry")]
        pub unsafe extern "C" fn driver_entry(
            driver: *mut $crate::__private::DRIVER_OBJECT,
            registry_path: *mut $crate::__private::UNICODE_STRING,
        ) -> $crate::__private::NTSTATUS {
            // SAFETY: the I/O manager, which is the caller, guarantees it.
            unsafe { $crate::__private::$entry::<$device>(driver, registry_path) }
        }
    };
}

/// The `DriverEntry` of a driver whose device is `D`. [`driver_entry!`](crate::driver_entry) exports it by that
/// name.
///
/// Use it in a program that contains several drivers, such as a test on the model kernel.
///
/// WDK: [Writing a DriverEntry Routine](https://learn.microsoft.com/windows-hardware/drivers/kernel/writing-a-driverentry-routine).
///
/// # IRQL
/// `PASSIVE_LEVEL`.
///
/// # Safety
/// Called by the I/O manager, or by code that acts for it, with a new driver object and the path of the service
/// key.
#[doc(alias = "DriverEntry")]
pub unsafe extern "C" fn entry<D: Device>(
    driver: *mut nt::DRIVER_OBJECT,
    registry_path: *mut nt::UNICODE_STRING,
) -> i32 {
    // SAFETY: guaranteed by the caller. The routines are those of a driver whose devices are `D`s.
    unsafe {
        start(
            driver,
            registry_path,
            D::driver_entry,
            pnp::add_device::<D>,
            |major| {
                set_requests::<D>(major);
                major[nt::IRP_MJ_PNP] = Some(pnp::pnp::<D>);
                major[nt::IRP_MJ_POWER] = Some(power::power::<D>);
                major[nt::IRP_MJ_SYSTEM_CONTROL] = Some(dispatch::pass_on);
            },
        )
    }
}

/// Sets the dispatch routines that every device has.
pub(crate) fn set_requests<D: Device>(major: &mut [nt::PDRIVER_DISPATCH; 28]) {
    major[nt::IRP_MJ_CREATE] = Some(dispatch::create::<D>);
    major[nt::IRP_MJ_CLEANUP] = Some(dispatch::cleanup::<D>);
    major[nt::IRP_MJ_CLOSE] = Some(dispatch::close::<D>);
    major[nt::IRP_MJ_READ] = Some(dispatch::request::<D>);
    major[nt::IRP_MJ_WRITE] = Some(dispatch::request::<D>);
    major[nt::IRP_MJ_QUERY_INFORMATION] = Some(dispatch::request::<D>);
    major[nt::IRP_MJ_SET_INFORMATION] = Some(dispatch::request::<D>);
    major[nt::IRP_MJ_FLUSH_BUFFERS] = Some(dispatch::request::<D>);
    major[nt::IRP_MJ_DEVICE_CONTROL] = Some(dispatch::request::<D>);
    major[nt::IRP_MJ_INTERNAL_DEVICE_CONTROL] = Some(dispatch::internal_device_control::<D>);
    if D::NOTIFIED_OF_SHUTDOWN {
        major[nt::IRP_MJ_SHUTDOWN] = Some(dispatch::shutdown::<D>);
    }
}

/// The steps of DriverEntry. `fill` sets the dispatch routines.
///
/// # Safety
/// As for [`entry`]; the routines are those of the driver's devices.
pub(crate) unsafe fn start(
    driver: *mut nt::DRIVER_OBJECT,
    registry_path: *mut nt::UNICODE_STRING,
    driver_entry: fn(&RegistryKey<'_>, &mut PassiveLevel) -> Result<(), Error>,
    add_device: unsafe extern "C" fn(*mut nt::DRIVER_OBJECT, *mut nt::DEVICE_OBJECT) -> i32,
    fill: impl FnOnce(&mut [nt::PDRIVER_DISPATCH; 28]),
) -> i32 {
    // SAFETY: the path is valid until DriverEntry returns.
    let registry = unsafe { RegistryKey::from_raw(registry_path) };
    // SAFETY: DriverEntry is called at PASSIVE_LEVEL.
    let mut irql = unsafe { PassiveLevel::assume() };
    if let Err(error) = driver_entry(&registry, &mut irql) {
        // NT frees the driver's code without calling Unload.
        check_unload(&mut irql);
        return error.to_raw();
    }
    // SAFETY: the driver may fill in the table before DriverEntry returns, and no other code accesses it until
    // then.
    fill(unsafe { &mut (*driver).MajorFunction });
    // SAFETY: as above.
    unsafe { (*driver).DriverUnload = Some(unload) };
    // SAFETY: as above.
    let extension = unsafe { (*driver).DriverExtension };
    // SAFETY: the I/O manager made the driver extension with the driver object.
    unsafe { (*extension).AddDevice = Some(add_device) };
    nt::STATUS_SUCCESS
}

/// The driver's Unload routine. The PnP manager removes every device before it, and the driver keeps no other
/// objects, so a DPC that still exists was leaked.
///
/// # Safety
/// Called by the I/O manager.
unsafe extern "C" fn unload(_driver: *mut nt::DRIVER_OBJECT) {
    // SAFETY: the I/O manager calls this routine at PASSIVE_LEVEL.
    check_unload(&mut unsafe { PassiveLevel::assume() });
}
