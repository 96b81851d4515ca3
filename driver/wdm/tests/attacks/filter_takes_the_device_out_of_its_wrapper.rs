//! A filter gets the device that a function driver gets, with which it could make a queue that uses `FsContext`.

use wdm::{NewDevice, NewFilter};

fn coerce(device: &mut NewFilter) -> &mut NewDevice {
    device //~ E0308
}

fn dereference(device: &NewFilter) -> &NewDevice {
    device //~ E0308
}

fn take(device: &mut NewFilter) -> &mut NewDevice {
    &mut device.0 //~ E0616
}
