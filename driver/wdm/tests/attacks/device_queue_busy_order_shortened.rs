//! The `Busy` of a device queue is coerced to that of a queue whose order is a supertype.

use wdm::{Busy};

fn coerce<'a>(it: Busy<'a, 'a, u32, &'static str>) -> Busy<'a, 'a, u32, &'a str> {
    it //~ lifetime
}
