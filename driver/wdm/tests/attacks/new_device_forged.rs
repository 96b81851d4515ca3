//! The driver makes a `NewDevice` itself, to make a queue outside of `add`.

use wdm::{DeviceObject, NewDevice};

fn forge(object: DeviceObject) -> NewDevice {
    NewDevice::new(object) //~ E0624
}
