//! The result of a removal is used as that of a queue of shorter-lived nodes.

use wdm::{Remove, Arrival};

fn coerce<'a>(it: Remove<'a, 'static, u32, Arrival>) -> Remove<'a, 'a, u32, Arrival> {
    it //~ lifetime
}
