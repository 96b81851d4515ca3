//! The result of a removal is coerced to that of a queue of another order, a supertype.

use wdm::{Remove};

fn coerce<'a>(it: Remove<'a, 'a, u32, &'static str>) -> Remove<'a, 'a, u32, &'a str> {
    it //~ lifetime
}
