//! The result of an insertion is coerced to that of a queue of another order, a supertype.

use wdm::{Insert};

fn coerce<'a>(it: Insert<'a, 'a, u32, &'static str>) -> Insert<'a, 'a, u32, &'a str> {
    it //~ lifetime
}
