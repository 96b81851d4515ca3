//! The `Busy` of a device queue is used as that of a queue of shorter-lived values.

use wdm::{Busy, Arrival};

fn coerce<'a>(it: Busy<'a, 'a, &'static str, Arrival>) -> Busy<'a, 'a, &'a str, Arrival> {
    it //~ lifetime
}
