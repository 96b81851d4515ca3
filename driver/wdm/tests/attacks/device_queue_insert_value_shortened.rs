//! The result of an insertion is coerced to that of a queue with shorter-lived values.

use wdm::{Insert, Arrival};

fn coerce<'a>(it: Insert<'a, 'a, &'static str, Arrival>) -> Insert<'a, 'a, &'a str, Arrival> {
    it //~ lifetime
}
