//! Control devices: device objects without Plug and Play, which user mode opens by their names.

use crate::{
    Device, DeviceAccess, Error, NewDevice, PassiveLevel, RegistryKey,
    ex::{pool::allocate, rundown::RundownRef},
    io::{
        create::{create_object, create_state},
        driver::set_requests,
        extension::Extension,
        holds::Holds,
        name::ObjectName,
        pnp::{methods, register_shutdown, unregister_shutdown},
    },
    ke::unload::check_unload,
};

/// A device that belongs to no hardware and to no device stack, and that applications open as `\\.\NAME`.
///
/// [`driver_entry!(control: DEVICE)`](crate::driver_entry) makes a driver with one such device. The device is made when the
/// driver is loaded, and exists until it is unloaded. The driver needs no INF: a service of the type `kernel` loads it
/// (`sc create NAME type= kernel binPath= PATH`). `cargo interlock new NAME --kind control` makes a workspace for one.
///
/// [`Device::add`], the queues, the open files and the requests are those of every [`Device`]. [`Device::INTERFACE`] and
/// [`Device::query_remove`] are not used, and [`Device::remove`] is called when the driver is unloaded.
///
/// The device cannot be opened before it is ready: the I/O manager refuses opens until `DriverEntry` has returned, and by then
/// the device has its state, and the security descriptor that [`ACCESS`](ControlDevice::ACCESS) selects. When the driver is unloaded, the symbolic
/// link is deleted first. The I/O manager calls the Unload routine after the last file is closed.
///
/// WDK: [Named Device Objects](https://learn.microsoft.com/windows-hardware/drivers/kernel/named-device-objects),
/// [What does DO_DEVICE_INITIALIZING really
/// do?](https://learn.microsoft.com/previous-versions/windows/hardware/design/dn614010(v=vs.85)).
///
/// # Examples
///
/// ```no_run
/// use pinned_init::PinInit;
/// use wdm::{ControlDevice, Device, Error, Handled, Irp, NewDevice, PassiveLevel};
///
/// /// A device that answers every request with the number of processors.
/// struct Processors;
///
/// impl ControlDevice for Processors {
///     const NAME: &str = "Processors";
/// }
///
/// impl Device for Processors {
///     type File = ();
///
///     fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
///         Ok(Ok::<_, Error>(Self))
///     }
///
///     fn device_control<'irp>(&self, irp: Irp<'irp>, _: &(), irql: &mut PassiveLevel) -> Handled<'irp> {
///         irp.complete_with(&wdm::processor::maximum_count(), irql)
///     }
/// }
///
/// // In the crate that is linked as the .sys file:
/// wdm::driver_entry!(control: Processors);
/// # fn main() {}
/// ```
///
/// # What goes wrong in C
///
/// A driver calls `IoCreateDevice`, after which every user can open the device, and relies on its own access check. Or it deletes
/// the device object but not the symbolic link, for example when `DriverEntry` fails, so that the driver cannot be loaded again.
#[doc(alias = "IoCreateDevice")]
#[doc(alias = "IoCreateDeviceSecure")]
#[doc(alias = "IoCreateSymbolicLink")]
#[doc(alias = "IoDeleteSymbolicLink")]
#[doc(alias = "ObOpenObjectByPointer")]
#[doc(alias = "ZwSetSecurityObject")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a control device",
    note = "implement `wdm::ControlDevice`, which gives the device its name"
)]
pub trait ControlDevice: Device {
    /// The name, which applications open as `\\.\NAME`: at most 64 ASCII characters, without a backslash.
    ///
    /// The device object is `\Device\NAME`, and the symbolic link `\DosDevices\NAME`. A name that is not valid does not
    /// compile.
    const NAME: &'static str;

    /// The users who may open the device. The default is administrators only.
    const ACCESS: DeviceAccess = DeviceAccess::Administrators;
}

