//! Making a device object and its state.

use crate::{
    DeviceObject, Error, NewDevice, PassiveLevel,
    io::{
        extension::{Extension, Methods},
        holds::Holds,
        interface::DeviceInterface,
    },
};

/// Makes a device object (`IoCreateDevice`), with a name unless it is NULL.
///
/// With `FILE_DEVICE_SECURE_OPEN` the device's security descriptor also applies to names below the device.
///
/// # Safety
/// `driver` is the driver's object, `name` is valid or NULL, and the IRQL is `PASSIVE_LEVEL`.
pub(crate) unsafe fn create_object(
    driver: *mut nt::DRIVER_OBJECT,
    name: *mut nt::UNICODE_STRING,
) -> Result<*mut nt::DEVICE_OBJECT, Error> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the extension is some 100 bytes"
    )]
    const EXTENSION_SIZE: u32 = size_of::<Extension>() as u32;

    let mut object = core::ptr::null_mut();
    // SAFETY: guaranteed by the caller.
    let status = unsafe {
        nt::IoCreateDevice(
            driver,
            EXTENSION_SIZE,
            name,
            nt::FILE_DEVICE_UNKNOWN,
            nt::FILE_DEVICE_SECURE_OPEN,
            0,
            &raw mut object,
        )
    };
    Error::check(status)?;
    Ok(object)
}

/// Makes the device's state and initialises the extension. `make` makes the state in the pool.
///
/// # Safety
/// `object` is a new device object with room for an [`Extension`], and `methods` are those of a `D`.
pub(crate) unsafe fn create_state<'a, D>(
    object: *mut nt::DEVICE_OBJECT,
    holds: Holds,
    interface: Option<DeviceInterface>,
    is_filter: bool,
    methods: Methods,
    make: impl FnOnce(&mut NewDevice, &mut PassiveLevel) -> Result<*mut D, Error>,
    irql: &mut PassiveLevel,
) -> Result<&'a Extension, Error> {
    // SAFETY: the caller passes a device object of the driver.
    let mut new = NewDevice::new(unsafe { DeviceObject::new(object, irql) }?);
    let device = match make(&mut new, irql) {
        Ok(device) => device,
        Err(error) => {
            // A work item can free objects that the driver made and dropped, and no later step waits for that work item.
            let object = DeviceObject::clone(&new);
            drop(new);
            object.end_work(irql);
            return Err(error);
        }
    };
    // SAFETY: the device object is new, has an extension of the right size, and is not attached.
    Ok(unsafe { Extension::initialise::<D>(new, holds, interface, is_filter, device, methods) })
}
