//! A device queue of long-lived nodes is used as one of nodes of an inner stack frame.

use wdm::{DeviceQueue};

fn coerce<'a>(it: &'a DeviceQueue<'static, u32>) -> &'a DeviceQueue<'a, u32> {
    it //~ lifetime
}
