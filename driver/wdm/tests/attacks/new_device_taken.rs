//! A `NewDevice` is moved out of its reference, to be swapped with another.

use wdm::NewDevice;

fn taken(device: &mut NewDevice) -> NewDevice {
    core::mem::take(device) //~ E0277
}
