//! The device object is deleted by the driver itself.

#![forbid(unsafe_code)]

use wdm::DeviceObject;

fn delete(object: &DeviceObject) {
    let _ = object.as_ptr(); //~ E0624
}

fn main() {}
