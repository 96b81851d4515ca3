//! A `NewDevice` is moved out of its reference, to be swapped with another.

#![forbid(unsafe_code)]

use wdm::NewDevice;

fn taken(device: &mut NewDevice) -> NewDevice {
    core::mem::take(device) //~ E0277
}

fn main() {}
