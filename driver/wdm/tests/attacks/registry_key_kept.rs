//! The driver's registry key is kept after `DriverEntry`.

use wdm::RegistryKey;

fn keep<'a>(key: &'a RegistryKey<'a>) -> &'static RegistryKey<'static> {
    key //~ lifetime
}
