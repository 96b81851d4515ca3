//! A device queue is coerced to one of another order, a supertype.

use wdm::{DeviceQueue};

fn coerce<'a>(it: &'a DeviceQueue<'a, u32, &'static str>) -> &'a DeviceQueue<'a, u32, &'a str> {
    it //~ lifetime
}