/// The `DriverEntry` of a driver whose device is the control device `D`.
/// [`driver_entry!`](crate::driver_entry) exports it by that name.
///
/// Use it in a program that contains several drivers, such as a test on the model kernel.
///
/// WDK: [Writing a DriverEntry Routine](https://learn.microsoft.com/windows-hardware/drivers/kernel/writing-a-driverentry-routine).
///
/// # IRQL
/// `PASSIVE_LEVEL`.
///
/// # Safety
/// As for [`entry`](crate::entry).
#[doc(alias = "DriverEntry")]
pub unsafe extern "C" fn control_entry<D: ControlDevice>(
    driver: *mut nt::DRIVER_OBJECT,
    registry_path: *mut nt::UNICODE_STRING,
) -> i32 {
    // SAFETY: the path is valid until DriverEntry returns.
    let registry = unsafe { RegistryKey::from_raw(registry_path) };
    // SAFETY: DriverEntry is called at PASSIVE_LEVEL.
    let mut irql = unsafe { PassiveLevel::assume() };
    // SAFETY: the driver may fill in the table before DriverEntry returns, and no other code accesses it until then.
    set_requests::<D>(unsafe { &mut (*driver).MajorFunction });
    // SAFETY: as above.
    unsafe { (*driver).DriverUnload = Some(unload::<D>) };
    let created = D::driver_entry(&registry, &mut irql)
        // SAFETY: DriverEntry is called with the driver object.
        .and_then(|()| unsafe { create::<D>(driver, &mut irql) });
    match created {
        Ok(()) => nt::STATUS_SUCCESS,
        Err(error) => {
            // NT frees the driver's code without calling Unload.
            check_unload(&mut irql);
            error.to_raw()
        }
    }
}

/// Makes the device; if a step fails, undoes the earlier ones.
///
/// `IoCreateDeviceSecure` is a static library (wdmsec.lib) around the first two steps, which other hosts do not have. The I/O
/// manager refuses opens while `DO_DEVICE_INITIALIZING` is set. It clears the flag of a device object that was made in
/// `DriverEntry` after `DriverEntry` has returned.
///
/// # Safety
/// `driver` is the driver's object, and this is called in its `DriverEntry`.
unsafe fn create<D: ControlDevice>(
    driver: *mut nt::DRIVER_OBJECT,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    let mut name = ObjectName::device::<D>();
    // SAFETY: the caller passes the driver object, at PASSIVE_LEVEL.
    let object = name.with(|name| unsafe { create_object(driver, name) })?;
    // SAFETY: the device object is new.
    let created = unsafe { set_access(object, D::ACCESS, irql) }.and_then(|()| {
        let holds = Holds::Rundown(RundownRef::uninitialised());
        // SAFETY: the device object is new, and has room for an extension.
        let extension =
            unsafe { create_state(object, holds, None, false, methods::<D>(), make::<D>, irql) }?;
        // SAFETY: the driver may change the field in DriverEntry.
        unsafe { (*object).Flags |= D::IO_TYPE.flag() };
        // Registered last: from then on the device can be notified of a shutdown at any time.
        let registered = link::<D>(irql).and_then(|()| {
            // SAFETY: the extension is initialised, and the IRQL is PASSIVE_LEVEL.
            unsafe { register_shutdown::<D>(object) }.inspect_err(|_| unlink::<D>(irql))
        });
        registered.inspect_err(|_| {
            // SAFETY: no file is open and no shutdown is notified, so there is no hold, and none can be acquired; this is called once.
            unsafe { extension.tear_down::<D, D::File>(irql) };
        })
    });
    if created.is_err() {
        // SAFETY: the device object is new, and no other code references it.
        unsafe { nt::IoDeleteDevice(object) };
    }
    created
}

/// Makes the device's state in the pool.
fn make<D: ControlDevice>(
    device: &mut NewDevice,
    irql: &mut PassiveLevel,
) -> Result<*mut D, Error> {
    D::add(device, irql).and_then(allocate::<D>)
}

