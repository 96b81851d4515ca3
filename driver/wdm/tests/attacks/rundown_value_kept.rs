//! A value is used after another thread has run it down.

use wdm::{PassiveLevel, Rundown};

fn keep<'a>(value: &'a Rundown<u32>, irql: &mut PassiveLevel) -> Option<&'a u32> {
    value.access(irql, |value, _| value) //~ lifetime
}
