//! The device object is deleted by the driver itself.

use wdm::DeviceObject;

fn delete(object: &DeviceObject) {
    let _ = object.as_ptr(); //~ E0624
}
