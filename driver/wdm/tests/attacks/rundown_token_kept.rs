//! The token of an access is kept after the access has ended.

use wdm::{PassiveLevel, Rundown, irql::CallerLevel};

fn keep<'a>(value: &Rundown<u32>, irql: &'a mut PassiveLevel) -> Option<&'a mut CallerLevel> {
    value.access(irql, |_, irql| irql) //~ lifetime
}
