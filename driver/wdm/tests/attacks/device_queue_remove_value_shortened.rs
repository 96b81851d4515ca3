//! The result of a removal is used as that of a queue of shorter-lived values.

use wdm::{Remove, Arrival};

fn coerce<'a>(it: Remove<'a, 'a, &'static str, Arrival>) -> Remove<'a, 'a, &'a str, Arrival> {
    it //~ lifetime
}
