//! The proof of a busy queue is coerced to that of a queue of another order, a supertype.

use wdm::{Busy};

fn coerce<'a>(it: Busy<'a, 'a, u32, &'static str>) -> Busy<'a, 'a, u32, &'a str> {
    it //~ lifetime
}
