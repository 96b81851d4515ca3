//! A device queue of long-lived nodes is taken for one of nodes of an inner frame.

#![forbid(unsafe_code)]

use wdm::{DeviceQueue};

fn coerce<'a>(it: &'a DeviceQueue<'static, u32>) -> &'a DeviceQueue<'a, u32> {
    it //~ lifetime
}

fn main() {}
