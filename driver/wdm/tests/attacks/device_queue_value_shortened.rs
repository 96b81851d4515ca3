//! A device queue is coerced to one whose values have a shorter lifetime.

use wdm::{DeviceQueue};

fn coerce<'a>(it: &'a DeviceQueue<'a, &'static str>) -> &'a DeviceQueue<'a, &'a str> {
    it //~ lifetime
}
