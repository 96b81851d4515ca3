//! Attacks on the device that is being added, and on the entry points of drivers.

use wdm::{DeviceObject, NewDevice, RegistryKey};

/// Safe code calls the entry point of a control device's driver, which would make the device a second time.
fn control_entry_called_in_safe_code<D: wdm::ControlDevice>() -> i32 {
    wdm::control_entry::<D>(core::ptr::null_mut(), core::ptr::null_mut()) //~ E0133
}

/// The device object is deleted by the driver itself.
fn device_object_as_a_pointer(object: &DeviceObject) {
    let _ = object.as_ptr(); //~ E0624
}

/// Safe code calls the entry point with its own driver object.
fn driver_entry_called_in_safe_code<D: wdm::Device>() -> i32 {
    wdm::entry::<D>(core::ptr::null_mut(), core::ptr::null_mut()) //~ E0133
}

/// The driver makes a `NewDevice` itself, to make a queue outside of `add`.
fn new_device_forged(object: DeviceObject) -> NewDevice {
    NewDevice::new(object) //~ E0624
}

/// A `NewDevice` is moved out of its reference, to be swapped with another.
fn new_device_taken(device: &mut NewDevice) -> NewDevice {
    core::mem::take(device) //~ E0277
}

/// The driver's registry key is kept after `DriverEntry`.
fn registry_key_kept<'a>(key: &'a RegistryKey<'a>) -> &'static RegistryKey<'static> {
    key //~ lifetime
}

/// The hardware key of a device is kept after AddDevice.
fn registry_key_of_a_device_kept(device: &NewDevice) -> RegistryKey<'static> {
    device.hardware_key() //~ lifetime
}
