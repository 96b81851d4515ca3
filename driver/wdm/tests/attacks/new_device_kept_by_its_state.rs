//! A device's state keeps the reference to the `NewDevice`.

use wdm::NewDevice;

struct Mine {
    device: &'static mut NewDevice,
}
fn add(device: &mut NewDevice) -> Mine {
    Mine { device } //~ lifetime
}
