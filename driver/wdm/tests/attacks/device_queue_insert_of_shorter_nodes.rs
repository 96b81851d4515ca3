//! The result of an insertion is used as that of a queue of shorter-lived nodes.

use wdm::{Insert, Arrival};

fn coerce<'a>(it: Insert<'a, 'static, u32, Arrival>) -> Insert<'a, 'a, u32, Arrival> {
    it //~ lifetime
}
