//! The hardware key of a device is kept after AddDevice.

use wdm::{NewDevice, RegistryKey};

fn keep(device: &NewDevice) -> RegistryKey<'static> {
    device.hardware_key() //~ lifetime
}
