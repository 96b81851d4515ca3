//! A value that borrows from a frame is dropped after that by a work item.

#![forbid(unsafe_code)]

use wdm::{DeviceObject, Error, PassiveLevel, Shared};

fn make(device: &DeviceObject, irql: &mut PassiveLevel) {
    let local = 1;
    let _ = Shared::<&u32>::new(Ok::<_, Error>(&local), device, irql); //~ E0597
}

fn main() {}