/// Replaces the DACL of a new device object (`ObOpenObjectByPointer`, `ZwSetSecurityObject`).
///
/// # Safety
/// `object` is a device object of the driver.
unsafe fn set_access(
    object: *mut nt::DEVICE_OBJECT,
    access: DeviceAccess,
    _irql: &mut PassiveLevel,
) -> Result<(), Error> {
    let mut handle = core::ptr::null_mut();
    // SAFETY: the caller passes a device object, at PASSIVE_LEVEL. In kernel mode its type may be left out.
    let status = unsafe {
        nt::ObOpenObjectByPointer(
            object.cast(),
            nt::OBJ_KERNEL_HANDLE,
            core::ptr::null_mut(),
            nt::WRITE_DAC,
            core::ptr::null_mut(),
            nt::KERNEL_MODE,
            &raw mut handle,
        )
    };
    Error::check(status)?;
    let mut descriptor = access.descriptor();
    let dacl = nt::DACL_SECURITY_INFORMATION;
    // SAFETY: the handle was opened for this access, and the routine copies the descriptor.
    let status = unsafe { nt::ZwSetSecurityObject(handle, dacl, (&raw mut descriptor).cast()) };
    // SAFETY: the handle is open, and is not used again.
    let _ = unsafe { nt::ZwClose(handle) };
    Error::check(status)
}

/// Makes the symbolic link (`IoCreateSymbolicLink`).
fn link<D: ControlDevice>(_irql: &mut PassiveLevel) -> Result<(), Error> {
    ObjectName::link::<D>().with(|link| {
        ObjectName::device::<D>().with(|device| {
            // SAFETY: both names are valid, and the token says PASSIVE_LEVEL.
            Error::check(unsafe { nt::IoCreateSymbolicLink(link, device) })
        })
    })
}

/// Deletes the symbolic link (`IoDeleteSymbolicLink`).
fn unlink<D: ControlDevice>(_irql: &mut PassiveLevel) {
    // It fails only if the name is not that of a symbolic link.
    // SAFETY: the name is valid, and the token says PASSIVE_LEVEL.
    let _ = ObjectName::link::<D>().with(|link| unsafe { nt::IoDeleteSymbolicLink(link) });
}

/// The driver's Unload routine, which the I/O manager calls when no file of the device is open.
///
/// # Safety
/// Called by the I/O manager, once, after [`control_entry`] has succeeded.
unsafe extern "C" fn unload<D: ControlDevice>(driver: *mut nt::DRIVER_OBJECT) {
    // SAFETY: the I/O manager calls this routine at PASSIVE_LEVEL.
    let irql = &mut unsafe { PassiveLevel::assume() };
    unlink::<D>(irql);
    // SAFETY: the I/O manager passes the driver object, whose only device object `create` made.
    let object = unsafe { (*driver).DeviceObject };
    // SAFETY: the extension was initialised, and is not used after IoDeleteDevice below.
    let extension = unsafe { Extension::of(object) };
    // SAFETY: `create` has registered the device object, and this is called once, at PASSIVE_LEVEL.
    unsafe { unregister_shutdown::<D>(object) };
    extension.end_requests(irql);
    // SAFETY: the state is a `D`, which is freed below.
    unsafe { extension.device::<D>() }.remove(irql);
    // A dispatch routine can still run after its IRP was completed and its file closed.
    if let Holds::Rundown(rundown) = &extension.holds {
        // SAFETY: this is called once, here.
        unsafe { rundown.wait(irql) };
    }
    // SAFETY: the wait has ended: there are no holds, and new ones are rejected.
    unsafe { extension.tear_down::<D, D::File>(irql) };
    // SAFETY: the device object has no open file, and its state was dropped.
    unsafe { nt::IoDeleteDevice(object) };
    check_unload(irql);
}
