//! The `Busy` of a device queue is used as that of a queue of shorter-lived nodes.

use wdm::{Busy, Arrival};

fn coerce<'a>(it: Busy<'a, 'static, u32, Arrival>) -> Busy<'a, 'a, u32, Arrival> {
    it //~ lifetime
}
