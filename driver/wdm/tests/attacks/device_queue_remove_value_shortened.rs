//! The outcome of a removal is taken for that of a queue of shorter-lived values.

#![forbid(unsafe_code)]

use wdm::{Remove, Arrival};

fn coerce<'a>(it: Remove<'a, 'a, &'static str, Arrival>) -> Remove<'a, 'a, &'a str, Arrival> {
    it //~ lifetime
}

fn main() {}
